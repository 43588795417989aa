//! connect(2) of TCP sockets to the cluster, and a program's later questions about it.

use std::{net::SocketAddr, sync::Arc};

use bridge_os::seccomp::{Reply, Trapped};
use rustix::{io::Errno, net::sockopt};
use tokio::time::timeout;

use super::relay::Upstream;
use crate::{
    decide::{self, Step},
    socket::{Identity, Socket},
    supervisor::{Supervisor, write_name},
    way::{Carry, Destinations, Way},
};

impl<D: Destinations, W: Way> Supervisor<D, W> {
    pub(crate) fn connect_tcp(
        self: &Arc<Self>,
        trapped: Trapped,
        socket: Socket,
        destination: SocketAddr,
        step: Step,
    ) {
        // A socket that cannot be parked is waited for, although its program would not.
        if socket.is_blocking() || socket.is_multipath() {
            self.wait_for(Arc::clone(self).connect_blocking(trapped, socket, destination, step));
            return;
        }
        if let Some(reply) = self.again(&socket) {
            self.answer_connect(trapped, &socket, reply);
        } else if step == Step::Resolve {
            let reply = self.relay.join(&socket, destination, Upstream::Resolve(destination));
            self.answer_connect(trapped, &socket, reply);
        } else {
            self.park(trapped, socket, destination);
        }
    }

    /// Dials first, so that the program sees the result.
    async fn connect_blocking(
        self: Arc<Self>,
        trapped: Trapped,
        socket: Socket,
        destination: SocketAddr,
        step: Step,
    ) {
        let upstream = if self.peers.know(&socket) {
            None
        } else if step == Step::Resolve {
            Some(Upstream::Resolve(destination))
        } else {
            let (bound, overdue) = decide::hold(socket.send_timeout(), W::PATIENCE);
            let dialled = timeout(bound, dial(&*self.way, destination)).await;
            match dialled.unwrap_or(Err(overdue)) {
                Ok(stream) => Some(Upstream::Dialled(stream)),
                Err(errno) => {
                    trapped.answer(Reply::Error(errno));
                    return;
                }
            }
        };
        // The kernel's connect waits if the relay's queue is full, or if the socket is parked from a time when it did
        // not block; the runtime's threads must not.
        let joined = tokio::task::spawn_blocking(move || {
            if !trapped.is_alive() {
                return;
            }
            let first = || upstream.map(|upstream| self.relay.join(&socket, destination, upstream));
            let reply = self.again(&socket).or_else(first).unwrap_or(Reply::Error(Errno::CONNABORTED));
            self.answer_connect(trapped, &socket, reply);
        });
        let _ = joined.await;
    }

    /// Keeps the connect in progress until the dial has succeeded or failed.
    fn park(&self, trapped: Trapped, socket: Socket, destination: SocketAddr) {
        let parked = match self.parking.park(socket, destination) {
            Ok(parked) => parked,
            Err(errno) => {
                trapped.answer(Reply::Error(errno));
                return;
            }
        };
        let way = Arc::clone(&self.way);
        self.wait_for(async move {
            let stream = match dial(&*way, destination).await {
                Ok(stream) => stream,
                Err(errno) => return parked.fail(errno),
            };
            if let Some((local, _peer)) = parked.open().await {
                let _ = local.set_nodelay(true);
                stream.carry(local).await;
            }
        });
        trapped.answer(Reply::Error(Errno::INPROGRESS));
    }

    /// connect(2)'s answer for a socket that was connected before, is, or is about to be.
    fn again(&self, socket: &Socket) -> Option<Reply> {
        let reason = || socket.identity().and_then(|identity| self.failures.take(identity));
        if let Some(reason) = reason() {
            let _ = sockopt::socket_error(socket);
            return Some(Reply::Error(reason));
        }
        let (place, missed) = self.peers.take_missed(socket.identity()?)?;
        Some(match socket.connect(place) {
            Ok(()) => Reply::Value(0),
            // Its caller was interrupted and never learned that it had succeeded.
            Err(Errno::ISCONN) if missed => Reply::Value(0),
            // A parked one failed while it was waited for.
            Err(errno) => Reply::Error(reason().unwrap_or(errno)),
        })
    }

    fn answer_connect(&self, trapped: Trapped, socket: &Socket, reply: Reply) {
        if !trapped.answer(reply) && reply == Reply::Value(0) {
            self.peers.missed(socket);
        }
    }

    /// getsockopt(2) for SO_ERROR: why a parked socket failed. The kernel answers for all others.
    pub(crate) fn socket_error(&self, trapped: Trapped, socket: i32, value: u64, length: u64) {
        let reply = match self.failure(&trapped, socket) {
            Some(reason) => {
                let error = reason.raw_os_error().to_ne_bytes();
                let written = write_name(&trapped, &error, value, length);
                written.map_or(Reply::Error(Errno::FAULT), |()| Reply::Value(0))
            }
            None => Reply::Continue,
        };
        trapped.answer(reply);
    }

    fn failure(&self, trapped: &Trapped, socket: i32) -> Option<Errno> {
        if self.failures.is_empty() {
            return None;
        }
        let Ok(socket) = Socket::of(trapped, socket) else {
            return self.failures.take(Identity::of(trapped, socket)?);
        };
        let reason = self.failures.take(socket.identity()?)?;
        // Clears the kernel's own error, which this one replaces.
        let _ = sockopt::socket_error(&socket);
        Some(reason)
    }
}

async fn dial<W: Way>(way: &W, destination: SocketAddr) -> Result<W::Stream, Errno> {
    match timeout(W::PATIENCE, way.dial(destination)).await {
        Ok(dialled) => dialled.map_err(|refusal| refusal.errno()),
        Err(_) => Err(Errno::TIMEDOUT),
    }
}
