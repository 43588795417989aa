//! The frames of SPDY/3.1, as far as a port-forward of one port needs them. Pure: bytes in, bytes out.
//!
//! A frame is a head of eight bytes and its content. Two streams are opened, distinguished by their headers: first that
//! of errors, then that of the data; the kubelet serves them as a pair. The headers are a zlib stream (RFC 1950), which
//! we write as stored blocks: compressing them would gain nothing, and those of the answers mean nothing here.
//!
//! Uses only `std` and `bytes`, because the fuzz target of `tests/fuzz` builds this file alone.

use std::io;

use bytes::{BufMut, BytesMut};

/// Bytes of a frame's head.
pub(super) const HEAD: usize = 8;

const ERRORS: u32 = 1;
const DATA: u32 = 3;

/// A control frame of this version; the rest of the first four bytes is its kind.
const CONTROL: u32 = 1 << 31 | 3 << 16;
const SYN_STREAM: u32 = 1;
const RST_STREAM: u32 = 3;
const PING: u32 = 6;

/// The flag that nothing follows.
const FIN: u8 = 1;
/// The maximum length of the content in bytes.
const LENGTH: u32 = (1 << 24) - 1;

/// The beginning of a zlib stream with a window of 32 KiB and no dictionary.
const ZLIB: [u8; 2] = [0x78, 0x01];

/// The content of a frame from the other side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    /// Bytes of the forwarded connection.
    Data,
    /// The reason why it cannot go on, as text.
    Error,
    /// To be sent back as it is.
    Ping,
    /// Nothing of interest here.
    Other,
}

/// A frame whose head was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) content: Content,
    /// Bytes of content, after the head.
    pub(super) len: usize,
    /// Nothing follows on its stream.
    pub(super) last: bool,
}

impl Frame {
    /// Reads a head.
    ///
    /// # Errors
    ///
    /// `ConnectionReset` if the other side ended one of the streams; `InvalidData` for frames that a port-forward does
    /// not send.
    pub(super) fn of([a, b, c, d, flags, length @ ..]: [u8; HEAD]) -> io::Result<Self> {
        let [e, f, g] = length;
        let content = match u32::from_be_bytes([a, b, c, d]) {
            DATA => Content::Data,
            ERRORS => Content::Error,
            reset if reset == CONTROL | RST_STREAM => {
                return Err(io::Error::new(
                    io::ErrorKind::ConnectionReset,
                    "the node ended the port-forward",
                ));
            }
            ping if ping == CONTROL | PING => Content::Ping,
            control if control & 0xffff_0000 == CONTROL => Content::Other,
            other => {
                let what = format!("port-forward: a frame that begins with {other:#010x}");
                return Err(io::Error::new(io::ErrorKind::InvalidData, what));
            }
        };
        let len = u32::from_be_bytes([0, e, f, g]) as usize;
        Ok(Self { content, len, last: flags & FIN != 0 })
    }
}

/// The head of a frame with this number of data bytes.
pub(super) fn data(len: usize) -> [u8; HEAD] {
    head(DATA, len)
}

/// The answer to a ping.
pub(super) fn pong(id: &[u8]) -> Vec<u8> {
    [&head(CONTROL | PING, id.len()), id].concat()
}

/// The frames that open the two streams of a port.
pub(super) fn open(port: u16) -> BytesMut {
    let port = port.to_string();
    let mut frames = BytesMut::new();
    for (stream, kind, zlib) in [(ERRORS, "error", &ZLIB[..]), (DATA, "data", &[])] {
        let headers = headers(&[("port", &port), ("requestid", "0"), ("streamtype", kind)]);
        let mut content = Vec::new();
        content.put_u32(stream);
        // No associated stream, default priority, no credential.
        content.put_slice(&[0; 6]);
        content.put_slice(zlib);
        content.put_slice(&stored(&headers));
        // The reader sees a block's bytes when the next one begins.
        content.put_slice(&stored(&[]));
        frames.put_slice(&head(CONTROL | SYN_STREAM, content.len()));
        frames.put_slice(&content);
    }
    frames
}

fn head(first: u32, len: usize) -> [u8; HEAD] {
    let len = u32::try_from(len).unwrap_or(LENGTH).min(LENGTH);
    let [a, b, c, d] = first.to_be_bytes();
    let [e, f, g, h] = len.to_be_bytes();
    [a, b, c, d, e, f, g, h]
}

