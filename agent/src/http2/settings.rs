//! What the origin announces, and what the agent therefore announces to callers. Pure.

use std::time::Duration;

use h2::{client, server};

use super::io::First;
use super::window;
use crate::connection::sniff::begins_settings;

/// Length of a frame's head (RFC 9113 section 4.1).
const FRAME_HEAD: usize = 9;
/// Frames that are longer nobody may send before SETTINGS were exchanged.
const MAX_FRAME: usize = 16 * 1024;

/// Streams of one caller's connection at most, even if the origin would take more.
const MAX_STREAMS: u32 = 10_000;
/// Size of a request's header list at most (RFC 9113 section 6.5.2), whatever the origin announces, and if it does not.
const MAX_HEADER_LIST: u32 = 4 << 20;
/// What a stream may carry unread, in each direction: what it holds here while its receiver does not take it.
const STREAM_WINDOW: u32 = 256 << 10;
/// What a stream holds unsent besides.
const SEND_BUFFER: usize = 64 << 10;
/// The window of a stream on the way from a laptop, whose round trips are long.
const LAPTOP_STREAM_WINDOW: u32 = 1 << 20;
/// How much the small frames may cost that have come and are not looked at yet, as h2 counts it: 256 bytes each, less
/// what they carry.
const SMALL_FRAMES: usize = 8 << 20;
/// Streams that one side has reset while the other still sends for them, and how long they are remembered.
const RESET_STREAMS: usize = 1000;
const RESET_REMEMBERED: Duration = Duration::from_secs(10);
/// Streams that a caller has opened and reset at one go.
const RESET_AT_ONCE: usize = 1000;

/// What a server's SETTINGS say that matters to those who call it (RFC 9113 section 6.5.2, RFC 8441 section 3).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Announced {
    pub(super) max_concurrent_streams: Option<u32>,
    pub(super) max_header_list_size: Option<u32>,
    pub(super) connect_protocol: bool,
}

impl Announced {
    /// Reads a SETTINGS frame's payload. Unknown settings do not matter.
    fn read(payload: &[u8]) -> Self {
        let mut announced = Self::default();
        for setting in payload.chunks_exact(6) {
            let value = u32::from_be_bytes([setting[2], setting[3], setting[4], setting[5]]);
            match u16::from_be_bytes([setting[0], setting[1]]) {
                3 => announced.max_concurrent_streams = Some(value),
                6 => announced.max_header_list_size = Some(value),
                8 => announced.connect_protocol = value == 1,
                _ => {}
            }
        }
        announced
    }

    /// What the agent is towards a caller of such a server.
    pub(super) fn towards_caller(&self) -> server::Builder {
        let streams = self.max_concurrent_streams.unwrap_or(MAX_STREAMS).min(MAX_STREAMS);
        let header_list = self.max_header_list_size.unwrap_or(MAX_HEADER_LIST).min(MAX_HEADER_LIST);
        let mut builder = server::Builder::new();
        builder
            .max_concurrent_streams(streams)
            .max_header_list_size(header_list)
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(window::SMALLEST)
            .max_send_buffer_size(SEND_BUFFER)
            .max_concurrent_reset_streams(RESET_STREAMS)
            .reset_stream_duration(RESET_REMEMBERED)
            .max_pending_accept_reset_streams(RESET_AT_ONCE)
            .data_frame_budget(SMALL_FRAMES);
        if self.connect_protocol {
            builder.enable_connect_protocol();
        }
        builder
    }
}

/// What the agent is towards an origin.
pub(super) fn towards_origin() -> client::Builder {
    let mut builder = client::Builder::new();
    builder
        .enable_push(false)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(window::SMALLEST)
        .max_send_buffer_size(SEND_BUFFER)
        .max_concurrent_reset_streams(RESET_STREAMS)
        .reset_stream_duration(RESET_REMEMBERED)
        .data_frame_budget(SMALL_FRAMES);
    builder
}

/// What the agent is towards a process on a laptop, with this window for all streams.
pub(super) fn towards_laptop(window: u32) -> client::Builder {
    let mut builder = towards_origin();
    builder.initial_window_size(LAPTOP_STREAM_WINDOW).initial_connection_window_size(window);
    builder
}

/// A server's first frame, as far as it has come.
#[derive(Debug, Default)]
pub(super) struct FirstFrame {
    bytes: Vec<u8>,
}

impl FirstFrame {
    /// Takes the next bytes (none: it has ended); says what the frame is as soon as that is clear.
    pub(super) fn advance(&mut self, bytes: &[u8]) -> Option<First> {
        self.bytes.extend_from_slice(bytes);
        let length = match self.bytes[..] {
            [high, middle, low, ..] => usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low),
            _ => 0,
        };
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
    fn what_is_no_settings_frame_is_kept() {
        for (bytes, ends) in [
            (&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], false),
            (&[0, 0, 7, 4, 0, 0, 0, 0, 0], false),
            (&SETTINGS[..12], true),
            (b"", true),
        ] {
            let mut first = FirstFrame::default();
            let mut told = if bytes.is_empty() { None } else { first.advance(bytes) };
            if ends {
                assert_eq!(told, None, "{}", bytes.escape_ascii());
                told = first.advance(b"");
            }
            assert_eq!(told, Some(First::Foreign(bytes.to_vec())), "{}", bytes.escape_ascii());
        }
    }
}
