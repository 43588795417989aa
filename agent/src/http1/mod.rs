//! HTTP/1: heads are parsed to decide and to frame; the bytes that go on are the bytes that came.
//!
//! `head` reads heads, `chunked` and `framing` find where a message ends, `flaw` is why one is not read; `passage` moves
//! one message, `up` takes a request to either side, `origin` and `laptop` its answer back, `reach` opens the way to a laptop,
//! `answers` are those that we give ourselves, `rewrite` the few changes that are made to an answer's head.

pub(crate) mod answers;
mod chunked;
pub(crate) mod flaw;
mod framing;
pub(crate) mod head;
#[cfg(any(test, fuzzing))]
pub(crate) mod hostile;
pub(crate) mod laptop;
pub(crate) mod origin;
mod passage;
mod reach;
pub(crate) mod rewrite;
mod up;
