//! A program's access to the daemon: finds or starts it (`find`), connects and disconnects targets, and uses a session
//! for as long as it runs (`attached`). The command is one such program; an editor could be another.
//!
//! Failures have a cause ([`ClientError`]), progress is reported as sentences ([`Said`]). Exit codes and output belong
//! to the caller.

mod attached;
mod calls;
mod choose;
mod connect;
mod disconnect;
mod environment;
mod error;
mod find;
mod requests;
pub mod routes;
mod runtime_dir;
mod said;
mod services;
mod via;

#[cfg(test)]
mod daemon_tests;

pub use attached::{Asked, Attached, Ended};
pub use calls::{DaemonClient, is_gone};
pub use choose::{meant, one_of};
pub use connect::connect;
pub use disconnect::disconnect;
pub use environment::environment;
pub use error::{ClientError, chain};
pub use find::{Daemon, only_daemon, running, sessions, started};
pub use requests::Seen;
pub use runtime_dir::RuntimeDir;
pub use said::{Said, Say};
pub use services::{Port, Reachable};
pub use via::{Sessions, Via};
