//! The cluster side of bridge: stands in front of a Service and routes each request.
//!
//! `agent` starts and ends it all; `context` is what connections are given.
//! `listen` accepts connections on the target's ports; `connection` learns what each one speaks and relays it;
//! `io` moves bytes;
//! `http1` parses and frames, and takes one request at a time to the origin or to a laptop, `http2` many at a time;
//! `routes` decides which, and `hops` knows those that come back from a laptop.
//! `caching` keeps a laptop's answers out of shared caches.
//! `requests` keeps what went where, and why; `tally` counts it.
//! `control` is the gRPC service that daemons use, `session` what one of them holds here, `registry` all of them and the
//! routes in force, `inbound` the streams to them, `outbound` what they reach through this pod.
//! `drain` is the way out, `readiness` what the kubelet asks, `metrics` what Prometheus does. Nothing here knows Kubernetes.

pub mod args;
pub mod log;

mod agent;
mod asked;
mod caching;
mod connection;
mod context;
mod control;
mod drain;
mod hops;
#[cfg(any(test, fuzzing))]
pub mod hostile;
mod http1;
mod http2;
mod inbound;
mod io;
mod limits;
mod listen;
mod memory;
mod metrics;
mod outbound;
mod readiness;
mod registry;
mod requests;
mod routes;
mod session;
mod tally;

pub use agent::{Agent, Config, StartError};
pub use context::Forward;
pub use drain::{DrainTimes, Drained};
pub use outbound::Outward;
