//! Runs a command natively, with its connections to the cluster led there, without privileges.
//!
//! The command and all that it starts inherit a seccomp filter; the few system calls that determine a packet's
//! destination arrive here, and their callers sleep until they are answered (`bridge_os::seccomp`). Other destinations
//! are left alone. For the cluster's, the caller's own socket is connected to a relay of ours on loopback, so that its
//! descriptor, its options and its place in an epoll set stay what they are.
//!
//! In the order in which a call meets them: `supervisor` takes it from the listener; `decide` decides about it, asking
//! `Destinations`; `tcp` and `udp` lead it to the `Way`; `unix` and `dns` close the short cuts around DNS and frame its
//! messages; `run` starts, waits and ends; `remark` reports programs that are not supervised.
//!
//! It is a convenience and no wall: a call that is let through reads its arguments again, so a program can get around
//! this on purpose.
//!
//! Not supervised, on the laptop's own network: processes whose memory cannot be read (set-user-id programs lose their
//! privilege, but ssh-agent and the like make themselves unreadable), 32-bit programs, processes in a network namespace
//! of their own, and receiving by UDP on a descriptor that was duplicated below `HIGH`. A `Remark` reports the first
//! two, and programs whose limit of descriptors is too low.
//!
//! A program can notice this: `getsockname` returns loopback, and non-blocking connects of MPTCP block. Everything else
//! about a connect is as it would be in the cluster, blocking or not: how long it takes, and how it fails. Only a
//! program that asks neither SO_ERROR nor connect(2) for the error takes every failure for a reset.
//!
//! Without supervision, `run_alone` is as good a parent, and nothing more.
//!
//! When this process is killed, the command gets SIGTERM. The rest of its tree gets ENOSYS in every trapped call,
//! including those in progress, and a non-blocking connect fails when the kernel next sends a packet for it (after 1,
//! 3, 7 s): nothing hangs, and nothing goes out by the wrong way.

mod decide;
mod dns;
mod remark;
mod run;
mod socket;
mod supervisor;
mod tcp;
mod udp;
mod unix;
mod way;

pub use bridge_os::seccomp::{Obstacle, low_limit, probe};

pub use remark::Remark;
pub use run::{SuperviseError, run, run_alone};
pub use way::{Carry, Destinations, Flow, Refusal, Transport, Verdict, Way};
