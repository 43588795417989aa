//! Attackers that may forward a port to the pod, but do not know the key: silent connections, messages that never end,
//! calls without end. Meanwhile another daemon must be let in, again and again.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::Context as _;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::frames::{END_HEADERS, HEADERS, connect, frame};
use crate::{Attack, Front, laptop};

const DATA: u8 = 0;
/// `:method POST`, `:scheme http`, `:path /bridge.v1.Agent/Open`, `content-type: application/grpc`, in HPACK.
const OPEN: &[u8] = b"\x83\x86\x04\x14/bridge.v1.Agent/Open\x0f\x10\x10application/grpc";
/// The beginning of a message of 4 MiB, in a frame of the maximum length.
const LONG: &[u8] = &{
    let mut bytes = [1; 16 << 10];
    (bytes[0], bytes[1], bytes[2], bytes[3], bytes[4]) = (0, 0, 0x40, 0, 0);
    bytes
};
const LET_IN_WITHIN: Duration = Duration::from_secs(3);
const AGAIN: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(100);

/// 1,000 silent connections; each comes again a second after it was cut, which is more than an API server carries.
pub(crate) fn silent(front: Front) -> Attack {
    beside_a_daemon(
        front,
        (0..1000).map(|_| async move {
            loop {
                let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, front.control)).await?;
                stream.readable().await?;
                drop(stream);
                sleep(AGAIN).await;
            }
        }),
    )
}

/// 400 messages of 4 MiB on each connection, none of which ends.
pub(crate) fn unfinished(front: Front) -> Attack {
    beside_a_daemon(
        front,
        (0..16).map(|_| async move {
            loop {
                // When cut, it comes again.
                let _ = unfinished_until_cut(front).await;
                sleep(PAUSE).await;
            }
        }),
    )
}

async fn unfinished_until_cut(front: Front) -> anyhow::Result<()> {
    let mut to_agent = connect(front.control, &[]).await?;
    for stream in (1..800).step_by(2) {
        to_agent.write_all(&frame(HEADERS, END_HEADERS, stream, OPEN)).await?;
    }
    for _ in 0..4 << 20 >> 14 {
        for stream in (1..800).step_by(2) {
            to_agent.write_all(&frame(DATA, 0, stream, LONG)).await?;
        }
    }
    std::future::pending().await
}

/// Calls as fast as they can be sent.
pub(crate) fn calls(front: Front) -> Attack {
    beside_a_daemon(
        front,
        (0..16).map(|_| async move {
            loop {
                let calls = async {
                    let mut to_agent = connect(front.control, &[]).await?;
                    for stream in (1..u32::MAX >> 1).step_by(2) {
                        to_agent.write_all(&frame(HEADERS, END_HEADERS, stream, OPEN)).await?;
                    }
                    anyhow::Ok(())
                };
                // When cut, it comes again.
                let _ = calls.await;
                sleep(PAUSE).await;
            }
        }),
    )
}

fn beside_a_daemon<S: Future<Output = anyhow::Result<()>> + Send + 'static>(
    front: Front,
    strangers: impl Iterator<Item = S>,
) -> Attack {
    let mut attack: Attack = strangers.collect();
    attack.spawn(async move {
        loop {
            let attached = timeout(LET_IN_WITHIN, laptop::attach(front, "late")).await;
            drop(attached.context("a daemon was not let in")??);
            sleep(PAUSE).await;
        }
    });
    attack
}
