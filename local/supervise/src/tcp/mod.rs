//! TCP: the programs' own sockets are connected on loopback, and the other end carries the bytes.
//!
//! `connect` – the calls. A blocking connect is answered when the destination is dialled, with the `relay` at the other
//! end. A non-blocking one gets EINPROGRESS, as always, and its socket is put into the `parking` until the destination
//! has answered. `failures` – why it did not; `peers` – the destinations of the sockets.

mod connect;
mod failures;
mod parking;
mod peers;
mod relay;

pub(crate) use failures::Failures;
pub(crate) use parking::Parking;
pub(crate) use peers::Peers;
pub(crate) use relay::Relay;
