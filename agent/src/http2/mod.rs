//! HTTP/2 with prior knowledge (RFC 9113): each stream of a caller's connection goes to the origin or to a laptop.
//!
//! `link` is the connection to the origin, one for one of the caller; `settings` are those announced to each side,
//! `first` reads a server's; `task` is the one task that drives everything, `wakes` shows which parts have something to
//! do. `exchange` is one request and its answer, `caller` the caller's side of it, `passage` a body on its way,
//! `window` the memory that all of them may hold, `frames` what small frames cost; `laptop` takes streams that match a
//! route to a laptop, `copy` copies of streams, `work` is common to both ways, `answers` are the agent's own, `io` the
//! byte streams below.

mod answers;
mod caller;
mod copy;
mod exchange;
mod first;
mod frames;
mod io;
mod laptop;
mod link;
mod passage;
mod settings;
mod task;
mod wakes;
pub(crate) mod window;
mod work;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::net::TcpStream;

use self::frames::{Account, Frames};
use self::io::{Io, Turn};
use self::laptop::{Lanes, Start};
use self::link::{Event, Link};
use self::settings::Announced;
use self::task::Task;
use crate::connection::origin::Origin;
use crate::connection::{Aside, Connection, Opened};
use crate::context::Data;
use crate::io::end::End;
use crate::io::relay;
use crate::io::side::Side as _;
use crate::port::Port;
use crate::requests::{Opaque, To};

/// The time that a caller whose streams a laptop may take waits for the origin.
const PATIENCE: Duration = Duration::from_secs(1);

/// The result of the origin's first moments.
enum Begun {
    Http2(Announced),
    /// It speaks another protocol: caller and origin are relayed.
    Foreign(End<TcpStream>),
    Unreachable,
    CallerGone,
}

/// Serves a connection that began with HTTP/2's preface, until its end. `opened`: the laptop that takes all of it
/// unless another takes a stream.
pub(crate) async fn serve(conn: Connection, opened: Option<Opened>) {
    let Connection { context, port, peer, mut client, origin, aside, .. } = conn;
    let start = Start { target_port: port.number, peer, tasks: context.tasks.clone() };
    let mut lanes = Lanes::default();
    let (link, begun) = match opened {
        Some((route, end)) => {
            lanes.opened(route, end, &start);
            (Link::Absent(origin), Begun::Http2(Announced::default()))
        }
        // The origin is dialled when a stream goes to it: the session may end, or its routes may change.
        None if matches!(aside, Some(Aside::Nowhere(_))) => {
            (Link::Absent(origin), Begun::Http2(Announced::default()))
        }
        None => {
            let mut link = Link::opening(origin);
            let begun = begin(&context, port, &mut client, &mut link).await;
            (link, begun)
        }
    };
    let announced = match begun {
        Begun::Http2(announced) => announced,
        Begun::Foreign(mut end) => {
            context.requests.opaque(port, Opaque::NotHttp, To::Origin);
            // The origin had its preface from us.
            client.read.consume(client.read.filled().len());
            return match relay::both_ways(&mut client, &mut end).await {
                Ok(()) => {}
                Err(_) => client.side.abort(),
            };
        }
        Begun::Unreachable | Begun::CallerGone => return client.side.abort(),
    };
    let (mut io, home_rx) = Io::new(client);
    let turn = Turn::default();
    turn.begin();
    io.takes_turns(&turn);
    let (written, account) = (io.written(), Account::default());
    io.counts(Frames::of_client(account.clone()));
    match announced.towards_caller().handshake::<_, Bytes>(io).await {
        Ok(caller) => {
            Task::new(context, port, start, (caller, written, account), link, lanes, turn).run().await;
        }
        Err(error) => {
            tracing::debug!(%error, "a caller broke off");
            link.end().await;
        }
    }
    if let Ok(side) = home_rx.await {
        End::new(side).close().await;
    }
}

/// Waits for the origin's SETTINGS, so that ours can follow them.
async fn begin(context: &Arc<Data>, port: Port, client: &mut End<TcpStream>, link: &mut Link) -> Begun {
    let routed = context.routes().any(port);
    let event = tokio::select! {
        event = std::future::poll_fn(|cx| link.poll(cx)) => event,
        _ = client.failure() => return Begun::CallerGone,
        () = tokio::time::sleep(PATIENCE), if routed => return Begun::Http2(Announced::default()),
    };
    match event {
        Event::Up(announced) => Begun::Http2(announced),
        Event::Foreign(end) => Begun::Foreign(end),
        // A matched stream can still be answered, and the origin may be back when a stream needs it.
        Event::GoingAway | Event::Over(_) if routed => {
            *link = Link::Absent(Origin::new(context.origin(port)));
            Begun::Http2(Announced::default())
        }
        Event::GoingAway | Event::Over(_) => Begun::Unreachable,
    }
}
