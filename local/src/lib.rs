//! The `bridge` command: what is typed, and what is printed. The daemon is `bridge_daemon`; what a program beside the command
//! needs is `bridge_inside`.

pub mod cli;
