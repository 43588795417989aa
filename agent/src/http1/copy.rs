//! A copy of a request, from the pipe to a laptop. The answer is read to its end, so that the process is not disturbed,
//! and dropped.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bridge_proto::tunnel::TunnelStream;
use bridge_proto::v1::Cause;
use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncWrite as _, AsyncWriteExt as _, sink};
use tokio::time::Sleep;

use super::head::{self, HeadScan, Kind, Method, Request, Scan};
use super::passage::{Passage, Passed};
use super::rewrite;
use crate::connection::Connection;
use crate::copies::pipe::{Inlet, Next, Outlet};
use crate::copies::{self, ANSWER_WITHIN, Ticket};
use crate::inbound::{self, Unreached};
use crate::io::end::End;
use crate::requests::{GivenUp, Record};
use crate::routes::{CopyWay, Entry};

/// A request whose copy begins.
struct Copied {
    route: Arc<Entry>,
    target_port: u16,
    peer: SocketAddr,
    method: Method,
    /// As the laptop gets it.
    head: Vec<u8>,
}

/// Begins to copy the request at the front of the client's buffer. `None`: it is not copied, which is recorded.
pub(crate) fn begin(
    conn: &Connection,
    request: &Request,
    way: CopyWay,
    record: &mut Record,
) -> Option<Inlet> {
    if request.upgrades || request.method == Method::Connect {
        record.not_copied();
        return None;
    }
    let (inlet, ticket) = copies::begin(record, &way.route, request.head_len)?;
    let head = rewrite::for_laptop(&conn.client.read.filled()[..request.head_len], &way.hops);
    let (route, method) = (way.route, request.method);
    let copied = Copied { route, target_port: conn.port.number, peer: conn.peer, method, head };
    conn.context.tasks.spawn(carry(copied, ticket));
    Some(inlet)
}

async fn carry(copied: Copied, mut ticket: Ticket) {
    let mut laptop = match reach(&copied, &mut ticket.outlet).await {
        Ok(laptop) => laptop,
        Err(why) => return ticket.end(Err(why)),
    };
    let mut exchange = Exchange {
        method: copied.method,
        record: &mut ticket.record,
        outlet: &mut ticket.outlet,
        up: Up::Piece(Bytes::new()),
        down: Down::Head(HeadScan::default()),
    };
    let carried = std::future::poll_fn(|cx| exchange.poll(cx, &mut laptop)).await;
    ticket.end(carried);
    match carried {
        Ok(()) => inbound::farewell(laptop).await,
        Err(_) => laptop.side.reset(Cause::Reset, "the copy was given up"),
    }
}

/// Opens a stream, with the head sent ahead.
async fn reach(copied: &Copied, outlet: &mut Outlet) -> Result<End<TunnelStream>, GivenUp> {
    let opening = async {
        let Copied { route, target_port, peer, head, .. } = copied;
        let opened = inbound::open(route, *target_port, *peer).await;
        let mut stream = opened.map_err(|why| GivenUp::from(Unreached::from(why)))?;
        // If this fails, the answer to `Open` has the reason.
        let written = stream.write_all(head).await;
        stream.opened().await.map_err(|refused| GivenUp::from(Unreached::from(&refused)))?;
        written.map(|()| End::new(stream)).map_err(|_| GivenUp::NoAnswer)
    };
    tokio::select! {
        reached = opening => reached,
        why = outlet.given_up() => Err(why),
    }
}

/// The copy on its way to the process, and the answer on its way to nobody.
struct Exchange<'a> {
    method: Method,
    record: &'a mut Record,
    outlet: &'a mut Outlet,
    up: Up,
    down: Down,
}

enum Up {
    /// The rest of a piece that came out of the pipe.
    Piece(Bytes),
    /// The request is whole, or the process takes no more of it; the answer has this much time.
    Over(Pin<Box<Sleep>>),
}

enum Down {
    Head(HeadScan),
    Body(Passage),
}

impl Exchange<'_> {
    fn poll(&mut self, cx: &mut Context<'_>, laptop: &mut End<TunnelStream>) -> Poll<Result<(), GivenUp>> {
        match self.go_up(cx, laptop) {
            Poll::Ready(why) => Poll::Ready(Err(why)),
            Poll::Pending => self.go_down(cx, laptop),
        }
    }

    /// Resolves when the copy is given up.
    fn go_up(&mut self, cx: &mut Context<'_>, laptop: &mut End<TunnelStream>) -> Poll<GivenUp> {
        loop {
            let over = match &mut self.up {
                Up::Over(deadline) => return deadline.as_mut().poll(cx).map(|()| GivenUp::NoAnswer),
                Up::Piece(piece) if piece.is_empty() => match ready!(self.outlet.poll_next(cx)) {
                    Ok(Next::Bytes(bytes)) => {
                        *piece = bytes;
                        false
                    }
                    Ok(Next::End(_)) => true,
                    Err(why) => return Poll::Ready(why),
                },
                Up::Piece(piece) => {
                    if let Poll::Ready(why) = self.outlet.poll_given_up(cx) {
                        return Poll::Ready(why);
                    }
                    match ready!(Pin::new(&mut laptop.side).poll_write(cx, piece)) {
                        Ok(written) => {
                            piece.advance(written);
                            false
                        }
                        // It may have answered before.
                        Err(_) => true,
                    }
                }
            };
            if over {
                self.up = Up::Over(Box::pin(tokio::time::sleep(ANSWER_WITHIN)));
            }
        }
    }

    /// Resolves when the answer has come.
    fn go_down(&mut self, cx: &mut Context<'_>, laptop: &mut End<TunnelStream>) -> Poll<Result<(), GivenUp>> {
        loop {
            match &mut self.down {
                Down::Head(scan) => match scan.advance_answer(laptop.read.filled()) {
                    Ok(Scan::Complete(len)) => match self.read_head(len, laptop) {
                        Some(down) => self.down = down,
                        None => return Poll::Ready(Err(GivenUp::NoAnswer)),
                    },
                    Ok(Scan::Partial) if !laptop.read.is_full() => match ready!(laptop.poll_fill(cx)) {
                        Ok(0) | Err(_) => return Poll::Ready(Err(GivenUp::NoAnswer)),
                        Ok(_) => {}
                    },
                    Ok(Scan::Partial) | Err(_) => return Poll::Ready(Err(GivenUp::NoAnswer)),
                },
                Down::Body(passage) => {
                    return match ready!(passage.poll(cx, laptop, &mut sink())) {
                        Ok(Passed::Whole) => Poll::Ready(Ok(())),
                        Ok(Passed::Truncated) | Err(_) => Poll::Ready(Err(GivenUp::NoAnswer)),
                    };
                }
            }
        }
    }

    /// What follows the head of an answer, which is `len` bytes long. `None`: it is no answer.
    fn read_head(&mut self, len: usize, laptop: &mut End<TunnelStream>) -> Option<Down> {
        let answer = head::parse_answer(&laptop.read.filled()[..len], self.method).ok()?;
        match answer.kind {
            Kind::Interim => {
                laptop.read.consume(len);
                Some(Down::Head(HeadScan::default()))
            }
            // It was not asked to switch.
            Kind::Raw => None,
            Kind::Final(framing) => {
                self.record.answered(answer.status);
                Passage::begin(laptop.read.filled(), len, framing).ok().map(Down::Body)
            }
        }
    }
}
