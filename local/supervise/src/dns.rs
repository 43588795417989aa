//! DNS messages on their two transports (RFC 1035, 4.2): with a length prefix over TCP, truncated over UDP to the size
//! that the program accepts.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use bytes::{BufMut, Bytes, BytesMut};
use hickory_proto::{
    ProtoError,
    op::{Header, Message},
    serialize::binary::{BinDecodable, BinDecoder},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::way::Way;

/// A connection without a question ends after this long (RFC 7766, 6.2.3 leaves it to servers).
const IDLE: Duration = Duration::from_secs(30);

const HEADER: usize = 12;
const TRUNCATED: u8 = 0b0000_0010;
/// The largest message over UDP unless the query allows more.
const PLAIN_SIZE: usize = 512;

/// Answers a program's questions over TCP, one after the other, until it closes.
pub(crate) async fn serve(mut local: TcpStream, resolver: SocketAddr, way: Arc<impl Way>) -> io::Result<()> {
    loop {
        let Ok(length) = timeout(IDLE, local.read_u16()).await else { return Ok(()) };
        let mut query = BytesMut::zeroed(usize::from(length?));
        timeout(IDLE, local.read_exact(&mut query)).await??;
        let answer = way.resolve(query.freeze(), resolver).await;
        // A resolver that answers more than 64 KiB is broken.
        let Ok(length) = u16::try_from(answer.len()) else { return Err(io::ErrorKind::InvalidData.into()) };
        let mut framed = BytesMut::with_capacity(2 + answer.len());
        framed.put_u16(length);
        framed.extend_from_slice(&answer);
        timeout(IDLE, local.write_all(&framed)).await??;
    }
}

/// The answer for UDP: unchanged, or its header and question marked as truncated, so that the program asks again over
/// TCP.
pub(crate) fn fit(query: &[u8], answer: Bytes) -> Bytes {
    if answer.len() <= PLAIN_SIZE || answer.len() <= accepted_size(query) {
        return answer;
    }
    let Ok(question) = questions_end(&answer) else { return answer.slice(..HEADER) };
    let mut cut = BytesMut::from(&answer[..question]);
    cut[2] |= TRUNCATED;
    // No answer, authority or additional records.
    cut[6..HEADER].fill(0);
    cut.freeze()
}

/// The size in the query's OPT record (RFC 6891, 6.2.3), if it has one.
fn accepted_size(query: &[u8]) -> usize {
    Message::from_vec(query).map_or(PLAIN_SIZE, |query| usize::from(query.max_payload()))
}

/// The end of the question section. The records that follow are not read.
fn questions_end(message: &[u8]) -> Result<usize, ProtoError> {
    let mut decoder = BinDecoder::new(message);
    let questions = Header::read(&mut decoder)?.counts.queries;
    Message::read_queries(&mut decoder, usize::from(questions))?;
    Ok(decoder.index())
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUESTION: &[u8] = b"\x06orders\x04shop\0\0\x01\0\x01";

    fn query(opt: Option<u16>) -> Vec<u8> {
        let mut query = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(opt.is_some())];
        query.extend(QUESTION);
        if let Some(size) = opt {
            query.extend([0, 0, 41]);
            query.extend(size.to_be_bytes());
            query.extend([0, 0, 0, 0, 0, 0]);
        }
        query
    }

    fn answer(length: usize) -> Bytes {
        let mut answer = vec![0, 7, 0x81, 0x80, 0, 1, 0, 9, 0, 0, 0, 1];
        answer.extend(QUESTION);
        answer.resize(length, 0xaa);
        answer.into()
    }

    #[test]
    fn an_answer_that_fits_is_unchanged() {
        assert_eq!(fit(&query(None), answer(512)), answer(512));
        assert_eq!(fit(&query(Some(1232)), answer(1232)), answer(1232));
        assert_eq!(fit(&query(Some(100)), answer(512)), answer(512), "a size below 512 means 512");
    }

    #[test]
    fn a_longer_answer_is_cut_and_marked() {
        for (opt, length) in [(None, 513), (Some(1232), 1233)] {
            let cut = fit(&query(opt), answer(length));
            assert_eq!(&cut[..HEADER], [0, 7, 0x83, 0x80, 0, 1, 0, 0, 0, 0, 0, 0]);
            assert_eq!(&cut[HEADER..], QUESTION);
        }
    }

    #[test]
    fn nonsense_is_read_to_its_end_only() {
        let whole = query(Some(1232));
        for length in 0..whole.len() {
            let _ = fit(&whole[..length], answer(4000));
            let _ = fit(&whole, answer(4000).slice(..length));
        }
        assert_eq!(fit(&[0xff; 40], Bytes::from(vec![0xff; 4000])).len(), HEADER);
    }
}
