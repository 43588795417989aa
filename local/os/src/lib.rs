//! What bridge asks of the laptop's operating system, and the one room of the laptop side where unsafe code may be.
//!
//! `runtime` – the user's own directory for the sockets; `peer` – who is at the other end of a Unix socket; `packets` –
//! Unix sockets that pass descriptors; `detach` – the daemon, started so that it survives the terminal; `machine` –
//! names, memory and the terminal's width; `networks` – to which it has routes; `seccomp` – other processes' system calls,
//! trapped and answered; `signals` – which of them this process ignores; `child` – processes that end with this one;
//! `view` – file systems for one process; `beneath` – directories in which no link is followed.

pub mod beneath;
pub mod child;
pub mod detach;
pub mod machine;
pub mod networks;
pub mod packets;
pub mod peer;
pub mod runtime;
pub mod seccomp;
pub mod signals;
pub mod view;
