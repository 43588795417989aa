//! The browser is the user: a port of loopback on which every request goes to a Service through the cluster, or to a real
//! host from this machine, with the user's marks.
//!
//! `names` are those under which a browser finds the real hosts here, `admission` decides who may use the port and why that
//! is enough, `heads`, `cookies` and `policies` translate what names an origin, `marks` are what makes a request the user's.
//! All of them are pure. `upstream` sends, `serve` answers, `pages` are bridge's own answers.

mod admission;
mod cookies;
mod heads;
mod marks;
mod names;
mod pages;
mod policies;
mod serve;
mod upstream;

pub use marks::Marks;
pub use names::{Destination, Origin, Site, Sites, Way};
pub use serve::{Listening, Opened};
