//! The protocol between bridge's two sides.
//!
//! `v1` holds the generated messages and services, `version` and `proof` the handshake, `matching` the match of a
//! session's requests and `pattern` its patterns, `target` the names that users type, `latency` the counts of
//! durations, `files` the limits on volumes, `dns` the queries to resolvers, `tunnel` the streams that one gRPC
//! connection between a daemon and an agent carries. Both sides use this crate; it knows nothing of Kubernetes, and of
//! HTTP only the parts that a match needs.

pub mod dns;
pub mod files;
pub mod latency;
pub mod matching;
pub mod pattern;
pub mod proof;
pub mod target;
pub mod tunnel;
pub mod version;

/// The generated messages and services of `bridge.v1`.
#[allow(clippy::all, missing_docs, unreachable_pub)]
pub mod v1 {
    tonic::include_proto!("bridge.v1");
}
