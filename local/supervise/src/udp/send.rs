//! sendto(2), sendmsg(2) and sendmmsg(2). Datagrams to the cluster are sent to their front, by the program's own
//! socket.
//!
//! One call may have datagrams for both sides. Such a call is carried out here as a whole: let through, it would send
//! the cluster's by the laptop's own way.

use std::{io, net::SocketAddr, sync::Arc};

use bridge_os::seccomp::{
    Call, Place, Reply, Trapped,
    address::{LONGEST, Name, canonical, decode},
};
use rustix::{io::Errno, net::SendFlags};
use tokio::io::Interest;

use super::message::{COUNT, Header, MAX_MESSAGES, STEP, segment};
use crate::{
    decide::{self, Kind, Step},
    socket::Socket,
    supervisor::Supervisor,
    way::{Destinations, Way},
};

/// A datagram of a program, or several of one size.
struct Outgoing {
    /// `None`: to the address that the socket is connected to.
    to: Option<SocketAddr>,
    data: Vec<Place>,
    control: Place,
}

/// The datagrams of a call.
struct Sending {
    socket: i32,
    outgoing: Vec<Outgoing>,
    /// sendmmsg(2)'s array, for the length of each datagram.
    array: Option<u64>,
    waits: bool,
}

const NOWHERE: Place = Place { address: 0, length: 0 };

impl<D: Destinations, W: Way> Supervisor<D, W> {
    pub(crate) fn send(self: &Arc<Self>, trapped: Trapped) {
        let sending = match Sending::read(&trapped) {
            Ok(sending) if self.concerns(&sending) => sending,
            // Nothing for the cluster; or unreadable, which the kernel will report or which hides from us.
            _ => {
                trapped.answer(Reply::Continue);
                return;
            }
        };
        let socket = match self.shares_network(&trapped) {
            Ok(true) => Socket::of(&trapped, sending.socket),
            Ok(false) => {
                trapped.answer(Reply::Continue);
                return;
            }
            Err(error) => Err(error),
        };
        match socket {
            // On a stream an address means nothing.
            Ok(socket) if matches!(socket.kind(), Kind::Tcp | Kind::OtherStream) => {
                trapped.answer(Reply::Continue);
            }
            Ok(socket) => self.send_all(trapped, socket, sending),
            Err(error) => {
                tracing::warn!(%error, "a program's socket could not be taken");
                trapped.answer(Reply::Error(decide::failure(&error)));
            }
        }
    }

    fn concerns(&self, sending: &Sending) -> bool {
        let destinations = sending.outgoing.iter().filter_map(|outgoing| outgoing.to);
        destinations.into_iter().any(|to| !decide::is_left(&*self.destinations, to))
    }

    fn send_all(self: &Arc<Self>, trapped: Trapped, socket: Socket, sending: Sending) {
        let waits = sending.waits && socket.is_blocking();
        match self.try_send(&trapped, &socket, &sending) {
            Err(Errno::AGAIN) if waits => {
                let supervisor = Arc::clone(self);
                self.wait_for(async move {
                    let room = async { socket.watched(Interest::WRITABLE)?.writable().await.map(|_| ()) };
                    let bound = socket.send_timeout().unwrap_or(W::PATIENCE).min(W::PATIENCE);
                    let _ = tokio::time::timeout(bound, room).await;
                    let sent = supervisor.try_send(&trapped, &socket, &sending);
                    trapped.answer(sent.map_or_else(Reply::Error, Reply::Value));
                });
            }
            sent => {
                trapped.answer(sent.map_or_else(Reply::Error, Reply::Value));
            }
        }
    }

    /// Sends as many as possible. Returns the call's result: bytes, or datagrams if there may be several.
    fn try_send(&self, trapped: &Trapped, socket: &Socket, sending: &Sending) -> Result<i64, Errno> {
        let mut sent = 0;
        for (index, outgoing) in sending.outgoing.iter().enumerate() {
            let result = self.send_one(trapped, socket, outgoing);
            let length = match (result, sending.array) {
                (Ok(length), None) => return Ok(length as i64),
                (Ok(length), Some(_)) => length,
                (Err(errno), _) if sent == 0 => return Err(errno),
                // The caller gets the error when it sends the rest.
                (Err(_), _) => break,
            };
            if let Some(array) = sending.array {
                let count = array + index as u64 * STEP + COUNT;
                trapped.write(count, &(length as u32).to_ne_bytes()).map_err(|_| Errno::FAULT)?;
            }
            sent += 1;
        }
        Ok(sent)
    }

