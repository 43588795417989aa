//! Restricts a loopback listener to this user: other users of the machine are refused.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use bridge_client::{Said, Say};
use bridge_os::owners::{self, Owner};
use tokio::net::{TcpListener, TcpStream};

/// The least time between two reports.
const SAID_EVERY: Duration = Duration::from_secs(1);

/// The entrance to one listener, or several.
pub struct Door {
    refusals: Mutex<Refusals>,
    say: Say,
}

/// The refused connections so far.
#[derive(Debug, Default)]
struct Refusals {
    last: Option<Instant>,
    /// The number not reported since then.
    unsaid: u64,
}

impl Door {
    /// Reports refused connections to `say`.
    #[must_use]
    pub fn new(say: Say) -> Self {
        Self { refusals: Mutex::default(), say }
    }

    /// Whether this connection, which comes from `far`, is this user's. One that is not is reset when it is dropped.
    pub fn lets_in(&self, connection: &TcpStream, far: SocketAddr) -> bool {
        let owner = connection.local_addr().and_then(|near| owners::of_tcp(far, near));
        let why = match owner {
            Ok(owner) if owner.is_trusted() => return true,
            Ok(Owner::User(user)) => format!("it belongs to user {user}, and only yours are accepted"),
            Ok(Owner::Nobody) => "it was closed before its owner was known".to_owned(),
            Err(error) => format!("cannot find its owner: {error}"),
        };
        let _ = connection.set_zero_linger();
        if let Some(others) = self.is_due(Instant::now()) {
            let place = connection.local_addr().map(|near| near.to_string()).unwrap_or_default();
            let others = if others > 0 { format!(" ({others} others)") } else { String::new() };
            (self.say)(&Said::Warning(format!("refused a connection to {place}: {why}{others}")));
        }
        false
    }

    /// Whether to report a refusal now, and how many went unreported before it.
    fn is_due(&self, now: Instant) -> Option<u64> {
        let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        if refusals.last.is_some_and(|last| now < last + SAID_EVERY) {
            refusals.unsaid += 1;
            return None;
        }
        refusals.last = Some(now);
        Some(std::mem::take(&mut refusals.unsaid))
    }
}

/// The two ends of a connection on loopback: what the daemon carries is a connection of its own.
///
/// # Errors
///
/// If this machine has no socket left.
pub async fn pair() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let near = TcpStream::connect(listener.local_addr()?).await?;
    loop {
        let (far, from) = listener.accept().await?;
        // Others could connect, too.
        if from == near.local_addr()? {
            return Ok((near, far));
        }
    }
}

/// Whether only this user can have sent a datagram from this address.
pub fn is_own_datagram(from: SocketAddr) -> bool {
    owners::of_udp(from)
        .is_ok_and(|owners| !owners.is_empty() && owners.iter().all(|owner| owner.is_trusted()))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn the_user_s_own_connections_are_let_in_and_those_without_an_owner_are_not() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let door = Door::new(Arc::new(|_| {}));
        let connect = async || {
            let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            (client, listener.accept().await.unwrap())
        };
        let (_client, (accepted, far)) = connect().await;
        assert!(door.lets_in(&accepted, far));
        let (client, (accepted, far)) = connect().await;
        drop(client);
        assert!(!door.lets_in(&accepted, far));
    }

    #[test]
    fn a_flood_is_one_line_a_second() {
        let (door, start) = (Door::new(Arc::new(|_| {})), Instant::now());
        assert_eq!(door.is_due(start), Some(0));
        for _ in 0..1000 {
            assert_eq!(door.is_due(start), None);
        }
        assert_eq!(door.is_due(start + SAID_EVERY), Some(1000));
    }
}
