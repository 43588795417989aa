//! The destinations of the programs' sockets.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::socket::{Identity, Socket};

#[derive(Debug, Default)]
pub(crate) struct Peers {
    table: Mutex<HashMap<Identity, Meant>>,
    serial: AtomicU64,
}

#[derive(Debug)]
struct Meant {
    destination: SocketAddr,
    /// The address that the socket is connected to, or about to be.
    place: SocketAddr,
    /// A socket may be connected again after its connection: the end of the first must not forget the second.
    serial: u64,
    missed: bool,
}

/// The entry of one connection, for as long as it lives.
#[derive(Debug)]
pub(crate) struct Peer {
    peers: Arc<Peers>,
    identity: Identity,
    serial: u64,
}

impl Peers {
    fn table(&self) -> MutexGuard<'_, HashMap<Identity, Meant>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn insert(
        self: &Arc<Self>,
        identity: Identity,
        destination: SocketAddr,
        place: SocketAddr,
    ) -> Peer {
        let serial = self.serial.fetch_add(1, Ordering::Relaxed);
        self.table().insert(identity, Meant { destination, place, serial, missed: false });
        Peer { peers: Arc::clone(self), identity, serial }
    }

    /// Whether the socket is connected to us, or about to be.
    pub(crate) fn know(&self, socket: &Socket) -> bool {
        socket.identity().is_some_and(|identity| self.table().contains_key(&identity))
    }

    /// The destination of a socket that is connected to `place`.
    pub(crate) fn meant(&self, socket: &Socket, place: SocketAddr) -> Option<SocketAddr> {
        let identity = socket.identity()?;
        self.table().get(&identity).filter(|meant| meant.place == place).map(|meant| meant.destination)
    }

    /// Notes that the answer to a socket's connect reached nobody: the same connect may come again.
    pub(crate) fn missed(&self, socket: &Socket) {
        if let Some(identity) = socket.identity() {
            self.mark_missed(identity);
        }
    }

    fn mark_missed(&self, identity: Identity) {
        if let Some(meant) = self.table().get_mut(&identity) {
            meant.missed = true;
        }
    }

    /// The address that it is connected to, and whether the answer to its connect was missed until now.
    pub(super) fn take_missed(&self, identity: Identity) -> Option<(SocketAddr, bool)> {
        let mut table = self.table();
        let meant = table.get_mut(&identity)?;
        Some((meant.place, std::mem::take(&mut meant.missed)))
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let mut table = self.peers.table();
        if table.get(&self.identity).is_some_and(|meant| meant.serial == self.serial) {
            table.remove(&self.identity);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const SOCKET: Identity = Identity::of_test(1);

    fn address(port: u16) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, port).into()
    }

    fn destination(peers: &Peers) -> Option<SocketAddr> {
        peers.table().get(&SOCKET).map(|meant| meant.destination)
    }

    #[test]
    fn a_socket_that_is_connected_again_keeps_its_second_meaning() {
        let peers = Arc::new(Peers::default());
        let first = peers.insert(SOCKET, address(80), address(1));
        let second = peers.insert(SOCKET, address(443), address(1));
        drop(first);
        assert_eq!(destination(&peers), Some(address(443)));
        drop(second);
        assert_eq!(destination(&peers), None);
    }

    #[test]
    fn a_missed_answer_is_missed_once() {
        let peers = Arc::new(Peers::default());
        let _peer = peers.insert(SOCKET, address(80), address(1));
        assert_eq!(peers.take_missed(SOCKET), Some((address(1), false)));
        peers.mark_missed(SOCKET);
        assert_eq!(peers.take_missed(SOCKET), Some((address(1), true)));
        assert_eq!(peers.take_missed(SOCKET), Some((address(1), false)));
    }
}
