//! HTTP/1: heads are parsed for decisions and framing; the bytes themselves go on unchanged.
//!
//! `head` reads heads, `chunked` and `framing` find a message's end, `flaw` is why one is not read; `passage` moves one
//! message, `origin` and `laptop` take a request to either side and its answer back, `reach` opens the way to a laptop,
//! `copy` takes a copy of a request there; `answers` are the agent's own, `rewrite` makes the few changes to heads.

pub(crate) mod answers;
mod chunked;
pub(crate) mod copy;
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
