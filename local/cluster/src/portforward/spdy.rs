//! A port-forward by SPDY/3.1: a connection of its own with one stream of data.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf, Take};

use super::frames::{self, Content, Frame, HEAD};
use super::gathered::as_one;

/// The maximum size of one frame, so that it is two whole records of TLS, and no large object for a container runtime.
const FRAME: usize = 32 * 1024 - HEAD;
/// The bytes to keep of a frame that is no data: the kubelet's error message.
const KEPT: usize = 4096;

/// The data stream of one forwarded port.
pub(super) struct Spdy<Io> {
    /// Limited to the bytes that may be read next.
    io: Take<Io>,
    incoming: Incoming,
    /// Bytes that were accepted and are not written yet.
    unsent: BytesMut,
}

/// The kind of bytes to read next.
enum Incoming {
    Head { bytes: [u8; HEAD], filled: usize },
    Data { left: usize, last: bool },
    Said { frame: Frame, left: usize, kept: Vec<u8> },
    Ended,
}

impl Incoming {
    const HEAD: Self = Self::Head { bytes: [0; HEAD], filled: 0 };

    fn content(frame: Frame) -> Self {
        match (frame.content, frame.len) {
            (Content::Data, left) => Self::data(left, frame.last),
            (_, 0) => Self::HEAD,
            (_, left) => Self::Said { frame, left, kept: Vec::new() },
        }
    }

    fn data(left: usize, last: bool) -> Self {
        match (left, last) {
            (0, true) => Self::Ended,
            (0, false) => Self::HEAD,
            (left, last) => Self::Data { left, last },
        }
    }
}

impl<Io: AsyncRead + AsyncWrite + Unpin> Spdy<Io> {
    pub(super) fn new(io: Io, port: u16) -> Self {
        Self { io: io.take(0), incoming: Incoming::HEAD, unsent: frames::open(port) }
    }

    /// Reads at most this number of bytes, and returns how many came; zero at the end of the connection.
    fn poll_some(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
        most: usize,
    ) -> Poll<io::Result<usize>> {
        let before = buf.filled().len();
        self.io.set_limit(most as u64);
        ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
        Poll::Ready(Ok(buf.filled().len() - before))
    }

    /// Continues to read a frame that is no data.
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut piece = [0; 512];
        let mut buf = ReadBuf::new(&mut piece);
        let wanted = match &self.incoming {
            Incoming::Head { filled, .. } => HEAD - filled,
            Incoming::Said { left, .. } => *left,
            Incoming::Data { .. } | Incoming::Ended => return Poll::Ready(Ok(())),
        };
        let came = ready!(self.poll_some(cx, &mut buf, wanted))?;
        let at_its_begin = matches!(self.incoming, Incoming::Head { filled: 0, .. });
        match &mut self.incoming {
            _ if came == 0 && at_its_begin => self.incoming = Incoming::Ended,
            _ if came == 0 => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
            Incoming::Head { bytes, filled } => {
                bytes[*filled..*filled + came].copy_from_slice(buf.filled());
                *filled += came;
                if *filled == HEAD {
                    self.incoming = Incoming::content(Frame::of(*bytes)?);
                }
            }
            Incoming::Said { frame, left, kept } => {
                kept.extend_from_slice(&buf.filled()[..came.min(KEPT - kept.len())]);
                *left -= came;
                if *left == 0 {
                    let (content, kept) = (frame.content, std::mem::take(kept));
                    self.incoming = Incoming::HEAD;
                    self.heed(content, &kept)?;
                }
            }
            Incoming::Data { .. } | Incoming::Ended => {}
        }
        Poll::Ready(Ok(()))
    }

    fn heed(&mut self, content: Content, said: &[u8]) -> io::Result<()> {
        match content {
            Content::Error => {
                let text = String::from_utf8_lossy(said).into_owned();
                return Err(io::Error::new(io::ErrorKind::ConnectionReset, text));
            }
            Content::Ping => self.unsent.extend_from_slice(&frames::pong(said)),
            Content::Data | Content::Other => {}
        }
        Ok(())
    }

    fn poll_unsent(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.unsent.is_empty() {
            match ready!(Pin::new(self.io.get_mut()).poll_write(cx, &self.unsent))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.unsent.advance(written),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Writes as much as possible now; the rest goes with the next flush.
    fn send(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match self.poll_unsent(cx) {
            Poll::Ready(sent) => sent,
            Poll::Pending => Ok(()),
        }
    }
}

impl<Io: AsyncRead + AsyncWrite + Unpin> AsyncRead for Spdy<Io> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            // Pongs, and at the beginning the frames that open the streams, wait for no flush.
            self.send(cx)?;
            match self.incoming {
                Incoming::Ended => return Poll::Ready(Ok(())),
                Incoming::Data { left, last } => {
                    return match ready!(self.poll_some(cx, buf, left))? {
                        0 if buf.remaining() > 0 => Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                        came => {
                            self.incoming = Incoming::data(left - came, last);
                            Poll::Ready(Ok(()))
                        }
                    };
                }
                Incoming::Head { .. } | Incoming::Said { .. } => ready!(self.poll_frame(cx))?,
            }
        }
    }
}

