//! UDP: one front on loopback for each destination, to which programs' sockets send instead, and which sends back to
//! them. A program must see the destination as the sender and not the front: its datagrams are received for it, with
//! the right address.
//!
//! `fronts` – the fronts, and the flows through them; `message` – struct msghdr in a program's memory; `send` and
//! `receive` – the calls; `touched` – the sockets to inspect.

mod fronts;
mod message;
mod receive;
mod send;
mod touched;

pub(crate) use fronts::Fronts;
pub(crate) use touched::Touched;
