//! What a program of the laptop needs to run as if it stood in a pod of the target: the `environment` of its container, the
//! cluster's `network`, and the `files` of its volumes, by way of the daemon. `listening` leads the target's requests to
//! where the program listens. For programs that run already, there are `forward` and `proxy`; `loopback` keeps others of
//! this machine out of both. None of it knows of the command line.

pub mod environment;
pub mod files;
pub mod forward;
pub mod listening;
pub mod loopback;
pub mod network;
pub mod proxy;
