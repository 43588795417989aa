//! Stories that take the network, or a part of the cluster, away from everyone: nothing may run beside them. `make soak`
//! runs them one after the other.

mod laptop;
mod node;
