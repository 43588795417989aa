//! A copy of a stream, from the pipe to a laptop, on the lane of the streams that go there. The answer is taken in as it
//! comes, so that the process is not held up, and dropped.

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, SendStream};
use http::request::Parts;

use super::exchange::Accepted;
use super::laptop::Lane;
use crate::copies::pipe::{Next, Outlet};
use crate::copies::{ANSWER_WITHIN, Ticket};
use crate::requests::{GivenUp, Record};
use crate::session::share;

/// Carries a copy to its end. `ends`: the request has no body.
pub(super) async fn carry(head: Parts, ends: bool, lane: Lane, mut ticket: Ticket) {
    let room = lane.route.session.budget.begin(share::EXCHANGE);
    let carried = match room {
        Some(_) => exchange(head, ends, lane, &mut ticket.outlet, &mut ticket.record).await,
        None => Err(GivenUp::NoRoom),
    };
    drop(room);
    ticket.end(carried);
}

async fn exchange(
    head: Parts,
    ends: bool,
    lane: Lane,
    outlet: &mut Outlet,
    record: &mut Record,
) -> Result<(), GivenUp> {
    let mut send = tokio::select! {
        reached = reach(lane) => reached?,
        why = outlet.given_up() => return Err(why),
    };
    let sent = send.send_request(Accepted::sendable(head), ends);
    let (answer, mut stream) = sent.map_err(|_| GivenUp::NoAnswer)?;
    drop(send);
    let exchanged = tokio::select! {
        why = feed(outlet, &mut stream, ends) => Err(why),
        answered = take_in(answer, record) => answered,
    };
    if exchanged.is_err() {
        stream.send_reset(Reason::CANCEL);
    }
    exchanged
}

/// Waits until the lane takes a stream.
async fn reach(lane: Lane) -> Result<SendRequest<Bytes>, GivenUp> {
    let mut send = lane.opening.await.map_err(|(why, _)| GivenUp::from(why))?;
    std::future::poll_fn(|cx| send.poll_ready(cx)).await.map_err(|_| GivenUp::NoAnswer)?;
    Ok(send)
}

/// Sends what comes out of the pipe; resolves when the copy is given up.
async fn feed(outlet: &mut Outlet, stream: &mut SendStream<Bytes>, ends: bool) -> GivenUp {
    loop {
        let sent = match outlet.next().await {
            Err(why) => return why,
            Ok(Next::Bytes(bytes)) => tokio::select! {
                sent = send(stream, bytes) => sent,
                why = outlet.given_up() => return why,
            },
            Ok(Next::End(_)) if ends => break,
            Ok(Next::End(Some(trailers))) => {
                let _ = stream.send_trailers(trailers);
                break;
            }
            Ok(Next::End(None)) => {
                let _ = stream.send_data(Bytes::new(), true);
                break;
            }
        };
        if sent.is_err() {
            // It takes no more of it, and may have answered before.
            break;
        }
    }
    tokio::time::sleep(ANSWER_WITHIN).await;
    GivenUp::NoAnswer
}

/// Sends a piece, as the window allows.
async fn send(stream: &mut SendStream<Bytes>, mut piece: Bytes) -> Result<(), h2::Error> {
    while !piece.is_empty() {
        stream.reserve_capacity(piece.len());
        let room = match stream.capacity() {
            0 => match std::future::poll_fn(|cx| stream.poll_capacity(cx)).await {
                Some(room) => room?,
                None => return Err(Reason::STREAM_CLOSED.into()),
            },
            room => room,
        };
        stream.send_data(piece.split_to(room.min(piece.len())), false)?;
    }
    Ok(())
}

/// Takes the answer in.
async fn take_in(mut answer: ResponseFuture, record: &mut Record) -> Result<(), GivenUp> {
    let gone = |_: h2::Error| GivenUp::NoAnswer;
    while let Some(interim) = std::future::poll_fn(|cx| answer.poll_informational(cx)).await {
        interim.map_err(gone)?;
    }
    let (head, mut body) = answer.await.map_err(gone)?.into_parts();
    record.answered(head.status.as_u16());
    record.grpc_status_of(&head.headers);
    while let Some(data) = body.data().await {
        let len = data.map_err(gone)?.len();
        // Fails only for a stream that is gone, which reading reports.
        let _ = body.flow_control().release_capacity(len);
    }
    if let Some(trailers) = body.trailers().await.map_err(gone)? {
        record.grpc_status_of(&trailers);
    }
    Ok(())
}
