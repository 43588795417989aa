//! The laptop side of bridge: the command (`cli`), its daemon, and the agent that it carries.

pub mod cli;
mod config;
pub mod daemon;
pub mod installation;
pub mod program;
