//! The agent over loopback, between peers whose every byte the tests write and read themselves.

// clippy knows tests by their attribute; the code that they share has none.
#![allow(clippy::expect_used)]

mod copies;
mod drain;
mod everything;
mod files;
mod handshake;
mod http2;
mod laptop;
mod laptop_failures;
mod loops;
mod matches;
mod opaque;
mod origin;
mod outbound;
mod peer;
mod requests;
mod sessions;
mod shares;
mod strangers;
mod torture;
mod world;
