//! The connections of commands to the daemon's sockets.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use bridge_os::peer;

/// After an error, of which most are for lack of descriptors, a socket rests for this time.
const REST: Duration = Duration::from_millis(500);

/// The next connection of this user.
pub(crate) async fn next<C: AsFd, A>(accept: impl Fn() -> A) -> C
where
    A: Future<Output = io::Result<C>>,
{
    loop {
        match accept().await {
            Ok(connection) if peer::check(&connection).is_ok() => return connection,
            Ok(_) => tracing::warn!("another user tried to connect"),
            Err(error) => {
                tracing::warn!(%error, "a command waits: cannot accept its connection");
                tokio::time::sleep(REST).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn errors_are_outlived_without_haste() {
        let attempts = AtomicU32::new(0);
        let began = tokio::time::Instant::now();
        let accept = || {
            std::future::ready(match attempts.fetch_add(1, Ordering::Relaxed) {
                0..10 => Err(io::Error::from_raw_os_error(24)),
                _ => UnixStream::pair().map(|(near, _)| near),
            })
        };
        let _: UnixStream = next(accept).await;
        assert_eq!((attempts.into_inner(), began.elapsed()), (11, REST * 10));
    }
}
