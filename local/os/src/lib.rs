//! The laptop's operating system, as bridge uses it: the only crate of the laptop's side where unsafe code is allowed.
//!
//! `runtime` – the user's own directory for the sockets; `peer` – the user at the other end of a Unix socket, `owners`
//! – of a connection on loopback; `packets` – Unix sockets that pass descriptors; `detach` – a process that
//! survives the terminal, `life` – one that is known beyond its end; `machine` – names and the terminal's width; `memory` – this process's memory: its
//! size, and how it is returned; `networks` – those to which the machine has routes; `seccomp` – other processes'
//! system calls, trapped and answered; `signals` – those of this process; `child` – processes that end with
//! this one; `view` – file systems for one process; `beneath` – directories in which no link is followed.

pub mod beneath;
pub mod child;
pub mod detach;
pub mod life;
pub mod machine;
pub mod memory;
pub mod networks;
pub mod owners;
pub mod packets;
pub mod peer;
pub mod runtime;
pub mod seccomp;
pub mod signals;
pub mod view;
