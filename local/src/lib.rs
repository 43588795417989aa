//! The laptop side of bridge: the command (`cli`), its daemon, the cluster's `network` for processes of this machine, and
//! the agent that it carries.

pub mod cli;
mod config;
pub mod daemon;
mod files;
pub mod installation;
mod network;
pub mod program;
