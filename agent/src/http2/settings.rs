//! The origin's settings, and the settings for callers that follow from them. Pure.

use std::time::Duration;

use h2::{client, server};

use super::frames::SMALL_FRAMES;
use super::window;

/// Limit on the streams of one caller's connection, even if the origin would take more.
const MAX_STREAMS: u32 = 10_000;
/// Limit on a request's header list (RFC 9113 section 6.5.2), whatever the origin announces; also the default.
const MAX_HEADER_LIST: u32 = 4 << 20;
/// The unread data of a stream, in each direction, that is held here while its receiver does not take it.
const STREAM_WINDOW: u32 = 256 << 10;
/// The unsent bytes that a stream holds besides.
const SEND_BUFFER: usize = 64 << 10;
/// The window of a stream on the way from a laptop, whose round trips are long.
const LAPTOP_STREAM_WINDOW: u32 = 1 << 20;
/// The number of streams that one side has reset while the other still sends for them, and how long they are
/// remembered.
const RESET_STREAMS: usize = 1000;
const RESET_REMEMBERED: Duration = Duration::from_secs(10);
/// The number of streams that a caller may open and reset at one go.
const RESET_AT_ONCE: usize = 1000;

/// The part of a server's SETTINGS that its callers need (RFC 9113 section 6.5.2, RFC 8441 section 3).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Announced {
    pub(super) max_concurrent_streams: Option<u32>,
    pub(super) max_header_list_size: Option<u32>,
    pub(super) connect_protocol: bool,
}

impl Announced {
    /// Reads a SETTINGS frame's payload. Unknown settings do not matter.
    pub(super) fn read(payload: &[u8]) -> Self {
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

    /// The agent's settings for a caller of such a server.
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

/// The agent's settings for an origin.
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

/// The agent's settings for a process on a laptop, with this window for all streams.
pub(super) fn towards_laptop(window: u32) -> client::Builder {
    let mut builder = towards_origin();
    builder.initial_window_size(LAPTOP_STREAM_WINDOW).initial_connection_window_size(window);
    builder
}
