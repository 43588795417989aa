//! Supervision of other processes by seccomp user notification (seccomp_unotify(2)), without privileges.
//!
//! `filter` – the trapped system calls; `spawner` – the thread that carries the filter and starts processes that
//! inherit it; `listener` – receives the trapped calls; `trapped` – one such call: its caller's memory and descriptors,
//! and the answer; `call` and `address` – its arguments; `receive` – recvmsg(2) with its control data; `spare` – the
//! descriptors kept back for answers; `obstacle` – why a machine has no such supervision.
//!
//! The caller sleeps until it is answered, so every `Trapped` is answered: a dropped one with EIO.

pub mod address;
mod call;
mod filter;
mod listener;
mod obstacle;
mod receive;
mod spare;
mod spawner;
mod trapped;

pub use call::{Call, Place};
pub use filter::HIGH;
pub use listener::Listener;
pub use obstacle::{Obstacle, low_limit, probe};
pub use receive::{Received, receive, watched};
pub use spawner::{Spawner, start};
pub use trapped::{Namespace, Reply, Trapped, own_network};
