//! A request and its answer, between the client and the origin, bytes unchanged.
//!
//! Anything unusual is not handled here but given up: the connection becomes opaque, and the bytes in the buffers go on
//! as they are.

use std::task::{Context, Poll, ready};

use super::framing::Framing;
use super::head::{self, HeadScan, Kind, Request, Scan};
use super::passage::{Broken, Passage, Passed};
use super::rewrite;
use super::up::{Up, UpEnded};
use crate::connection::{After, Connection};
use crate::copies::pipe::Inlet;
use crate::io::end::End;
use crate::requests::Record;
use tokio::net::TcpStream;

/// One request on its way to the origin and its answer on the way back.
#[derive(Debug)]
struct Exchange<'r> {
    request: &'r Request,
    record: &'r mut Record,
    up: Up,
    /// Of the request, until it has passed.
    copy: Option<Inlet>,
    down: Down,
    /// The agent is stopping, and has announced to the client that no answer follows.
    last: bool,
}

#[derive(Debug)]
enum Down {
    Head(HeadScan),
    Interim(Passage),
    Final(Passage),
    Over,
}

/// Takes the request at the front of the client's buffer to the origin, and the answer back.
pub(crate) async fn exchange(
    conn: &mut Connection,
    request: &Request,
    copy: Option<Inlet>,
    record: &mut Record,
) -> After {
    let Ok(passage) = Passage::begin(conn.client.read.filled(), request.head_len, request.framing) else {
        return After::Opaque;
    };
    let down = Down::Head(HeadScan::default());
    let mut exchange = Exchange { request, record, up: Up::Passing(passage), copy, down, last: false };
    std::future::poll_fn(|cx| exchange.poll(cx, conn)).await
}

impl Exchange<'_> {
    fn poll(&mut self, cx: &mut Context<'_>, conn: &mut Connection) -> Poll<After> {
        let draining = conn.context.drain.has_begun();
        let Ok(origin) = ready!(conn.origin.poll_up(cx)) else { return Poll::Ready(After::Abort) };
        match self.up.go(cx, &mut conn.client, origin, self.copy.as_ref()) {
            Some(UpEnded::ClientGone) => return Poll::Ready(After::Abort),
            Some(UpEnded::Flawed(_)) => return Poll::Ready(After::Opaque),
            None => {}
        }
        if matches!(self.up, Up::Over)
            && let Some(copy) = self.copy.take()
        {
            copy.whole(None);
        }
        self.go_down(cx, &mut conn.client, origin, draining)
    }

    /// The answer's way.
    fn go_down(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut End<TcpStream>,
        origin: &mut End<TcpStream>,
        draining: bool,
    ) -> Poll<After> {
        loop {
            let passage = match &mut self.down {
                Down::Head(scan) => match scan.advance_answer(origin.read.filled()) {
                    Ok(Scan::Complete(len)) => match self.read_head(len, origin, draining) {
                        Some(down) => {
                            self.down = down;
                            continue;
                        }
                        None => return Poll::Ready(After::Opaque),
                    },
                    Ok(Scan::Partial) if !origin.read.is_full() => match ready!(origin.poll_fill(cx)) {
                        Ok(0) => return Poll::Ready(After::Opaque),
                        Ok(_) => continue,
                        Err(_) => return Poll::Ready(After::Abort),
                    },
                    Ok(Scan::Partial) | Err(_) => return Poll::Ready(After::Opaque),
                },
                Down::Interim(passage) | Down::Final(passage) => passage,
                Down::Over => return self.answered(cx, origin),
            };
            self.down = match ready!(passage.poll(cx, origin, &mut client.side)) {
                Ok(Passed::Whole) if matches!(self.down, Down::Interim(_)) => Down::Head(HeadScan::default()),
                Ok(Passed::Whole) => Down::Over,
                Ok(Passed::Truncated) | Err(Broken::Flawed(_)) => return Poll::Ready(After::Opaque),
                Err(Broken::Source(_) | Broken::Sink) => return Poll::Ready(After::Abort),
            };
        }
    }

    /// Decides by the answer's head, which is `len` bytes long. `None`: the connection is opaque from here.
    fn read_head(&mut self, len: usize, origin: &mut End<TcpStream>, draining: bool) -> Option<Down> {
        let answer = head::parse_answer(&origin.read.filled()[..len], self.request.method).ok()?;
        let framing = match answer.kind {
            Kind::Interim => {
                return Some(Down::Interim(Passage::begin(origin.read.filled(), len, Framing::None).ok()?));
            }
            Kind::Raw => {
                self.record.answered(answer.status);
                self.record.end();
                return None;
            }
            Kind::Final(framing) => framing,
        };
        self.record.answered(answer.status);
        // Only client and origin know whether a body follows after all.
        let early = matches!(self.up, Up::Passing(_)) && self.request.expects;
        if answer.closes || self.request.closes || early {
            return None;
        }
        let mut passage = Passage::begin(origin.read.filled(), len, framing).ok()?;
        if draining {
            let head = rewrite::with_close(&origin.read.filled()[..len]);
            passage.head_changed(len, head.len());
            origin.read.replace_front(len, head);
            self.last = true;
        }
        Some(Down::Final(passage))
    }

    /// The answer has passed; perhaps the request has not.
    fn answered(&mut self, cx: &mut Context<'_>, origin: &mut End<TcpStream>) -> Poll<After> {
        match self.up {
            Up::Over if self.last => Poll::Ready(After::Close),
            Up::Over => Poll::Ready(After::Next),
            Up::Stopped => Poll::Ready(After::Opaque),
            Up::Passing(_) => {
                if origin.read.is_empty() {
                    // Whether it ended, broke or sent bytes: that is between client and origin.
                    let _ = ready!(origin.poll_fill(cx));
                }
                Poll::Ready(After::Opaque)
            }
        }
    }
}