impl<Io: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Spdy<Io> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_unsent(cx))?;
        let (len, pieces) = as_one(bufs, FRAME);
        if len == 0 {
            return Poll::Ready(Ok(0));
        }
        self.unsent.reserve(HEAD + len);
        self.unsent.extend_from_slice(&frames::data(len));
        pieces.for_each(|piece| self.unsent.extend_from_slice(piece));
        self.send(cx)?;
        Poll::Ready(Ok(len))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_unsent(cx))?;
        Pin::new(self.io.get_mut()).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_unsent(cx))?;
        Pin::new(self.io.get_mut()).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

    use super::*;

    /// Streams as SPDY numbers them, and the first four bytes of control frames.
    const ERRORS: u32 = 1;
    const DATA: u32 = 3;
    const SYN_REPLY: u32 = 0x8003_0002;
    const RST_STREAM: u32 = 0x8003_0003;
    const PING: u32 = 0x8003_0006;

    fn frame(first: u32, content: &[u8]) -> Vec<u8> {
        let len = u32::try_from(content.len()).expect("short");
        [&first.to_be_bytes()[..], &len.to_be_bytes(), content].concat()
    }

    /// A port-forward, and the node's end of it after the frames that open the streams.
    async fn pair() -> (Spdy<DuplexStream>, DuplexStream) {
        let (near, mut far) = tokio::io::duplex(1 << 20);
        let mut near = Spdy::new(near, 80);
        near.flush().await.expect("room");
        far.read_exact(&mut vec![0; frames::open(80).len()]).await.expect("the streams are asked for");
        (near, far)
    }

    #[tokio::test]
    async fn bytes_pass_both_ways_after_the_answers() {
        let (mut near, mut far) = pair().await;
        for piece in [frame(SYN_REPLY, &[0; 20]), frame(SYN_REPLY, &[0; 20]), frame(DATA, b"hello")] {
            far.write_all(&piece).await.expect("room");
        }
        let mut hello = [0; 5];
        near.read_exact(&mut hello).await.expect("bytes");
        assert_eq!(&hello, b"hello");
        near.write_all(b"world").await.expect("room");
        near.flush().await.expect("room");
        let mut world = vec![0; HEAD + 5];
        far.read_exact(&mut world).await.expect("a frame");
        assert_eq!(world, frame(DATA, b"world"));
    }

    #[tokio::test]
    async fn pieces_that_are_written_together_are_one_frame() {
        let (mut near, mut far) = pair().await;
        let pieces = [IoSlice::new(b"head"), IoSlice::new(b""), IoSlice::new(&[7; FRAME])];
        let written = near.write_vectored(&pieces).await.expect("room");
        near.flush().await.expect("room");
        let mut head = [0; HEAD + 5];
        far.read_exact(&mut head).await.expect("a frame");
        assert_eq!((written, &head[..HEAD]), (FRAME, &frames::data(FRAME)[..]), "no longer than the longest");
        assert_eq!(&head[HEAD..], b"head\x07");
    }

    #[tokio::test]
    async fn a_ping_is_answered() {
        let (mut near, mut far) = pair().await;
        far.write_all(&frame(PING, b"1234")).await.expect("room");
        let answered = async {
            let mut answer = [0; HEAD + 4];
            far.read_exact(&mut answer).await.expect("an answer");
            answer
        };
        let answer = tokio::select! {
            answer = answered => answer,
            byte = near.read_u8() => panic!("nothing was to be read, but {byte:?} came"),
        };
        assert_eq!(answer[..], frame(PING, b"1234"));
    }

    #[tokio::test]
    async fn the_kubelet_s_message_becomes_the_error() {
        let (mut near, mut far) = pair().await;
        let (first, second) = (frame(ERRORS, b"connection refused"), frame(RST_STREAM, &[0; 8]));
        far.write_all(&[first, second].concat()).await.expect("room");
        let error = near.read_u8().await.expect_err("the error stream spoke");
        assert_eq!(error.to_string(), "connection refused");
    }

    #[tokio::test]
    async fn the_beginning_of_a_very_long_error_is_kept() {
        let (mut near, mut far) = pair().await;
        far.write_all(&frame(ERRORS, &[b'x'; 100_000])).await.expect("room");
        let error = near.read_u8().await.expect_err("the error stream spoke");
        assert_eq!(error.to_string(), "x".repeat(KEPT));
    }

    #[tokio::test]
    async fn each_kind_of_end_is_distinguished() {
        let last = [&DATA.to_be_bytes()[..], &[1, 0, 0, 2], b"ok"].concat();
        for (said, expected) in [
            (last, Ok(2)),
            (frame(DATA, b"ok"), Ok(2)),
            (frame(RST_STREAM, &[0; 8]), Err(io::ErrorKind::ConnectionReset)),
            (frame(DATA, b"ok")[..9].to_vec(), Err(io::ErrorKind::UnexpectedEof)),
            (frame(DATA, b"ok")[..3].to_vec(), Err(io::ErrorKind::UnexpectedEof)),
            (frame(SYN_REPLY, b"ok")[..9].to_vec(), Err(io::ErrorKind::UnexpectedEof)),
            (frame(5, b"ok"), Err(io::ErrorKind::InvalidData)),
            (b"HTTP/1.1 400 Bad Request".to_vec(), Err(io::ErrorKind::InvalidData)),
        ] {
            let (mut near, mut far) = pair().await;
            far.write_all(&said).await.expect("room");
            drop(far);
            let ended = near.read_to_end(&mut Vec::new()).await.map_err(|error| error.kind());
            assert_eq!(ended, expected, "after {said:?}");
        }
    }

    proptest! {
        /// However the frames are cut on their way, the data come whole and in order.
        #[test]
        fn data_come_whole(
            contents in prop::collection::vec((any::<bool>(), prop::collection::vec(any::<u8>(), 0..600)), 0..12),
            cut in 1usize..700,
            room in 1usize..300,
        ) {
            let frames = contents.iter().flat_map(|(data, bytes)| frame(if *data { DATA } else { SYN_REPLY }, bytes));
            let frames: Vec<u8> = frames.collect();
            let data = contents.iter().filter(|(data, _)| *data).flat_map(|(_, bytes)| bytes.clone());
            let data: Vec<u8> = data.collect();
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
            let read = runtime.block_on(async {
                let pieces = frames.chunks(cut).map(|piece| io::Result::Ok(io::Cursor::new(piece.to_vec())));
                let io = tokio_util::io::StreamReader::new(futures::stream::iter(pieces));
                let mut near = Spdy::new(tokio::io::join(io, tokio::io::sink()), 80);
                let (mut read, mut piece) = (Vec::new(), vec![0; room]);
                while let len @ 1.. = near.read(&mut piece).await.expect("only frames came") {
                    read.extend_from_slice(&piece[..len]);
                }
                read
            });
            prop_assert_eq!(read, data);
        }
    }
}
