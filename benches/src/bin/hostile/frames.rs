//! Hand-made frames of HTTP/2 (RFC 9113) that no library would send.

use std::net::Ipv4Addr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;

pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

/// `:method GET`, `:scheme http`, `:path /` of HPACK's static table, and `:authority a`.
pub(crate) const REQUEST: &[u8] = b"\x82\x86\x84\x41\x01a";

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A connection after its beginning, with these settings; what comes back is discarded.
pub(crate) async fn connect(port: u16, settings: &[u8]) -> anyhow::Result<OwnedWriteHalf> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
    stream.set_nodelay(true)?;
    let (mut read, mut write) = stream.into_split();
    tokio::spawn(async move {
        let mut thrown_away = vec![0; 64 * 1024];
        while read.read(&mut thrown_away).await.is_ok_and(|read| read > 0) {}
    });
    write.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await?;
    write.write_all(&frame(SETTINGS, 0, 0, settings)).await?;
    Ok(write)
}
