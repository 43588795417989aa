//! Reads a server's first bytes: its SETTINGS, or something that is not HTTP/2. Pure.

use super::frames::payload_of;
use super::settings::Announced;
use crate::connection::sniff::{FRAME_HEAD, begins_settings};

/// Nobody may send longer frames before SETTINGS were exchanged.
const MAX_FRAME: usize = 16 * 1024;

/// A peer's first frame.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum First {
    Settings(Announced),
    /// It does not speak HTTP/2; its bytes so far.
    Foreign(Vec<u8>),
}

/// A server's first frame, as far as it has come.
#[derive(Debug, Default)]
pub(super) struct FirstFrame {
    bytes: Vec<u8>,
}

impl FirstFrame {
    /// Takes the next bytes (none: it has ended); returns the frame as soon as it is known.
    pub(super) fn advance(&mut self, bytes: &[u8]) -> Option<First> {
        self.bytes.extend_from_slice(bytes);
        let length = self.bytes.first_chunk().map_or(0, payload_of);
        match begins_settings(&self.bytes) {
            Some(true) if length <= MAX_FRAME && length % 6 == 0 => {
                let payload = self.bytes.get(FRAME_HEAD..FRAME_HEAD + length);
                match payload {
                    Some(payload) => Some(First::Settings(Announced::read(payload))),
                    None if bytes.is_empty() => Some(self.foreign()),
                    None => None,
                }
            }
            None if !bytes.is_empty() => None,
            _ => Some(self.foreign()),
        }
    }

    fn foreign(&mut self) -> First {
        First::Foreign(std::mem::take(&mut self.bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: &[u8] = &[
        0, 0, 24, 4, 0, 0, 0, 0, 0, // head
        0, 3, 0, 0, 0, 250, // MAX_CONCURRENT_STREAMS
        0, 6, 0, 16, 1, 64, // MAX_HEADER_LIST_SIZE
        0, 8, 0, 0, 0, 1, // ENABLE_CONNECT_PROTOCOL
        0, 99, 0, 0, 0, 1, // unknown
    ];

    #[test]
    fn settings_are_read_however_they_are_cut() {
        let expected = Announced {
            max_concurrent_streams: Some(250),
            max_header_list_size: Some(1_048_896),
            connect_protocol: true,
        };
        for cut in 1..SETTINGS.len() {
            let mut first = FirstFrame::default();
            assert_eq!(first.advance(&SETTINGS[..cut]), None, "after {cut} bytes");
            let rest = [&SETTINGS[cut..], b"more"].concat();
            assert_eq!(first.advance(&rest), Some(First::Settings(expected)), "cut at {cut}");
        }
    }

    #[test]
    fn bytes_that_are_no_settings_frame_are_kept() {
        for (bytes, ends) in [
            (&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], false),
            (&[0, 0, 7, 4, 0, 0, 0, 0, 0], false),
            (&SETTINGS[..12], true),
            (b"", true),
        ] {
            let mut first = FirstFrame::default();
            let mut found = if bytes.is_empty() { None } else { first.advance(bytes) };
            if ends {
                assert_eq!(found, None, "{}", bytes.escape_ascii());
                found = first.advance(b"");
            }
            assert_eq!(found, Some(First::Foreign(bytes.to_vec())), "{}", bytes.escape_ascii());
        }
    }
}
