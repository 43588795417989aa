//! A request and its answer, between the client and a laptop.
//!
//! The request's bytes go on unchanged. The answer is framed strictly: the client's connection is often a shared pool,
//! so no byte beyond the answer's end may reach it, and nothing that could be read in two ways reaches it at all.

use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bridge_proto::tunnel::{ResetBy, TunnelStream};
use bridge_proto::v1::Cause;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::answers::Failure;
use super::flaw::Flaw;
use super::framing::Framing;
use super::head::{self, HeadScan, Kind, Request, Scan};
use super::passage::{Broken, Passage, Passed};
use super::reach::{Reached, reach};
use super::rewrite::{self, Marks};
use super::up::{Up, UpEnded};
use crate::connection::{After, Connection};
use crate::inbound;
use crate::instead::{Instead, instead};
use crate::io::end::End;
use crate::io::relay;
use crate::io::side::Side as _;
use crate::requests::Record;
use crate::routes::{Entry, Way};

/// Limit on interim answers to one request.
const MAX_INTERIM: u32 = 32;

/// Takes the request at the front of the client's buffer to the laptop, and the answer back.
///
/// `opened`: a stream that is already open and has carried nothing.
pub(crate) async fn exchange(
    conn: &mut Connection,
    request: &Request,
    way: &Way,
    opened: Option<End<TunnelStream>>,
    record: &mut Record,
) -> After {
    let route = &way.route;
    let Ok(mut passage) = Passage::begin(conn.client.read.filled(), request.head_len, request.framing) else {
        return After::Opaque;
    };
    // After an answer of ours no body is read.
    let closes = request.closes || request.framing != Framing::None || request.expects;
    let hops = match &way.hops {
        Ok(hops) => hops,
        Err(why) => {
            conn.client.read.consume(request.head_len);
            let failure = Failure::of_loop(&conn.context.name, route, why);
            return give(conn, request, &failure, closes, record).await;
        }
    };
    let mut laptop = match reach(conn, request, (route, hops), opened).await {
        Reached::Yes(laptop) => laptop,
        Reached::ClientGone => return After::Abort,
        Reached::No(why, detail) => match instead(route, why, detail) {
            Instead::Origin(why) => {
                record.fell_back(why);
                return After::ToOrigin;
            }
            Instead::Answer(failure) => {
                conn.client.read.consume(request.head_len);
                return give(conn, request, &failure, closes, record).await;
            }
            Instead::LastAnswer(failure) => return give(conn, request, &failure, true, record).await,
        },
    };
    conn.client.read.consume(request.head_len);
    passage.head_gone(request.head_len);
    conn.served_by_laptop = true;
    let mut exchange = Exchange {
        request,
        route,
        record,
        up: Up::Passing(passage),
        down: Down::Head(HeadScan::default()),
        interim: 0,
        begun: false,
        continued: false,
        closes: request.closes || conn.context.drain.has_begun(),
    };
    let end = std::future::poll_fn(|cx| exchange.poll(cx, &mut conn.client, &mut laptop)).await;
    exchange.conclude(conn, laptop, end).await
}

/// Gives an answer of our own.
async fn give(
    conn: &mut Connection,
    request: &Request,
    failure: &Failure,
    closes: bool,
    record: &mut Record,
) -> After {
    record.answered(failure.status());
    tracing::debug!(%failure, "answered in place of a laptop");
    let answer = failure.answer(request.method, closes);
    match conn.client.side.write_all(&answer).await {
        Ok(()) if closes => After::Close,
        Ok(()) => After::Next,
        Err(_) => After::Abort,
    }
}

#[derive(Debug)]
struct Exchange<'a> {
    request: &'a Request,
    route: &'a Arc<Entry>,
    record: &'a mut Record,
    up: Up,
    down: Down,
    interim: u32,
    /// A part of the final answer may have reached the client.
    begun: bool,
    /// The client has got a 100 and sends the body.
    continued: bool,
    /// The connection ends with this answer.
    closes: bool,
}

