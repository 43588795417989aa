//! The origin's side: one HTTP/2 connection for one of the caller.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{Connection, SendRequest};
use tokio::net::TcpStream;

use super::first::First;
use super::frames::{Account, Frames};
use super::io::{Io, Turn};
use super::settings::{self, Announced};
use crate::connection::origin::Origin;
use crate::io::end::End;

/// The time that an origin has to announce its settings. It should do so at once (RFC 9113 section 3.4).
const SETTINGS: Duration = Duration::from_secs(1);

/// The result of the attempt to speak HTTP/2 with the origin.
pub(super) enum Opened {
    Up(Box<Up>, Announced),
    /// It speaks another protocol; its bytes are in the buffer.
    Foreign(End<TcpStream>),
    /// It cannot be reached, or broke at once.
    Failed,
}

/// A connection to the origin that is up.
pub(super) struct Up {
    pub(super) send: SendRequest<Bytes>,
    connection: Connection<Io<TcpStream>, Bytes>,
    turn: Turn,
    pub(super) account: Account,
    /// It takes no more streams: the origin has sent GOAWAY, or its account is high.
    going: bool,
}

/// The connection to the origin, in all its states.
pub(super) enum Link {
    Absent(Origin),
    Opening(Pin<Box<dyn Future<Output = Opened> + Send>>),
    Up(Box<Up>),
    /// It has ended.
    Over,
}

/// An event of the link.
pub(super) enum Event {
    /// It is up.
    Up(Announced),
    /// It takes no more streams.
    GoingAway,
    /// It has ended; with the GOAWAY of an error if one of the two sent such.
    Over(Option<h2::Reason>),
    Foreign(End<TcpStream>),
}

impl Up {
    pub(super) fn set_window(&mut self, size: u32) {
        self.connection.set_target_window_size(size);
    }

    /// Whether a stream that was begun still waits for its turn: this handle begins no other.
    pub(super) fn is_full(&mut self) -> bool {
        self.send.poll_ready(&mut Context::from_waker(Waker::noop())).is_pending()
    }
}

impl Link {
    pub(super) fn opening(origin: Origin) -> Self {
        Link::Opening(Box::pin(open(origin)))
    }

    /// Begins to connect, if it has not begun.
    pub(super) fn open(&mut self) {
        if let Link::Absent(_) = self
            && let Link::Absent(origin) = std::mem::replace(self, Link::Over)
        {
            *self = Self::opening(origin);
        }
    }

    /// Allows it to be read again.
    pub(super) fn begin_turn(&self) {
        if let Link::Up(up) = self {
            up.turn.begin();
        }
    }

    pub(super) fn is_turn_over(&self) -> bool {
        matches!(self, Link::Up(up) if up.turn.is_over())
    }

    /// Drives it. Pending: nothing has changed.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        let (next, event) = match self {
            Link::Absent(_) | Link::Over => return Poll::Pending,
            Link::Opening(opening) => match std::task::ready!(opening.as_mut().poll(cx)) {
                Opened::Up(up, announced) => (Link::Up(up), Event::Up(announced)),
                Opened::Foreign(end) => (Link::Over, Event::Foreign(end)),
                Opened::Failed => (Link::Over, Event::Over(None)),
            },
            Link::Up(up) => match Pin::new(&mut up.connection).poll(cx) {
                Poll::Ready(ended) => {
                    let error = ended.err().filter(h2::Error::is_go_away);
                    let reason = error.and_then(|error| error.reason());
                    (Link::Over, Event::Over(reason.filter(|&reason| reason != h2::Reason::NO_ERROR)))
                }
                Poll::Pending => {
                    let mut is_over = || matches!(up.send.poll_ready(cx), Poll::Ready(Err(_)));
                    let goes = !up.going && (up.account.is_high() || is_over());
                    up.going |= goes;
                    return if goes { Poll::Ready(Event::GoingAway) } else { Poll::Pending };
                }
            },
        };
        *self = next;
        Poll::Ready(event)
    }

    /// Closes the connection to the origin, after sending what is due.
    pub(super) async fn end(self) {
        if let Link::Up(up) = self {
            let Up { send, mut connection, turn, .. } = *up;
            drop(send);
            let written = std::future::poll_fn(|cx| {
                turn.begin();
                Pin::new(&mut connection).poll(cx)
            });
            // Resets and GOAWAY are written, as far as the origin takes them.
            let _ = tokio::time::timeout(SETTINGS, written).await;
        }
    }
}

/// Connects, and waits until the origin has announced its settings, or has failed to do so in time.
async fn open(mut origin: Origin) -> Opened {
    let up = std::future::poll_fn(|cx| origin.poll_up(cx).map(|up| up.is_ok())).await;
    let Some(end) = origin.into_up().filter(|_| up) else { return Opened::Failed };
    let (mut io, home_rx) = Io::new(end);
    let turn = Turn::default();
    turn.begin();
    io.takes_turns(&turn);
    let account = Account::default();
    io.counts(Frames::of_server(account.clone()));
    io.is_heard_out();
    let mut first_rx = io.first();
    let Ok((send, mut connection)) = settings::towards_origin().handshake::<_, Bytes>(io).await else {
        return Opened::Failed;
    };
    let mut deadline = Box::pin(tokio::time::sleep(SETTINGS));
    let first = std::future::poll_fn(|cx| {
        turn.begin();
        let ended = Pin::new(&mut connection).poll(cx).is_ready();
        match Pin::new(&mut first_rx).poll(cx) {
            Poll::Ready(first) => Poll::Ready(Some(first.ok())),
            Poll::Pending if ended => Poll::Ready(Some(None)),
            Poll::Pending => deadline.as_mut().poll(cx).map(|()| None),
        }
    })
    .await;
    match first {
        Some(Some(First::Settings(announced))) => {
            Opened::Up(Box::new(Up { send, connection, turn, account, going: false }), announced)
        }
        // It is late; streams may begin without (RFC 9113 section 3.4).
        None => {
            let up = Up { send, connection, turn, account, going: false };
            Opened::Up(Box::new(up), Announced::default())
        }
        Some(None) => Opened::Failed,
        Some(Some(First::Foreign(said))) => {
            drop(connection);
            let Ok(side) = home_rx.await else { return Opened::Failed };
            let mut end = End::new(side);
            end.read.replace_front(0, said);
            Opened::Foreign(end)
        }
    }
}
