//! Invariants of a stream for any messages from the other side, in any order.
//!
//! The input is a script of messages and reads. The tests run generated scripts, the fuzz target of `tests/fuzz` those
//! that a fuzzer finds.

use std::sync::LazyLock;

use prost::Message as _;

use super::*;
use crate::tunnel::{FRAME, MAX_WINDOW, MIN_WINDOW};

/// The tunnel's budget beyond the minimum of a stream.
const BUDGET: u64 = 1024 * 1024;

/// Bytes of a script, one after the other; zeros after its end.
struct Script<'a>(&'a [u8]);

impl Script<'_> {
    fn byte(&mut self) -> u8 {
        let (byte, rest) = self.0.split_first().map_or((0, self.0), |(byte, rest)| (*byte, rest));
        self.0 = rest;
        byte
    }

    fn number(&mut self) -> u64 {
        let bytes = [self.byte(), self.byte(), self.byte()];
        match bytes[0] {
            // Numbers at the edges are more interesting than others.
            0xff => u64::MAX - u64::from(bytes[1]),
            high => u64::from(high % 16) << 16 | u64::from(bytes[1]) << 8 | u64::from(bytes[2]),
        }
    }
}

/// For any script: no panic, no more is held than was granted, and the bytes read are the bytes sent, in order.
pub fn frames(data: &[u8]) {
    if let Ok(frame) = Frame::decode(data) {
        let again = Frame::decode(frame.encode_to_vec().as_slice());
        assert_eq!(again.as_ref(), Ok(&frame), "a message is read as it was written");
    }
    let budget = Budget::new(BUDGET);
    let mut state = State::new(Answer::Awaited, budget.nothing());
    let mut script = Script(data);
    // A byte's value follows from its place in the stream.
    let (mut received, mut read) = (0u64, 0u64);
    while !script.0.is_empty() {
        match script.byte() % 11 {
            // As often as all others together, as only then something happens.
            0..=3 => {
                let len = usize::try_from(script.number()).unwrap_or(0).min(2 * FRAME);
                receive_data(&mut state, received, len);
            }
            4 => {
                let offset = script.number();
                receive_data(&mut state, offset, 16);
            }
            5 => state.receive(sent(Kind::Credit(v1::Credit { limit: script.number() }))),
            6 => state
                .receive(sent(Kind::Finish(v1::Finish { offset: received ^ u64::from(script.byte() & 1) }))),
            7 => state.receive(sent(other(&mut script))),
            8 => state.receive(foreign(&mut script)),
            9 => send(&mut state, script.number()),
            _ => read = take(&mut state, read, script.number()),
        }
        received = state.receiving.bytes();
        let held: usize = state.queue.iter().map(Bytes::len).sum();
        assert!(state.ended.is_none() || held == 0, "what is over holds nothing");
        assert!(state.ended.is_some() || held as u64 == received - read, "all that is not read is held");
        assert!(held as u64 <= (MIN_WINDOW + BUDGET).min(MAX_WINDOW), "{held} bytes are held");
    }
    drop(state);
    assert_eq!(budget.left(), BUDGET, "what was reserved is given back");
}

fn sent(kind: Kind) -> Option<Result<Frame, Status>> {
    Some(Ok(frame(kind)))
}

fn receive_data(state: &mut State, offset: u64, len: usize) {
    let bytes = content(offset, len);
    let due = state.receiving.bytes();
    let fits = offset == due && !state.receiving.is_finished();
    let was_over = state.ended.is_some();
    state.receive(sent(Kind::Data(v1::Data { offset, bytes })));
    assert!(
        fits || was_over || state.ended.is_some(),
        "data at {offset} where {due} was due ends the stream"
    );
}

/// The bytes at this place of the stream: 4 * FRAME bytes at most.
fn content(offset: u64, len: usize) -> Bytes {
    static REPEATED: LazyLock<Bytes> = LazyLock::new(|| (0..=250).cycle().take(5 * FRAME).collect());
    let begin = usize::try_from(offset % 251).unwrap_or(0);
    REPEATED.slice(begin..begin + len)
}

fn other(script: &mut Script<'_>) -> Kind {
    let cause = i32::from(script.byte()) - 100;
    let detail = String::from("why");
    match script.byte() % 8 {
        0 => Kind::Refused(v1::Refused { cause, detail }),
        1 => Kind::Reset(v1::Reset { cause, detail }),
        2 => Kind::Open(v1::Open::default()),
        _ => Kind::Opened(v1::Opened {}),
    }
}

/// A message as it comes over the wire, an error of the call, or its end.
fn foreign(script: &mut Script<'_>) -> Option<Result<Frame, Status>> {
    let len = usize::from(script.byte()).min(script.0.len());
    let (bytes, rest) = script.0.split_at(len);
    script.0 = rest;
    match (Frame::decode(bytes), bytes.len() % 16) {
        // Other data would not be the bytes at their place.
        (Ok(Frame { kind: Some(Kind::Data(_)) }), _) => Some(Ok(Frame { kind: None })),
        (Ok(frame), _) => Some(Ok(frame)),
        (Err(_), 0) => None,
        (Err(_), 1) => Some(Err(Status::internal("broken"))),
        (Err(_), _) => Some(Ok(Frame { kind: None })),
    }
}

/// Spends credit as `poll_write` does.
fn send(state: &mut State, wanted: u64) {
    if state.ended.is_some() || state.sending.is_finished() {
        return;
    }
    let room = state.sending.room();
    assert!(room <= FRAME, "no message is longer than {FRAME}");
    let before = state.sending.bytes();
    let len = room.min(usize::try_from(wanted).unwrap_or(usize::MAX));
    assert_eq!(state.sending.sent(len), before, "offsets follow each other");
}

/// Reads as `poll_read` does; returns the number of bytes read in total.
fn take(state: &mut State, read: u64, wanted: u64) -> u64 {
    if state.ended.is_some() {
        return read;
    }
    let mut bytes = vec![0; usize::try_from(wanted).unwrap_or(usize::MAX).min(4 * FRAME)];
    let mut buf = ReadBuf::new(&mut bytes);
    let limit = state.credit_due.take();
    let taken = state.take(&mut buf);
    assert_eq!(buf.filled().len(), taken);
    assert!(limit.zip(state.credit_due).is_none_or(|(old, new)| old < new), "limits only grow");
    assert!(buf.filled() == content(read, taken), "what is read is what was sent");
    read + taken as u64
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;

    use super::frames;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases.max(1000)))]

        #[test]
        fn whatever_comes(script in prop::collection::vec(any::<u8>(), 0..400)) {
            frames(&script);
        }

        #[test]
        fn mostly_data_and_reads(steps in prop::collection::vec((0u8..11, any::<u8>()), 0..200)) {
            let script: Vec<u8> = steps
                .into_iter()
                .flat_map(|(step, size)| if size % 8 == 0 { vec![step, size] } else { vec![step % 4 / 2 * 10, 0, size, 7] })
                .collect();
            frames(&script);
        }
    }

    #[test]
    fn the_corpus_holds() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/corpus/tunnel_frames");
        let inputs: Vec<_> = std::fs::read_dir(folder)
            .expect("a corpus")
            .map(|entry| entry.expect("an entry").path())
            .collect();
        assert!(!inputs.is_empty(), "the corpus should not be empty");
        for input in inputs {
            frames(&std::fs::read(input).expect("a readable file"));
        }
    }
}
