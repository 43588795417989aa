//! The patterns of matches: one engine and one set of limits for both sides, so that the agent accepts what the command
//! accepts.
//!
//! The syntax is that of the `regex` crate without Unicode classes; a pattern is found anywhere in the value unless it
//! has `^` or `$`. The time of a search grows with the value's length and no faster.

use std::cmp::Ordering;
use std::error::Error as _;
use std::fmt;
use std::sync::Arc;

use regex_automata::nfa::thompson::pikevm::{Cache, PikeVM};
use regex_automata::nfa::thompson::{BuildError, Config, WhichCaptures};
use regex_automata::util::pool::Pool;
use regex_automata::util::syntax;

/// Bytes of a pattern.
pub const MAX_LENGTH: usize = 1024;
/// Limit on a value to search, in bytes; patterns are never found in longer ones.
pub const MAX_VALUE: usize = 8 * 1024;
const MAX_NESTED: u32 = 32;
/// Limit on a compiled pattern, in bytes: bounds the time per byte of a value.
const MAX_COMPILED: usize = 32 * 1024;

/// A regular expression. Two are equal if their texts are.
#[derive(Clone)]
pub struct Pattern {
    text: String,
    compiled: Arc<Compiled>,
}

struct Compiled {
    engine: PikeVM,
    /// A search's memory besides the engine; kept from one search to the next.
    caches: Pool<Cache, NewCache>,
}

type NewCache = Box<dyn Fn() -> Cache + Send + Sync + std::panic::UnwindSafe + std::panic::RefUnwindSafe>;

/// Why a text is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    #[error("the pattern is longer than {MAX_LENGTH} bytes")]
    TooLong,
    #[error("the pattern is too large: use fewer or smaller repetitions like {{1,99}}")]
    TooLarge,
    /// With the pattern and a caret below the place, in lines of their own.
    #[error("{0}")]
    Syntax(String),
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    ///
    /// [`PatternError`]
    pub fn new(text: &str) -> Result<Self, PatternError> {
        if text.len() > MAX_LENGTH {
            return Err(PatternError::TooLong);
        }
        // Values are bytes, and need not be UTF-8.
        let syntax = syntax::Config::new().unicode(false).utf8(false).nest_limit(MAX_NESTED);
        let bounds =
            Config::new().utf8(false).nfa_size_limit(Some(MAX_COMPILED)).which_captures(WhichCaptures::None);
        let engine = PikeVM::builder()
            .syntax(syntax)
            .thompson(bounds)
            .build(text)
            .map_err(|error| explained(&error))?;
        let for_caches = engine.clone();
        let caches = Pool::new(Box::new(move || for_caches.create_cache()) as NewCache);
        Ok(Self { text: text.to_owned(), compiled: Arc::new(Compiled { engine, caches }) })
    }

    /// Whether it is found in a value. The value need not be UTF-8.
    #[must_use]
    pub fn is_in(&self, value: &[u8]) -> bool {
        let Compiled { engine, caches } = &*self.compiled;
        value.len() <= MAX_VALUE && engine.is_match(&mut caches.get(), value)
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

fn explained(error: &BuildError) -> PatternError {
    if error.size_limit().is_some() {
        return PatternError::TooLarge;
    }
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        words = error.to_string();
        cause = error.source();
    }
    PatternError::Syntax(words.trim().to_owned())
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text.fmt(f)
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Pattern {}

impl PartialOrd for Pattern {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Pattern {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_str().cmp(other.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_found_anywhere_unless_it_is_anchored() {
        for (pattern, value, found) in [
            ("al", &b"halt"[..], true),
            ("^al", b"halt", false),
            ("^al$", b"al", true),
            ("^(a|b)[0-9]+$", b"b17", true),
            ("(?i)^ALICE$", b"alice", true),
            (r"^\w+$", b"alice_1", true),
            (r"^\w+$", "\u{e4}".as_bytes(), false),
            ("^a.c$", b"a\xffc", true),
            ("", b"", true),
        ] {
            let read = Pattern::new(pattern).expect("a good pattern");
            assert_eq!(read.is_in(value), found, "{pattern} in {}", value.escape_ascii());
        }
    }

    #[test]
    fn a_bad_pattern_is_shown_with_the_place() {
        let error = Pattern::new("^a(b").expect_err("an open group").to_string();
        let lines: Vec<&str> = error.lines().collect();
        assert!(lines.iter().any(|line| line.trim() == "^a(b"), "{error}");
        let caret = lines.iter().find(|line| line.trim() == "^").expect("a caret below");
        let pattern = lines.iter().find(|line| line.trim() == "^a(b").expect("the pattern");
        assert_eq!(caret.find('^'), pattern.find('('), "{error}");
    }

    #[test]
    fn size_is_bounded() {
        let of_length = |length: usize| Pattern::new(&format!("[{}]", "a".repeat(length - 2)));
        assert!(of_length(1024).is_ok(), "the longest pattern");
        assert_eq!(of_length(1025), Err(PatternError::TooLong));
        assert!(Pattern::new("(a{20}){20}").is_ok(), "hundreds of repetitions");
        assert_eq!(Pattern::new("(a{99}){99}"), Err(PatternError::TooLarge));
        let a = Pattern::new("a$").expect("a good pattern");
        assert!(a.is_in(&[b'a'; 8192]), "the longest value");
        assert!(!a.is_in(&[b'a'; 8193]), "too long a value");
    }

    #[test]
    fn patterns_are_compared_and_shown_by_their_texts() {
        let [a, b] = ["a+", "b"].map(|text| Pattern::new(text).expect("a good pattern"));
        assert_eq!(a, Pattern::new("a+").expect("a good pattern"));
        assert_ne!(a, Pattern::new("aa*").expect("a good pattern"), "the same values, another text");
        assert!(a < b, "{a:?} comes before {b:?}");
        assert_eq!(format!("{a:?}"), "\"a+\"");
    }

    #[test]
    fn no_value_takes_long() {
        let hard = Pattern::new("^(a+)+$").expect("a good pattern");
        let mut value = vec![b'a'; MAX_VALUE - 1];
        value.push(b'b');
        let begun = std::time::Instant::now();
        assert!(!hard.is_in(&value));
        assert!(begun.elapsed().as_secs() < 2, "linear time, not exponential: {:?}", begun.elapsed());
    }
}
