//! The `bridge` command: its arguments, and its output. The daemon is `bridge_daemon`; what a program beside the
//! command needs is `bridge_inside`.

pub mod cli;
