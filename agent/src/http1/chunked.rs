//! Finds the end of a chunked body, trailers included (RFC 9112 section 7.1). Pure and incremental; strict, because
//! reading leniently here and strictly elsewhere lets requests be smuggled.

use super::flaw::Flaw;

/// Limit on one chunk's extensions, in bytes.
const MAX_EXTENSION: u32 = 4 * 1024;
/// Limit on all trailers, in bytes.
const MAX_TRAILERS: u32 = 16 * 1024;
/// Limit on the digits of a chunk's size: no size overflows.
const MAX_DIGITS: u8 = 15;

/// A chunked body, as far as it has been seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Chunked {
    state: State,
    /// The current chunk's size, or the rest of it.
    left: u64,
    /// Digits of the size so far.
    digits: u8,
    /// Bytes of the extension, or of the trailers, so far.
    spent: u32,
    /// Bytes of the trailers so far, with those of the lines' ends.
    trailers: usize,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum State {
    #[default]
    Size,
    Extension,
    /// In a quoted value of an extension: some parsers look for its end before they look for the line's.
    Quoted,
    Escaped,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    /// At the beginning of a trailer or of the empty line.
    Trailer,
    TrailerName,
    TrailerValue,
    TrailerLf,
    LastLf,
    Over,
}

impl State {
    fn is_of_trailers(self) -> bool {
        use State::{LastLf, Trailer, TrailerLf, TrailerName, TrailerValue};
        matches!(self, Trailer | TrailerName | TrailerValue | TrailerLf | LastLf)
    }
}

impl Chunked {
    pub(crate) fn is_over(&self) -> bool {
        self.state == State::Over
    }

    /// Bytes of trailers so far, the empty line after them included.
    pub(crate) fn trailers(&self) -> usize {
        self.trailers
    }

    /// The number of the next bytes that belong to the body.
    pub(crate) fn scan(&mut self, bytes: &[u8]) -> Result<usize, Flaw> {
        let mut at = 0;
        while at < bytes.len() && self.state != State::Over {
            if self.state == State::Data {
                let own = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len() - at);
                self.left -= own as u64;
                at += own;
                if self.left == 0 {
                    self.state = State::DataCr;
                }
                continue;
            }
            self.trailers += usize::from(self.state.is_of_trailers());
            self.state = self.step(bytes[at])?;
            if matches!(self.state, State::TrailerName | State::TrailerValue | State::TrailerLf) {
                self.spend(MAX_TRAILERS)?;
            }
            at += 1;
        }
        Ok(at)
    }

    /// Processes one byte that is not data.
    fn step(&mut self, byte: u8) -> Result<State, Flaw> {
        Ok(match (self.state, byte) {
            (State::Size, _) => return self.size(byte),
            (State::Extension, b'\r') => State::SizeLf,
            (State::Extension | State::Quoted | State::Escaped, _) if is_text(byte) => {
                self.spend(MAX_EXTENSION)?;
                match (self.state, byte) {
                    (State::Extension, b'"') | (State::Escaped, _) => State::Quoted,
                    (State::Quoted, b'\\') => State::Escaped,
                    (State::Quoted, b'"') => State::Extension,
                    (state, _) => state,
                }
            }
            (State::SizeLf, b'\n') => {
                self.spent = 0;
                self.digits = 0;
                if self.left == 0 { State::Trailer } else { State::Data }
            }
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => State::Size,
            (State::Trailer, b'\r') => State::LastLf,
            (State::Trailer | State::TrailerName, _) if is_name(byte) => State::TrailerName,
            (State::TrailerName, b':') => State::TrailerValue,
            (State::TrailerValue, b'\r') => State::TrailerLf,
            (State::TrailerValue, _) if is_text(byte) => State::TrailerValue,
            (State::TrailerLf, b'\n') => State::Trailer,
            (State::LastLf, b'\n') => State::Over,
            _ => return Err(Flaw::Chunk),
        })
    }

    fn size(&mut self, byte: u8) -> Result<State, Flaw> {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            b'A'..=b'F' => byte - b'A' + 10,
            b'\r' if self.digits > 0 => return Ok(State::SizeLf),
            b';' if self.digits > 0 => return Ok(State::Extension),
            _ => return Err(Flaw::Chunk),
        };
        if self.digits == MAX_DIGITS {
            return Err(Flaw::Chunk);
        }
        self.digits += 1;
        self.left = self.left * 16 + u64::from(digit);
        Ok(State::Size)
    }

    fn spend(&mut self, most: u32) -> Result<(), Flaw> {
        self.spent += 1;
        if self.spent > most { Err(Flaw::Chunk) } else { Ok(()) }
    }
}