#[derive(Debug)]
enum Down {
    Head(HeadScan),
    Interim(Passage),
    /// 101, or 2xx to CONNECT: the following bytes are not HTTP.
    Switching(Passage),
    Final(Passage),
    Over,
}

/// How an exchange ended.
#[derive(Debug)]
enum Ended {
    /// The answer is complete; the connection can go on.
    Answered,
    /// The answer is complete; the request is not, or the connection must end.
    AnsweredLast,
    /// Raw bytes from here on.
    Raw,
    ClientGone,
    /// No answer, or only a part of one.
    Failed(Failure),
}

impl Exchange<'_> {
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut End<TcpStream>,
        laptop: &mut End<TunnelStream>,
    ) -> Poll<Ended> {
        match self.up.go(cx, client, laptop, None) {
            Some(UpEnded::ClientGone) => return Poll::Ready(Ended::ClientGone),
            Some(UpEnded::Flawed(flaw)) => {
                let user = self.route.session.user.clone();
                return Poll::Ready(Ended::Failed(Failure::BadRequest { user, flaw: flaw.to_string() }));
            }
            None => {}
        }
        self.go_down(cx, client, laptop)
    }

    /// The answer's way.
    fn go_down(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut End<TcpStream>,
        laptop: &mut End<TunnelStream>,
    ) -> Poll<Ended> {
        loop {
            let passage = match &mut self.down {
                Down::Head(scan) => match scan.advance_answer(laptop.read.filled()) {
                    Ok(Scan::Complete(len)) => match self.read_head(len, laptop) {
                        Ok(down) => {
                            self.down = down;
                            continue;
                        }
                        Err(flaw) => return Poll::Ready(self.malformed(flaw.to_string())),
                    },
                    Ok(Scan::Partial) if laptop.read.is_full() => {
                        return Poll::Ready(self.malformed("a head of more than 64 KiB".to_owned()));
                    }
                    Ok(Scan::Partial) => match ready!(laptop.poll_fill(cx)) {
                        Ok(0) => return Poll::Ready(self.ended()),
                        Ok(_) => continue,
                        Err(error) => return Poll::Ready(self.broke(&error)),
                    },
                    Err(flaw) => return Poll::Ready(self.malformed(flaw.to_string())),
                },
                Down::Interim(passage) | Down::Switching(passage) | Down::Final(passage) => passage,
                Down::Over => return self.answered(cx, laptop),
            };
            let passed = ready!(passage.poll(cx, laptop, &mut client.side));
            self.down = match (passed, &self.down) {
                (Ok(Passed::Whole), Down::Interim(_)) => Down::Head(HeadScan::default()),
                (Ok(Passed::Whole), Down::Switching(_)) => return Poll::Ready(Ended::Raw),
                (Ok(Passed::Whole), _) => Down::Over,
                (Ok(Passed::Truncated), _) => return Poll::Ready(self.ended()),
                (Err(Broken::Flawed(flaw)), _) => return Poll::Ready(self.malformed(flaw.to_string())),
                (Err(Broken::Source(error)), _) => return Poll::Ready(self.broke(&error)),
                (Err(Broken::Sink), _) => return Poll::Ready(Ended::ClientGone),
            };
        }
    }

    /// Decides by the answer's head, which is `len` bytes long.
    fn read_head(&mut self, len: usize, laptop: &mut End<TunnelStream>) -> Result<Down, Flaw> {
        let bytes = laptop.read.filled();
        let answer = head::parse_answer(&bytes[..len], self.request.method)?;
        let framing = match answer.kind {
            Kind::Interim if self.interim == MAX_INTERIM => return Err(Flaw::Interim),
            Kind::Interim => {
                self.interim += 1;
                self.continued |= answer.status == 100;
                if self.request.old {
                    laptop.read.consume(len);
                    return Ok(Down::Head(HeadScan::default()));
                }
                return Passage::begin(bytes, len, Framing::None).map(Down::Interim);
            }
            Kind::Final(Framing::Chunked) if self.request.old => return Err(Flaw::TransferEncoding),
            Kind::Raw if self.request.method != head::Method::Connect && !self.request.upgrades => {
                return Err(Flaw::Switch);
            }
            Kind::Raw => Framing::None,
            Kind::Final(framing) => framing,
        };
        let raw = answer.kind == Kind::Raw;
        self.record.answered(answer.status);
        let private = !raw && !self.route.keep_cache_headers;
        let mut passage = Passage::of_answer(bytes, len, framing, private)?;
        if !raw && passage.surplus(bytes).is_some_and(|surplus| surplus > 0) {
            return Err(Flaw::Body);
        }
        // The client may or may not still send the body: the next bytes could be another request.
        let unsure = self.request.expects
            && !self.continued
            && matches!(&self.up, Up::Passing(passage) if passage.awaits_body());
        if unsure {
            self.up = Up::Stopped;
            self.closes = true;
        }
        let close = !raw && (framing == Framing::UntilClose || self.closes) && !answer.says_close;
        self.closes |= answer.closes;
        let marks = Marks { served_by: &self.route.session.user, private, close };
        let marked = rewrite::marked(&bytes[..len], marks);
        passage.head_changed(len, marked.len());
        laptop.read.replace_front(len, marked);
        self.begun = true;
        Ok(if raw { Down::Switching(passage) } else { Down::Final(passage) })
    }

    /// The answer has passed; perhaps the request has not.
    fn answered(&mut self, cx: &mut Context<'_>, laptop: &mut End<TunnelStream>) -> Poll<Ended> {
        // Bytes right behind the answer show a broken server: the connection is not used again.
        let surplus = !laptop.read.is_empty();
        match self.up {
            Up::Over if !self.closes && !surplus => Poll::Ready(Ended::Answered),
            Up::Passing(_) if !surplus && !laptop.ended => {
                // It may still want the rest of the request; if it closes, it does not.
                let _ = ready!(laptop.poll_fill(cx));
                Poll::Ready(Ended::AnsweredLast)
            }
            _ => Poll::Ready(Ended::AnsweredLast),
        }
    }

    fn malformed(&self, flaw: String) -> Ended {
        Ended::Failed(Failure::Malformed {
            user: self.route.session.user.clone(),
            port: self.route.local_port,
            flaw,
        })
    }

    fn ended(&self) -> Ended {
        let user = self.route.session.user.clone();
        Ended::Failed(Failure::Ended { user, port: self.route.local_port, begun: self.begun })
    }

    fn broke(&self, error: &io::Error) -> Ended {
        tracing::debug!(%error, "a stream to a laptop failed");
        let reset = error.get_ref().and_then(|source| source.downcast_ref::<ResetBy>());
        match reset.map(|reset| reset.cause) {
            Some(Cause::Reset | Cause::Cancelled) => self.ended(),
            _ => Ended::Failed(Failure::Lost { user: self.route.session.user.clone() }),
        }
    }

    /// Ends the stream, and returns the next step of the client's connection.
    async fn conclude(self, conn: &mut Connection, mut laptop: End<TunnelStream>, ended: Ended) -> After {
        match ended {
            Ended::Answered if laptop.ended || laptop.finished => {
                conn.context.tasks.spawn(inbound::farewell(laptop));
                After::Next
            }
            Ended::Answered => {
                conn.kept.keep(self.route.clone(), laptop);
                After::Next
            }
            Ended::AnsweredLast => {
                conn.context.tasks.spawn(inbound::farewell(laptop));
                After::Close
            }
            Ended::Raw => {
                self.record.end();
                match relay::both_ways(&mut conn.client, &mut laptop).await {
                    Ok(()) => After::Close,
                    Err(_) => {
                        laptop.side.abort();
                        After::Abort
                    }
                }
            }
            Ended::ClientGone => {
                laptop.side.abort();
                After::Abort
            }
            Ended::Failed(failure) => {
                laptop.side.reset(Cause::Cancelled, "the exchange failed");
                if self.begun || matches!(self.down, Down::Interim(_)) {
                    tracing::debug!(%failure, "a laptop's answer was cut short");
                    return After::Abort;
                }
                give(conn, self.request, &failure, true, self.record).await
            }
        }
    }
}
