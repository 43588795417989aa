//! TCP: the programs' own sockets are connected on loopback, and what is at the other end carries the bytes.
//!
//! `connect` – the calls. A program that waits for its connect gets it answered when the destination is dialled, with
//! the `relay` at the other end. One that does not gets EINPROGRESS, as always, and its socket is put into
//! the `parking` until the destination has answered. `failures` – why it did not; `peers` – whom the sockets are
//! meant for.

mod connect;
mod failures;
mod parking;
mod peers;
mod relay;

pub(crate) use failures::Failures;
pub(crate) use parking::Parking;
pub(crate) use peers::Peers;
pub(crate) use relay::Relay;
