//! The cluster's network, for processes of this machine, by way of a session that the daemon holds.
//!
//! [`Via`] knows which session it is, also after the daemon has died. `streams` asks the daemon for connections and hands over
//! those that are to be tied to them, `flows` for UDP; `names` decides what the cluster is asked for a name, and `resolver`
//! asks; `destinations` knows which addresses are the cluster's, and `overlap` which of them are this machine's as well.

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