/// The number of headers, and each text with its length before it.
fn headers(headers: &[(&str, &str)]) -> Vec<u8> {
    let len = |len: usize| u32::try_from(len).unwrap_or(u32::MAX);
    let mut block = Vec::new();
    block.put_u32(len(headers.len()));
    for text in headers.iter().flat_map(|(name, value)| [name, value]) {
        block.put_u32(len(text.len()));
        block.put_slice(text.as_bytes());
    }
    block
}

/// A stored block (RFC 1951, 3.2.4) that is not the last.
fn stored(bytes: &[u8]) -> Vec<u8> {
    let len = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    let mut block = vec![0];
    block.put_u16_le(len);
    block.put_u16_le(!len);
    block.put_slice(bytes);
    block
}

/// The invariants for any head: it is refused, or its length is that of its last three bytes, and data are only on the
/// data stream.
#[cfg(any(test, fuzzing))]
pub(crate) fn hostile(bytes: &[u8]) {
    for head in bytes.as_chunks::<HEAD>().0 {
        let control = head[0] & 0x80 != 0;
        match Frame::of(*head) {
            Ok(frame) => {
                assert_eq!(frame.len.to_be_bytes()[5..], head[5..], "{head:?}");
                let stream = (!control).then_some(u32::from_be_bytes([head[0], head[1], head[2], head[3]]));
                assert_eq!(frame.content == Content::Data, stream == Some(DATA), "{head:?}");
                assert_eq!(frame.content == Content::Error, stream == Some(ERRORS), "{head:?}");
                assert_eq!(frame.last, head[4] & 1 == 1, "{head:?}");
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => assert!(control, "{head:?}"),
            Err(_) => assert!(!control || head[1] != 3 || head[0] != 0x80, "{head:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn whatever_comes(
            firsts in prop::collection::vec(prop::sample::select(vec![0u32, 1, 2, 3, CONTROL | 3, CONTROL | 6, CONTROL | 7, 1 << 31]), 0..8),
            seconds in prop::collection::vec(any::<u32>(), 8),
        ) {
            let heads = firsts.iter().zip(seconds);
            let bytes = heads.flat_map(|(first, second)| [first.to_be_bytes(), second.to_be_bytes()].concat());
            hostile(&bytes.collect::<Vec<u8>>());
        }

        #[test]
        fn arbitrary_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            hostile(&bytes);
        }
    }

    #[test]
    fn written_headers_can_be_read() {
        let of = |bytes: &[u8]| Frame::of(bytes[..HEAD].try_into().expect("a head")).expect("a frame");
        assert_eq!(of(&data(70_000)), Frame { content: Content::Data, len: 70_000, last: false });
        assert_eq!(of(&pong(b"1234")), Frame { content: Content::Ping, len: 4, last: false });
        assert_eq!(pong(b"1234")[HEAD..], *b"1234");
    }

    #[test]
    fn both_streams_are_opened_as_a_kubelet_reads_it() {
        let bytes = open(7390);
        let block = |kind: &str| {
            let mut block = vec![0, 0, 0, 3, 0, 0, 0, 4];
            block.extend(b"port\0\0\0\x047390\0\0\0\x09requestid\0\0\0\x010\0\0\0\x0astreamtype\0\0\0");
            block.push(u8::try_from(kind.len()).expect("short"));
            block.extend(kind.as_bytes());
            block
        };
        let mut expected = Vec::new();
        for (stream, kind, zlib) in [(1, "error", &b"\x78\x01"[..]), (3, "data", b"")] {
            let block = block(kind);
            let len = u8::try_from(block.len()).expect("short");
            let content = 4 + 6 + zlib.len() + 5 + block.len() + 5;
            expected.extend([0x80, 3, 0, 1, 0, 0, 0, u8::try_from(content).expect("short")]);
            expected.extend([0, 0, 0, stream, 0, 0, 0, 0, 0, 0]);
            expected.extend(zlib);
            expected.extend([0, len, 0, !len, 0xff]);
            expected.extend(block);
            expected.extend([0, 0, 0, 0xff, 0xff]);
        }
        assert_eq!(bytes, expected);
    }
}
