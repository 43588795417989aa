//! The messages of a port-forward of one port: each is a channel's number and bytes. Pure: messages in, data out.
//!
//! Uses only `std` and `bytes`, because the fuzz target of `tests/fuzz` builds this file alone.

use std::io;

use bytes::{Buf, Bytes};

pub(super) const DATA: u8 = 0;
pub(super) const ERRORS: u8 = 1;

/// The state of the channels of one port.
#[derive(Debug, Default)]
pub(super) struct Channels {
    /// The first message of the data channel, and of the error channel, is the port.
    data_began: bool,
    errors_began: bool,
}

impl Channels {
    /// Takes one binary message; returns the data in it. An error from the other side becomes the error of the
    /// connection.
    pub(super) fn receive(&mut self, mut message: Bytes) -> io::Result<Bytes> {
        let Some(channel) = message.first().copied() else {
            return Err(protocol_error("an empty message"));
        };
        message.advance(1);
        let began = match channel {
            DATA => &mut self.data_began,
            ERRORS => &mut self.errors_began,
            other => return Err(protocol_error(&format!("channel {other}, which was not asked for"))),
        };
        if !std::mem::replace(began, true) {
            return match message.len() {
                2 => Ok(Bytes::new()),
                other => Err(protocol_error(&format!("{other} bytes where the port was due"))),
            };
        }
        if channel == ERRORS {
            let text = String::from_utf8_lossy(&message).into_owned();
            return Err(io::Error::new(io::ErrorKind::ConnectionReset, text));
        }
        Ok(message)
    }
}

fn protocol_error(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("port-forward: {what}"))
}

/// The invariants for any messages: the data are those of the data channel after its port, and an error comes only if
/// one was sent or the rules were broken. The input is messages, each with its length in front.
#[cfg(any(test, fuzzing))]
pub(crate) fn hostile(data: &[u8]) {
    let mut channels = Channels::default();
    let (mut seen, mut rest) = ([0, 0], data);
    while let Some((len, after)) = rest.split_first() {
        let (message, after) = after.split_at(usize::from(*len).min(after.len()));
        rest = after;
        let received = channels.receive(Bytes::copy_from_slice(message));
        let expected = match message {
            [channel @ (DATA | ERRORS), content @ ..] => {
                let seen = &mut seen[usize::from(*channel)];
                *seen += 1;
                match (*seen, *channel) {
                    (1, _) if content.len() == 2 => Ok(&[][..]),
                    (1, _) => Err(io::ErrorKind::InvalidData),
                    (_, ERRORS) => Err(io::ErrorKind::ConnectionReset),
                    _ => Ok(content),
                }
            }
            _ => Err(io::ErrorKind::InvalidData),
        };
        assert_eq!(received.as_deref().map_err(io::Error::kind), expected, "message {message:?}");
        if received.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;

    use super::hostile;

    proptest! {
        #[test]
        fn whatever_comes(messages in prop::collection::vec(prop::collection::vec(0u8..3, 0..6), 0..8)) {
            let framed = messages.iter().flat_map(|message| {
                let len = u8::try_from(message.len()).expect("at most 5");
                std::iter::once(len).chain(message.iter().copied())
            });
            hostile(&framed.collect::<Vec<u8>>());
        }

        #[test]
        fn arbitrary_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            hostile(&bytes);
        }
    }

    #[test]
    fn the_corpus_holds() {
        let folder =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fuzz/corpus/port_forward_frames");
        let inputs = std::fs::read_dir(folder).expect("the target has a corpus");
        let inputs: Vec<_> = inputs.map(|entry| entry.expect("a readable folder").path()).collect();
        assert!(!inputs.is_empty(), "the corpus should not be empty");
        for input in inputs {
            hostile(&std::fs::read(input).expect("a readable file"));
        }
    }
}
