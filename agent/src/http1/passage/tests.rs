use std::task::Waker;

use super::*;
use crate::http1::hostile::pipe::Pipe;

const HEAD: &str = "HTTP/1.1 200 OK\r\n\r\n";

/// A message that arrives in these pieces; the head is in the buffer, with what came with it.
struct Under {
    passage: Passage,
    from: End<Pipe>,
    to: Pipe,
}

impl Under {
    fn way(pieces: &[&str], framing: Framing, private: bool) -> Self {
        let pieces: Vec<&[u8]> = pieces.iter().map(|piece| piece.as_bytes()).collect();
        let mut from = End::new(Pipe::saying(&pieces));
        while from.read.filled().len() < HEAD.len() {
            let filled = from.poll_fill(&mut Context::from_waker(Waker::noop()));
            assert!(matches!(filled, Poll::Ready(Ok(1..))), "the head is there");
        }
        let passage = Passage::of_answer(from.read.filled(), HEAD.len(), framing, private);
        Self { passage: passage.expect("a good beginning"), from, to: Pipe::taking(7) }
    }

    /// Passes the message; returns how it ended.
    fn passes(&mut self) -> Result<Passed, Flaw> {
        loop {
            match self.passage.poll(&mut Context::from_waker(Waker::noop()), &mut self.from, &mut self.to) {
                Poll::Ready(Ok(passed)) => return Ok(passed),
                Poll::Ready(Err(Broken::Flawed(flaw))) => return Err(flaw),
                Poll::Ready(Err(other)) => panic!("nobody is gone: {other:?}"),
                // The pipe takes nothing every other time.
                Poll::Pending => {}
            }
        }
    }

    fn arrived(&self) -> &str {
        std::str::from_utf8(&self.to.taken).expect("text stays text")
    }
}

#[test]
fn a_message_passes_up_to_its_end() {
    for (framing, body, beyond, passed) in [
        (Framing::None, &[][..], "HTTP/1.1", Ok(Passed::Whole)),
        (Framing::Length(5), &["hel", "lo"], "HTTP/1.1", Ok(Passed::Whole)),
        (Framing::Length(5), &["hel"], "", Ok(Passed::Truncated)),
        (Framing::Chunked, &["5\r\nhel", "lo\r\n0\r\nX: y\r\n", "\r\n"], "HTTP/1.1", Ok(Passed::Whole)),
        (Framing::Chunked, &["5\r\nhello\r\n0\r\n"], "", Ok(Passed::Truncated)),
        (Framing::UntilClose, &["hel", "lo"], "", Ok(Passed::Whole)),
    ] {
        // given a message, and more bytes in the same piece,
        let last = body.last().copied().unwrap_or(HEAD).to_owned() + beyond;
        let pieces = match body {
            [] => vec![last.as_str()],
            [first @ .., _] => [&[HEAD], first, &[&last]].concat(),
        };
        let mut under = Under::way(&pieces, framing, false);
        // when it passes, then all of it has arrived, and the other bytes wait.
        assert_eq!(under.passes(), passed, "{framing:?} {body:?}");
        assert_eq!(under.arrived(), [HEAD, &body.concat()].concat(), "{framing:?}");
        assert_eq!(under.from.read.filled(), beyond.as_bytes());
    }
}

#[test]
fn a_message_that_turns_out_to_be_flawed_passes_no_further() {
    let chunk = "5\r\nhello\r\n";
    let mut under = Under::way(&[HEAD, chunk, "x"], Framing::Chunked, false);
    assert_eq!(under.passes(), Err(Flaw::Chunk));
    assert_eq!(under.arrived(), [HEAD, chunk].concat());
    let flawed = [HEAD, "x"].concat();
    let begun = Passage::begin(flawed.as_bytes(), HEAD.len(), Framing::Chunked);
    assert_eq!(begun.map(|_| ()), Err(Flaw::Chunk), "it does not even begin");
}

