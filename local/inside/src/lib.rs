//! Runs a program on the laptop as if it were in a pod of the target: the `environment` of its container, the cluster's
//! `network`, and the `files` of its volumes, through the daemon. `listening` leads the target's requests to the
//! program's port. For programs that run already, there are `forward` and `proxy`; `loopback` keeps other users of this
//! machine out of both. `call` sends one request, `open` makes a browser the user's. Nothing here knows the command line.

pub mod call;
pub mod environment;
pub mod files;
pub mod forward;
pub mod listening;
pub mod loopback;
pub mod network;
pub mod open;
pub mod proxy;
