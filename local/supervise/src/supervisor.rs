//! Takes trapped calls from the listener, one after the other, on a thread of its own. Nothing here waits: a call that
//! may have to continues in a task, which answers it.

use std::{
    future::Future,
    io,
    net::SocketAddr,
    os::fd::AsFd,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

use bridge_os::seccomp::{
    Call, HIGH, Listener, Namespace, Place, Reply, Trapped,
    address::{LONGEST, Name, canonical, decode, encode},
};
use rustix::{
    io::Errno,
    net::{AddressFamily, SocketFlags, SocketType, socket_with},
};
use tokio::{runtime::Handle, task::JoinSet};

use crate::{
    decide::{self, Kind, Step},
    remark::{Remark, Remarks},
    socket::Socket,
    tcp::{Failures, Parking, Peers, Relay},
    udp::{Fronts, Touched},
    unix::ShortCuts,
    way::{Destinations, Way},
};

pub(crate) struct Supervisor<D: Destinations, W: Way> {
    pub(crate) destinations: Arc<D>,
    pub(crate) way: Arc<W>,
    pub(crate) relay: Arc<Relay<W>>,
    pub(crate) parking: Parking,
    pub(crate) peers: Arc<Peers>,
    pub(crate) failures: Arc<Failures>,
    pub(crate) fronts: Fronts,
    /// UDP sockets that have sent to a front: their received datagrams are inspected.
    pub(crate) touched: Touched,
    pub(crate) short_cuts: ShortCuts,
    pub(crate) remarks: Remarks,
    pub(crate) network: Namespace,
    pub(crate) runtime: Handle,
    /// Calls that wait, and are answered in tasks.
    pub(crate) waiting: Mutex<JoinSet<()>>,
    pub(crate) next_number: AtomicU32,
}

/// Answers calls until the last supervised process has ended, or the listener is stopped.
pub(crate) fn answer_all<D: Destinations, W: Way>(
    supervisor: &Arc<Supervisor<D, W>>,
    listener: &Arc<Listener>,
) -> io::Result<()> {
    while let Some(trapped) = listener.next()? {
        // A panic ends one call, with EIO, and not all later ones.
        if catch_unwind(AssertUnwindSafe(|| supervisor.handle(trapped))).is_err() {
            tracing::error!("a trapped call failed: this is a mistake in bridge");
        }
    }
    Ok(())
}

impl<D: Destinations, W: Way> Supervisor<D, W> {
    fn handle(self: &Arc<Self>, trapped: Trapped) {
        match trapped.call() {
            Call::Connect { socket, name } => self.connect(trapped, socket, name),
            Call::PeerName { socket, name, length } => self.peer_name(trapped, socket, name, length),
            Call::SocketError { socket, value, length } => self.socket_error(trapped, socket, value, length),
            Call::Socket { .. } => self.udp_socket(trapped),
            Call::SendTo { .. } | Call::SendMessage { .. } | Call::SendMessages { .. } => self.send(trapped),
            Call::ReceiveFrom { .. } | Call::ReceiveMessage { .. } | Call::ReceiveMessages { .. } => {
                self.receive(trapped);
            }
            Call::ThirtyTwoBit => {
                self.remarks.make(Remark::ThirtyTwoBit, &trapped);
                trapped.answer(Reply::Continue);
            }
            Call::Listen { socket, backlog } => {
                let reply = self.listen(&trapped, socket, backlog).unwrap_or(Reply::Continue);
                trapped.answer(reply);
            }
            Call::Other => {
                trapped.answer(Reply::Continue);
            }
        }
    }

    /// Listens in the program's place, and reports where: requests that are led there at once must find it listening.
    /// None is for the kernel.
    fn listen(&self, trapped: &Trapped, socket: i32, backlog: i32) -> Option<Reply> {
        let shared = self.shares_network(trapped).unwrap_or(false);
        let socket =
            Socket::of(trapped, socket).ok().filter(|socket| shared && socket.kind() == Kind::Tcp)?;
        if let Err(error) = socket.listen(backlog) {
            return Some(Reply::Error(error));
        }
        if let Some(local) = socket.local() {
            self.way.listens(local);
        }
        Some(Reply::Value(0))
    }

    /// Continues with a call where it may wait.
    pub(crate) fn wait_for(&self, call: impl Future<Output = ()> + Send + 'static) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        while waiting.try_join_next().is_some() {}
        waiting.spawn_on(call, &self.runtime);
    }

    /// Whether the caller has the network that we have; another one has its own loopback, without our relay.
    pub(crate) fn shares_network(&self, trapped: &Trapped) -> io::Result<bool> {
        Ok(trapped.network()? == self.network)
    }

    fn connect(self: &Arc<Self>, trapped: Trapped, socket: i32, name: Place) {
        let mut bytes = [0; LONGEST];
        let bytes = &mut bytes[..name.length.min(LONGEST)];
        let reply = match trapped.read(name.address, bytes).map(|()| decode(bytes)) {
            Ok(Name::Unix(path)) if self.short_cuts.contain(path) => Reply::Error(Errno::NOENT),
            Ok(Name::Internet(address)) => return self.connect_to(trapped, socket, canonical(address)),
            Ok(Name::Unix(_) | Name::Other) => Reply::Continue,
            Err(error) => {
                if Errno::from_io_error(&error) == Some(Errno::PERM) && is_internet_s(name.length) {
                    self.remarks.make(Remark::Hidden, &trapped);
                }
                // Otherwise a mistake of the caller's, which the kernel will report.
                Reply::Continue
            }
        };
        trapped.answer(reply);
    }

    fn connect_to(self: &Arc<Self>, trapped: Trapped, socket: i32, destination: SocketAddr) {
        if decide::is_left(&*self.destinations, destination) {
            trapped.answer(Reply::Continue);
            return;
        }
        let taken = match self.shares_network(&trapped) {
            Ok(true) => Socket::of(&trapped, socket),
            Ok(false) => {
                trapped.answer(Reply::Continue);
                return;
            }
            Err(error) => Err(error),
        };
        let socket = match taken {
            Ok(socket) => socket,
            Err(error) => {
                tracing::warn!(%destination, %error, "a program's socket could not be taken");
                trapped.answer(Reply::Error(decide::failure(&error)));
                return;
            }
        };
        let step = decide::step(&*self.destinations, destination, socket.kind());
        match (step, socket.kind()) {
            (Step::Leave, _) => {
                trapped.answer(Reply::Continue);
            }
            (Step::Fail(errno), _) => {
                trapped.answer(Reply::Error(errno));
            }
            (Step::Relay | Step::Resolve, Kind::Udp) => {
                trapped.answer(self.connect_udp(&socket, destination, step));
            }
            (Step::Relay | Step::Resolve, _) => self.connect_tcp(trapped, socket, destination, step),
        }
    }

    fn connect_udp(&self, socket: &Socket, destination: SocketAddr, step: Step) -> Reply {
        let front = match self.fronts.toward(&self.way, destination, step == Step::Resolve) {
            Ok(front) => front,
            Err(error) => {
                tracing::warn!(%destination, %error, "no socket for a destination");
                return Reply::Error(Errno::NETUNREACH);
            }
        };
        if let Err(errno) = socket.connect(front.address) {
            return Reply::Error(errno);
        }
        if let Some(local) = socket.local() {
            front.admit(local, socket.owner());
        }
        self.touched.insert(socket);
        Reply::Value(0)
    }

    fn peer_name(&self, trapped: Trapped, socket: i32, name: u64, length: u64) {
        let address = Socket::of(&trapped, socket).ok().and_then(|socket| {
            let peer = socket.peer()?;
            let meant = self.peers.meant(&socket, peer).or_else(|| self.fronts.meant(peer))?;
            Some(encode(socket.spell(meant)))
        });
        let reply = match address {
            Some(address) => match write_name(&trapped, &address, name, length) {
                Ok(()) => Reply::Value(0),
                Err(_) => Reply::Error(Errno::FAULT),
            },
            None => Reply::Continue,
        };
        trapped.answer(reply);
    }

    /// Creates a UDP socket and gives it to the caller under a high number, by which the filter recognises it.
    fn udp_socket(&self, trapped: Trapped) {
        let Call::Socket { domain, non_blocking, close_on_exec, protocol, .. } = trapped.call() else {
            return;
        };
        let ours = [0, UDP].contains(&protocol) && self.shares_network(&trapped).unwrap_or(false);
        let Some(family) = u16::try_from(domain).ok().filter(|_| ours).map(AddressFamily::from_raw) else {
            trapped.answer(Reply::Continue);
            return;
        };
        let flags = if non_blocking { SocketFlags::NONBLOCK } else { SocketFlags::empty() };
        let made = socket_with(family, SocketType::DGRAM, flags | SocketFlags::CLOEXEC, None);
        let given = match made {
            Ok(socket) => trapped.answer_with(socket.as_fd(), self.numbers(), close_on_exec),
            Err(errno) => Err((trapped, errno)),
        };
        let Err((trapped, errno)) = given else { return };
        let reply = match errno {
            // A limit of ours: a low socket could send past us.
            Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM => Reply::Error(Errno::NOBUFS),
            // The caller's limit is low, or it has hundreds: it creates its own, and may see the relay as the sender.
            Errno::BADF => {
                self.remarks.make(Remark::FewDescriptors, &trapped);
                Reply::Continue
            }
            _ => Reply::Continue,
        };
        trapped.answer(reply);
    }

    /// High numbers, each call beginning after the last: most likely the first one is free.
    fn numbers(&self) -> impl Iterator<Item = u32> + use<D, W> {
        /// The range in which select(2) can wait, and then that in which only poll(2) can.
        const COMFORTABLE: u32 = 1024 - HIGH;
        const MORE: u32 = 1024;
        let first = self.next_number.fetch_add(1, Ordering::Relaxed) % COMFORTABLE;
        (0..COMFORTABLE)
            .map(move |offset| HIGH + (first + offset) % COMFORTABLE)
            .chain((0..MORE).map(|offset| HIGH + COMFORTABLE + offset))
    }
}

/// IPPROTO_UDP
const UDP: i32 = 17;

/// Whether an unreadable address has the length of an IPv4 or IPv6 one, with or without the scope.
fn is_internet_s(length: usize) -> bool {
    matches!(length, 16 | 24 | 28)
}

/// Writes an address as getpeername(2) and recvfrom(2) do: as much as there is room for, and its length.
pub(crate) fn write_name(trapped: &Trapped, name: &[u8], to: u64, length: u64) -> io::Result<()> {
    let mut room = [0; 4];
    trapped.read(length, &mut room)?;
    let room = usize::try_from(i32::from_ne_bytes(room)).map_err(|_| Errno::INVAL)?;
    trapped.write(to, &name[..name.len().min(room)])?;
    trapped.write(length, &(name.len() as u32).to_ne_bytes())
}