#[test]
fn trailers_of_a_private_answer_do_not_address_caches() {
    let chunks = "5\r\nhello\r\n0\r\n";
    for (trailers, private, left) in [
        ("\r\n", true, "\r\n"),
        ("X: y\r\nExpires: 9\r\nCache-Control: public\r\nZ: a\r\n\r\n", true, "X: y\r\nZ: a\r\n\r\n"),
        ("Cache-Control: public\r\n\r\n", true, "\r\n"),
        ("Cache-Control: public\r\n\r\n", false, "Cache-Control: public\r\n\r\n"),
    ] {
        let all = [HEAD, chunks, trailers].concat();
        // given that they come at once, at their end, or in the midst of a name,
        for cut in [HEAD.len(), HEAD.len() + chunks.len(), all.len() - trailers.len() / 2, all.len()] {
            let (first, rest) = all.split_at(cut);
            let mut under = Under::way(&[first, rest, "HTTP/1.1"], Framing::Chunked, private);
            // when they pass, then only fields that do not address caches arrive.
            assert_eq!(under.passes(), Ok(Passed::Whole), "{trailers:?} cut at {cut}");
            assert_eq!(under.arrived(), [HEAD, chunks, left].concat(), "cut at {cut}");
        }
    }
}

#[test]
fn private_trailers_wait_until_all_of_them_are_there() {
    let chunks = "5\r\nhello\r\n0\r\n";
    let mut under = Under::way(&[HEAD, chunks, "Cache-Control: pub"], Framing::Chunked, true);
    assert_eq!(under.passes(), Ok(Passed::Truncated));
    assert_eq!(under.arrived(), [HEAD, chunks].concat(), "half a line is nothing that we vouch for");
}

#[test]
fn bytes_beyond_a_message_are_known() {
    for (body, framing, surplus) in [
        ("", Framing::None, Some(0)),
        ("HTTP/1.1", Framing::None, Some(8)),
        ("hello", Framing::Length(5), Some(0)),
        ("hello more", Framing::Length(5), Some(5)),
        ("hel", Framing::Length(5), None),
        ("0\r\nX: y\r\n\r\nmore", Framing::Chunked, Some(4)),
        ("0\r\nX: y\r\n", Framing::Chunked, None),
        ("hello", Framing::UntilClose, None),
    ] {
        for private in [false, true] {
            let under = Under::way(&[&[HEAD, body].concat()], framing, private);
            assert_eq!(under.passage.surplus(under.from.read.filled()), surplus, "{framing:?} {body:?}");
        }
    }
}

#[test]
fn a_body_is_awaited_until_some_of_it_comes() {
    for (body, framing, awaited) in [
        ("", Framing::None, false),
        ("HTTP/1.1", Framing::None, false),
        ("", Framing::Length(0), false),
        ("", Framing::Length(5), true),
        ("h", Framing::Length(5), false),
        ("hello", Framing::Length(5), false),
        ("", Framing::Chunked, true),
        ("5", Framing::Chunked, false),
        ("", Framing::UntilClose, true),
    ] {
        let under = Under::way(&[&[HEAD, body].concat()], framing, false);
        assert_eq!(under.passage.awaits_body(), awaited, "{framing:?} {body:?}");
    }
}

#[test]
fn a_head_may_be_replaced_or_go_its_own_way() {
    // given a head with a part of its body, when a longer or a shorter one takes its place, then the whole body follows it,
    for head in ["HTTP/1.1 200 OK\r\nX: y\r\n\r\n", "HTTP/1.1 200\r\n\r\n"] {
        let mut under = Under::way(&[&[HEAD, "hel"].concat(), "lo more"], Framing::Length(5), false);
        under.from.read.replace_front(HEAD.len(), head.into());
        under.passage.head_changed(HEAD.len(), head.len());
        assert_eq!(under.passes(), Ok(Passed::Whole));
        assert_eq!(under.arrived(), [head, "hello"].concat());
    }
    // and when it is taken out, then the body passes alone.
    let mut under = Under::way(&[&[HEAD, "hel"].concat(), "lo more"], Framing::Length(5), false);
    under.from.read.consume(HEAD.len());
    under.passage.head_gone(HEAD.len());
    assert_eq!(under.passes(), Ok(Passed::Whole));
    assert_eq!((under.arrived(), under.from.read.filled()), ("hello", &b" more"[..]));
}