/// Any character but control characters, except tab.
fn is_text(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The number of bytes in the body and whether it is over, or its flaw.
    fn whole(bytes: &[u8]) -> Result<(usize, bool), Flaw> {
        let mut chunked = Chunked::default();
        let own = chunked.scan(bytes)?;
        Ok((own, chunked.is_over()))
    }

    #[test]
    fn the_end_is_found() {
        let cases: &[(&str, usize, bool)] = &[
            ("0\r\n\r\nGET /", 5, true),
            ("5\r\nhello\r\n0\r\n\r\nnext", 15, true),
            ("00A;name=\"v\"\r\n0123456789\r\n0\r\n\r\n", 31, true),
            ("1;a=\"\\\";\";b\r\nx\r\n0\r\n\r\n", 21, true),
            ("1\r\nx\r\n0\r\nServer-Timing: a\r\nX: y\r\n\r\nmore", 35, true),
            ("5\r\nhel", 6, false),
            ("", 0, false),
        ];
        for (bytes, own, over) in cases {
            assert_eq!(whole(bytes.as_bytes()), Ok((*own, *over)), "{bytes:?}");
        }
    }

    #[test]
    fn lenience_is_for_others() {
        let flawed = [
            "\r\n",
            ";x\r\n",
            "5 \r\nhello\r\n",
            " 5\r\nhello\r\n",
            "0x5\r\nhello\r\n",
            "+5\r\nhello\r\n",
            "5\nhello\n",
            "5\r\nhelloX",
            "5\r\nhello\n",
            "5;a\nhello",
            "5;a\rhello",
            "5;a=\"\r\nhello\r\n0\r\n\r\n\"\r\n",
            "5;a=\"\\\"\r\nhello\r\n",
            "0\r\nX: a\r\n folded\r\n\r\n",
            "0\r\nX : a\r\n\r\n",
            "0\r\nX\r\n\r\n",
            "0\r\nX: a\n\n",
            "0\r\n\n",
            "1000000000000000\r\n",
        ];
        for bytes in flawed {
            assert_eq!(whole(bytes.as_bytes()), Err(Flaw::Chunk), "{bytes:?}");
        }
        assert_eq!(whole(format!("5;{}", "x".repeat(5000)).as_bytes()), Err(Flaw::Chunk), "a long extension");
        assert_eq!(
            whole(format!("0\r\n{}", "X: y\r\n".repeat(5000)).as_bytes()),
            Err(Flaw::Chunk),
            "long trailers"
        );
    }

    #[test]
    fn sizes_are_hexadecimal_and_each_chunk_has_its_own() {
        for (size, data) in
            [("1", 1), ("9", 9), ("a", 10), ("F", 15), ("f", 15), ("A0", 160), ("00000000000001f", 31)]
        {
            let chunk = format!("{size}\r\n{}\r\n", "x".repeat(data));
            let body = format!("{chunk}{chunk}0\r\n\r\n");
            assert_eq!(whole(format!("{body}next").as_bytes()), Ok((body.len(), true)), "{size}");
        }
        for size in ["g", "G", "/", ":", "@", "`", "1g", "0000000000000001"] {
            assert_eq!(whole(format!("{size}\r\nx\r\n").as_bytes()), Err(Flaw::Chunk), "{size}");
        }
    }

    #[test]
    fn bytes_that_are_no_data_have_bounds() {
        let extended = |len: usize| format!("1;{}\r\nx\r\n", "e".repeat(len));
        let body = format!("{}{}0\r\n\r\n", extended(4096), extended(4096));
        assert_eq!(
            whole(body.as_bytes()),
            Ok((body.len(), true)),
            "each chunk may have the longest extension"
        );
        assert_eq!(whole(extended(4097).as_bytes()), Err(Flaw::Chunk));
        // Each line counts with its name, the colon, the value and the CR.
        let trailers = |len: usize| format!("0\r\nA: b\r\nX:{}\r\n\r\n", "y".repeat(len - 8));
        let body = trailers(16 * 1024);
        assert_eq!(whole(body.as_bytes()), Ok((body.len(), true)));
        assert_eq!(whole(trailers(16 * 1024 + 1).as_bytes()), Err(Flaw::Chunk));
    }

    #[test]
    fn control_characters_are_nowhere_but_tabs_in_values() {
        for (byte, text) in [
            ('\t', true),
            (' ', true),
            ('~', true),
            ('\u{e9}', true),
            ('\0', false),
            ('\u{1f}', false),
            ('\u{7f}', false),
        ] {
            for place in [
                format!("1;a={byte}\r\nx\r\n"),
                format!("1;a=\"{byte}\"\r\nx\r\n"),
                format!("0\r\nX:{byte}\r\n"),
            ] {
                assert_eq!(whole(place.as_bytes()).is_ok(), text, "{place:?}");
            }
        }
        let escaped = "1;a=\"\\\u{1}\"\r\nx\r\n";
        assert_eq!(whole(escaped.as_bytes()), Err(Flaw::Chunk), "an escape makes no exception");
    }

    #[test]
    fn a_trailers_name_is_a_token() {
        for (name, good) in [
            ("X", true),
            ("x-9", true),
            ("!#$%&'*+-.^_`|~", true),
            ("", false),
            ("a b", false),
            ("a(", false),
        ] {
            let trailer = format!("0\r\n{name}: y\r\n\r\n");
            assert_eq!(whole(trailer.as_bytes()).is_ok(), good, "{name:?}");
        }
    }

    fn chunked_bytes() -> impl Strategy<Value = Vec<u8>> {
        let chunk = "(1\r\nx\r\n)|(3;e=1\r\nabc\r\n)|(A\r\n0123456789\r\n)";
        let odd = "(0\r\n)|(2\nab\n)|(X: y\r\n)|(\r\n)";
        (proptest::collection::vec(prop_oneof![6 => chunk, 1 => odd], 0..6), "(0\r\n(T: v\r\n)?\r\n)?(more)?")
            .prop_map(|(parts, end)| (parts.concat() + &end).into_bytes())
    }

    proptest! {
        #[test]
        fn the_result_does_not_depend_on_how_the_bytes_are_cut(
            bytes in chunked_bytes(),
            cuts in proptest::collection::vec(1usize..9, 0..40),
        ) {
            let mut chunked = Chunked::default();
            let mut own = 0;
            let mut rest = &bytes[..];
            let mut cuts = cuts.into_iter();
            let pieces = loop {
                let piece = cuts.next().unwrap_or(usize::MAX).min(rest.len());
                match chunked.scan(&rest[..piece]) {
                    Err(flaw) => break Err(flaw),
                    Ok(took) => own += took,
                }
                rest = &rest[piece..];
                if chunked.is_over() || rest.is_empty() {
                    break Ok((own, chunked.is_over()));
                }
            };
            prop_assert_eq!(pieces, whole(&bytes));
        }
    }
}
