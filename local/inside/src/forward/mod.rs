//! A port of this machine that leads to a Service: `pass` carries a connection, unless `hosts` finds that it is a website's.

mod hosts;
mod pass;

pub use hosts::{Foreign, Names};
pub use pass::{Ended, pass};