    fn send_one(&self, trapped: &Trapped, socket: &Socket, outgoing: &Outgoing) -> Result<usize, Errno> {
        let data = Header::gather(trapped, &outgoing.data).map_err(errno)?;
        let mut control = vec![0; outgoing.control.length];
        trapped.read(outgoing.control.address, &mut control).map_err(errno)?;
        let whole = data.len().max(1);
        let size = segment(&control).unwrap_or(whole).min(whole);
        let step = |to| decide::step(&*self.destinations, to, socket.kind());
        let to = match outgoing.to.map(|to| (to, step(to))) {
            Some((_, Step::Fail(errno))) => return Err(errno),
            Some((to, step @ (Step::Relay | Step::Resolve))) => Some(self.front(socket, to, step)?),
            Some((to, Step::Leave)) => Some(to),
            None => None,
        };
        if data.is_empty() {
            return send_datagram(socket, &data, to);
        }
        for datagram in data.chunks(size) {
            send_datagram(socket, datagram, to)?;
        }
        Ok(data.len())
    }

    fn front(&self, socket: &Socket, to: SocketAddr, step: Step) -> Result<SocketAddr, Errno> {
        let front = self.fronts.toward(&self.way, to, step == Step::Resolve).map_err(|error| {
            tracing::warn!(destination = %to, %error, "no socket for a destination");
            Errno::NETUNREACH
        })?;
        front.admit(socket.bound()?, socket.owner());
        self.touched.insert(socket);
        Ok(front.address)
    }
}

fn send_datagram(socket: &Socket, datagram: &[u8], to: Option<SocketAddr>) -> Result<usize, Errno> {
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    match to {
        Some(to) => rustix::net::sendto(socket, datagram, flags, &socket.spell(to)),
        None => rustix::net::send(socket, datagram, flags),
    }
}

fn errno(error: io::Error) -> Errno {
    Errno::from_io_error(&error).unwrap_or(Errno::IO)
}

impl Sending {
    fn read(trapped: &Trapped) -> io::Result<Sending> {
        let waits = |flags: i32| flags as u32 & SendFlags::DONTWAIT.bits() == 0;
        Ok(match trapped.call() {
            Call::SendTo { socket, data, flags, name } => Sending {
                socket,
                outgoing: vec![Outgoing {
                    to: read_name(trapped, name)?,
                    data: vec![data],
                    control: NOWHERE,
                }],
                array: None,
                waits: waits(flags),
            },
            Call::SendMessage { socket, message, flags } => Sending {
                socket,
                outgoing: vec![Outgoing::read(trapped, message)?],
                array: None,
                waits: waits(flags),
            },
            Call::SendMessages { socket, messages, count, flags } => {
                let headers = (0..count.min(MAX_MESSAGES) as u64).map(|index| messages + index * STEP);
                // Up to one that cannot be read, where the kernel would stop too.
                let outgoing = headers.map_while(|header| Outgoing::read(trapped, header).ok()).collect();
                Sending { socket, outgoing, array: Some(messages), waits: waits(flags) }
            }
            _ => return Err(io::ErrorKind::Unsupported.into()),
        })
    }
}

impl Outgoing {
    fn read(trapped: &Trapped, header: u64) -> io::Result<Outgoing> {
        let Header { name, data, control } = Header::read(trapped, header)?;
        Ok(Outgoing { to: read_name(trapped, name)?, data, control })
    }
}

/// The address that a datagram is for; `None` if it has none, or one of another family.
fn read_name(trapped: &Trapped, name: Place) -> io::Result<Option<SocketAddr>> {
    if name.address == 0 {
        return Ok(None);
    }
    let mut bytes = [0; LONGEST];
    let bytes = &mut bytes[..name.length.min(LONGEST)];
    trapped.read(name.address, bytes)?;
    match decode(bytes) {
        Name::Internet(address) => Ok(Some(canonical(address))),
        _ => Ok(None),
    }
}
