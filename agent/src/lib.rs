//! The cluster side of bridge: stands in front of a Service and routes each request.
//!
//! From the top: `agent` starts and ends everything, `listen` accepts connections on the target's ports, `connection`
//! detects the protocol of each one and relays it. `http1` parses and frames, and takes one request at a time to the
//! origin or to a laptop, `http2` many at a time; `inbound` is the streams to laptops, `copies` the requests that laptops
//! get beside the origin, `caching` keeps laptops' answers out of shared caches. `control` is the gRPC service for daemons, `outbound` their connections through this pod;
//! `readiness` answers the kubelet, `metrics` Prometheus; `restore` runs the program that restores what the agent is part
//! of when no session is left.
//!
//! Below them: `context` is the state that connections share, `drain` the shutdown; `requests` records where each
//! request went, and why; `registry` holds all sessions and publishes their routes; `routes` decides where a request
//! goes, and `hops` detects those that return from a laptop; `session` is one daemon's session, `tally` counts
//! requests, `io` moves bytes.
//!
//! No file imports one that imports it, directly or through others. Nothing here knows Kubernetes.

pub mod args;
pub mod log;

mod agent;
mod asked;
mod caching;
mod connection;
mod context;
mod control;
mod copies;
mod drain;
mod hops;
#[cfg(any(test, fuzzing))]
pub mod hostile;
mod http1;
mod http2;
mod inbound;
mod instead;
mod io;
mod limits;
mod listen;
mod memory;
mod metrics;
mod outbound;
mod port;
mod readiness;
mod registry;
mod requests;
mod restore;
mod routes;
mod session;
mod tally;

pub use agent::{Agent, Config, StartError};
pub use context::Forward;
pub use drain::{DrainTimes, Drained};
pub use outbound::Outward;
pub use restore::Restore;
