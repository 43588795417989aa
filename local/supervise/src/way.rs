//! The interface to the rest of bridge: which destinations are in the cluster, and how to reach them.

use std::{future::Future, net::SocketAddr, time::Duration};

use bytes::Bytes;
use rustix::io::Errno;
use tokio::{net::TcpStream, sync::mpsc};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    Tcp,
    Udp,
}

/// The decision about a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Not ours: the kernel continues as usual.
    Leave,
    /// Reached through the `Way`.
    Relay,
    /// A resolver: datagrams to it are DNS messages, for `Way::resolve`.
    Resolve,
    /// Known to fail, and fails at once.
    Refuse(Refusal),
}

/// The failure of a destination, as the program sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("connection refused")]
    Refused,
    #[error("connection timed out")]
    TimedOut,
    #[error("no route to host")]
    HostUnreachable,
    #[error("network is unreachable")]
    NetworkUnreachable,
    #[error("connection reset by peer")]
    Reset,
    #[error("permission denied")]
    Forbidden,
}

impl Refusal {
    pub(crate) fn errno(self) -> Errno {
        match self {
            Refusal::Refused => Errno::CONNREFUSED,
            Refusal::TimedOut => Errno::TIMEDOUT,
            Refusal::HostUnreachable => Errno::HOSTUNREACH,
            Refusal::NetworkUnreachable => Errno::NETUNREACH,
            Refusal::Reset => Errno::CONNRESET,
            Refusal::Forbidden => Errno::ACCESS,
        }
    }
}

/// Decides which destinations are the cluster's.
pub trait Destinations: Send + Sync + 'static {
    /// Called for each trapped call, on the thread that answers all of them: pure and quick. IPv4-mapped IPv6 addresses
    /// come as IPv4.
    fn of(&self, destination: SocketAddr, transport: Transport) -> Verdict;
}

/// Carries relayed connections and datagrams to the cluster.
pub trait Way: Send + Sync + 'static {
    type Stream: Carry;

    /// The limit for a program's call. A way that ends its waiting after ten seconds has time to report the reason.
    const PATIENCE: Duration = Duration::from_secs(11);

    /// Connects. After `PATIENCE` the future is dropped.
    fn dial(&self, destination: SocketAddr) -> impl Future<Output = Result<Self::Stream, Refusal>> + Send;

    /// Begins a flow of datagrams. It ends when either end of `Flow` is dropped, or is idle.
    fn flow(&self, destination: SocketAddr) -> impl Future<Output = Result<Flow, Refusal>> + Send;

    /// Answers a DNS message (RFC 1035) that was meant for this resolver, without a TCP length and of any size.
    fn resolve(&self, query: Bytes, resolver: SocketAddr) -> impl Future<Output = Bytes> + Send;

    /// A program listens for TCP connections at this address of the laptop, from now on. Called on the thread that
    /// answers all calls: quick.
    fn listens(&self, _: SocketAddr) {}
}

/// A dialled connection.
pub trait Carry: Send + 'static {
    /// Carries a program's connection to the end of both directions.
    fn carry(self, local: TcpStream) -> impl Future<Output = ()> + Send;
}

/// The two directions of a UDP flow.
#[derive(Debug)]
pub struct Flow {
    /// Datagrams to the destination. Dropped if the channel is full.
    pub datagrams_tx: mpsc::Sender<Bytes>,
    /// Datagrams from the destination.
    pub datagrams_rx: mpsc::Receiver<Bytes>,
}
