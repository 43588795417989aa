//! DNS messages on their two transports (RFC 1035, 4.2): over TCP behind their length, over UDP cut to what the asker
//! said that it takes.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use bytes::{BufMut, Bytes, BytesMut};
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
/// What a message over UDP may have if its asker says nothing else.
const PLAIN_SIZE: usize = 512;
const OPT: u16 = 41;

/// Answers a program's questions over TCP, one after the other, until it closes.
pub(crate) async fn serve(mut local: TcpStream, resolver: SocketAddr, way: Arc<impl Way>) -> io::Result<()> {
    loop {
        let Ok(length) = timeout(IDLE, local.read_u16()).await else { return Ok(()) };
        let mut query = BytesMut::zeroed(usize::from(length?));
        timeout(IDLE, local.read_exact(&mut query)).await??;
        let answer = way.resolve(query.freeze(), resolver).await;
        // One that is longer than a length can say is a mistake of the resolver.
        let Ok(length) = u16::try_from(answer.len()) else { return Err(io::ErrorKind::InvalidData.into()) };
        let mut framed = BytesMut::with_capacity(2 + answer.len());
        framed.put_u16(length);
        framed.extend_from_slice(&answer);
        timeout(IDLE, local.write_all(&framed)).await??;
    }
}

/// The answer as it goes over UDP: itself, or without its records and marked as cut, so that the asker turns to TCP.
pub(crate) fn fit(query: &[u8], answer: Bytes) -> Bytes {
    if answer.len() <= accepted_size(query).unwrap_or(PLAIN_SIZE) {
        return answer;
    }
    let Some(question) = questions_end(&answer) else { return answer.slice(..HEADER.min(answer.len())) };
    let mut cut = BytesMut::from(&answer[..question]);
    cut[2] |= TRUNCATED;
    // No answer, authority or additional records.
    cut[6..HEADER].fill(0);
    cut.freeze()
}

/// The size in the query's OPT record (RFC 6891, 6.2.3), if it has one.
fn accepted_size(query: &[u8]) -> Option<usize> {
    let records: usize = (3..6).map(|index| count(query, index)).sum::<Option<usize>>()?;
    let mut at = questions_end(query)?;
    for _ in 0..records {
        at = name_end(query, at)?;
        let kind = number(query, at)?;
        if kind == OPT {
            return Some(usize::from(number(query, at + 2)?).max(PLAIN_SIZE));
        }
        at += 10 + usize::from(number(query, at + 8)?);
    }
    None
}

/// Where the question section ends.
fn questions_end(message: &[u8]) -> Option<usize> {
    let mut at = HEADER;
    for _ in 0..count(message, 2)? {
        at = name_end(message, at)? + 4;
    }
    (at <= message.len()).then_some(at)
}

/// The count at this word of the header: 2 questions, 3 answers, 4 authority records, 5 additional ones.
fn count(message: &[u8], index: usize) -> Option<usize> {
    number(message, index * 2).map(usize::from)
}

fn name_end(message: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *message.get(at)? {
            0 => return Some(at + 1),
            length @ 1..=63 => at += 1 + usize::from(length),
            // A pointer ends a name (RFC 1035, 4.1.4).
            0xc0.. => return Some(at + 2),
            _ => return None,
        }
    }
}

fn number(message: &[u8], at: usize) -> Option<u16> {
    message.get(at..)?.first_chunk::<2>().map(|bytes| u16::from_be_bytes(*bytes))
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
    fn what_fits_goes_as_it_is() {
        assert_eq!(fit(&query(None), answer(512)), answer(512));
        assert_eq!(fit(&query(Some(1232)), answer(1232)), answer(1232));
        assert_eq!(fit(&query(Some(100)), answer(512)), answer(512), "a size below 512 means 512");
    }

    #[test]
    fn what_does_not_is_cut_and_says_so() {
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
