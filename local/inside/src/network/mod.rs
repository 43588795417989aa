//! The cluster's network, for processes of this machine, through a session of the daemon.
//!
//! [`Via`] knows the session, even after the daemon has died. `streams` asks the daemon for connections and passes the
//! sockets to tie them to, `flows` for UDP; `names` decides which names to ask the cluster for, and `resolver` asks;
//! `destinations` knows the cluster's addresses, and `overlap` those that this machine has as well.

mod cluster_dns;
mod destinations;
mod flows;
mod names;
mod overlap;
mod resolver;
mod streams;
mod waits;
mod whole;

pub use cluster_dns::ClusterDns;
pub use destinations::{Destinations, Place, Scope};
pub use flows::{Flow, FlowError, Flows};
pub use names::Search;
pub use overlap::{Overlap, overlaps};
pub use resolver::{Answered, Resolver, Source};
pub use streams::{Dialled, Streams};
pub use whole::{Choice, Network, Part};
