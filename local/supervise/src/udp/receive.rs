//! recvfrom(2), recvmsg(2) and recvmmsg(2) on sockets that have sent to a front: received here, and written into the
//! program's memory with the destination as the sender.
//!
//! A call that finds nothing waits as long as the program would have. Its caller sleeps where no signal handler runs,
//! so a signal with a handler ends the call with EINTR.

use std::{io, os::fd::AsFd, sync::Arc, time::Duration};

use bridge_os::seccomp::{
    Call, Place, Received, Reply, Trapped,
    address::{canonical, encode},
    receive,
};
use rustix::{io::Errno, net::RecvFlags};
use tokio::{
    io::Interest,
    time::{Instant, MissedTickBehavior},
};

use super::message::{
    CONTROL_LENGTH, COUNT, FLAGS, Header, LONGEST_DATAGRAM, MAX_MESSAGES, NAME_LENGTH, STEP, room,
};
use crate::{
    socket::Socket,
    supervisor::Supervisor,
    way::{Destinations, Way},
};

/// The time between looks whether a waiting caller was killed or has a signal.
const LOOK: Duration = Duration::from_millis(100);

const MSG_PEEK: i32 = RecvFlags::PEEK.bits() as i32;
const MSG_TRUNC: i32 = RecvFlags::TRUNC.bits() as i32;
const MSG_DONTWAIT: i32 = RecvFlags::DONTWAIT.bits() as i32;
const MSG_ERRQUEUE: i32 = RecvFlags::ERRQUEUE.bits() as i32;

/// The destinations of a datagram and its details. Those of 0 are not written.
#[derive(Debug)]
struct Slot {
    data: Vec<Place>,
    name: Place,
    /// The address for the name's length.
    name_length: u64,
    control: Place,
    /// The struct msghdr, if the call has one.
    header: u64,
    /// The address for the datagram's length, if the call may have several.
    count: u64,
}

struct Receiving {
    slots: Vec<Slot>,
    several: bool,
    flags: i32,
    timeout: Option<Duration>,
}

impl<D: Destinations, W: Way> Supervisor<D, W> {
    pub(crate) fn receive(self: &Arc<Self>, trapped: Trapped) {
        let (socket, flags) = match trapped.call() {
            Call::ReceiveFrom { socket, flags, .. }
            | Call::ReceiveMessage { socket, flags, .. }
            | Call::ReceiveMessages { socket, flags, .. } => (socket, flags),
            _ => return,
        };
        let ours = || {
            if self.touched.is_empty() || flags & MSG_ERRQUEUE != 0 {
                return None;
            }
            let socket = Socket::of(&trapped, socket).ok()?;
            if !self.touched.contains(&socket) {
                return None;
            }
            Some((socket, Receiving::read(&trapped, flags).ok()?))
        };
        let Some((socket, mut receiving)) = ours() else {
            trapped.answer(Reply::Continue);
            return;
        };
        match self.try_receive(&trapped, &socket, &receiving) {
            Err(Errno::AGAIN) if flags & MSG_DONTWAIT == 0 && socket.is_blocking() => {
                receiving.timeout = receiving.timeout.or(socket.receive_timeout());
                self.wait_for(Arc::clone(self).receive_later(trapped, socket, receiving));
            }
            received => {
                trapped.answer(received.map_or_else(Reply::Error, Reply::Value));
            }
        }
    }

    async fn receive_later(self: Arc<Self>, trapped: Trapped, socket: Socket, receiving: Receiving) {
        let waited = self.wait_and_receive(&trapped, &socket, &receiving).await;
        trapped.answer(waited.map_or_else(Reply::Error, Reply::Value));
    }

    async fn wait_and_receive(
        &self,
        trapped: &Trapped,
        socket: &Socket,
        receiving: &Receiving,
    ) -> Result<i64, Errno> {
        let watched = socket.watched(Interest::READABLE).map_err(|_| Errno::NOBUFS)?;
        let end = receiving.timeout.map(|timeout| Instant::now() + timeout);
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                ready = watched.readable() => {
                    let mut ready = ready.map_err(|_| Errno::IO)?;
                    match self.try_receive(trapped, socket, receiving) {
                        Err(Errno::AGAIN) => ready.clear_ready(),
                        received => return received,
                    }
                }
                () = until(end) => return Err(Errno::AGAIN),
                _ = looks.tick() => {
                    if trapped.has_signal() || !trapped.is_alive() {
                        return Err(Errno::INTR);
                    }
                }
            }
        }
    }

    /// Receives waiting datagrams. Returns the call's result: bytes, or datagrams if there may be several.
    fn try_receive(&self, trapped: &Trapped, socket: &Socket, receiving: &Receiving) -> Result<i64, Errno> {
        let mut received = 0;
        for slot in &receiving.slots {
            match self.receive_one(trapped, socket, slot, receiving.flags) {
                Ok(length) if !receiving.several => return Ok(length as i64),
                Ok(_) => received += 1,
                Err(errno) if received == 0 => return Err(errno),
                Err(_) => break,
            }
        }
        Ok(received)
    }

    fn receive_one(
        &self,
        trapped: &Trapped,
        socket: &Socket,
        slot: &Slot,
        flags: i32,
    ) -> Result<usize, Errno> {
        // A received datagram is consumed: not for a caller that is gone.
        if !trapped.is_alive() {
            return Err(Errno::INTR);
        }
        let room = room(&slot.data);
        let mut data = vec![0; room.min(LONGEST_DATAGRAM)];
        let mut control = vec![0; slot.control.length];
        let received = receive(socket.as_fd(), flags & MSG_PEEK, &mut data, &mut control)
            .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
        let name = received.from.map(|from| {
            let meant = self.fronts.meant(canonical(from));
            encode(meant.map_or(from, |meant| socket.spell(meant)))
        });
        let written = received.length.min(data.len());
        slot.write(trapped, &data[..written], &control, &received, name).map_err(|_| Errno::FAULT)?;
        Ok(if flags & MSG_TRUNC != 0 { received.length } else { written })
    }
}

async fn until(end: Option<Instant>) {
    match end {
        Some(end) => tokio::time::sleep_until(end).await,
        None => std::future::pending().await,
    }
}

impl Slot {
    fn write(
        &self,
        trapped: &Trapped,
        mut data: &[u8],
        control: &[u8],
        received: &Received,
        name: Option<Vec<u8>>,
    ) -> io::Result<()> {
        let length = data.len();
        for place in &self.data {
            let (part, rest) = data.split_at(place.length.min(data.len()));
            trapped.write(place.address, part)?;
            data = rest;
        }
        if self.name.address != 0 {
            let name = name.unwrap_or_default();
            trapped.write(self.name.address, &name[..name.len().min(self.name.length)])?;
            if self.name_length != 0 {
                trapped.write(self.name_length, &(name.len() as u32).to_ne_bytes())?;
            }
        }
        if self.header != 0 {
            trapped.write(self.control.address, &control[..received.control.min(control.len())])?;
            trapped.write(self.header + CONTROL_LENGTH, &(received.control as u64).to_ne_bytes())?;
            trapped.write(self.header + FLAGS, &received.flags.to_ne_bytes())?;
        }
        if self.count != 0 {
            trapped.write(self.count, &(length as u32).to_ne_bytes())?;
        }
        Ok(())
    }

    fn read(trapped: &Trapped, header: u64, count: u64) -> io::Result<Slot> {
        let Header { name, data, control } = Header::read(trapped, header)?;
        Ok(Slot { data, name, name_length: header + NAME_LENGTH, control, header, count })
    }
}

impl Receiving {
    fn read(trapped: &Trapped, flags: i32) -> io::Result<Receiving> {
        let one = |slot| Receiving { slots: vec![slot], several: false, flags, timeout: None };
        Ok(match trapped.call() {
            Call::ReceiveFrom { data, name, length, .. } => {
                let mut room = [0; 4];
                trapped.read(length, &mut room)?;
                one(Slot {
                    data: vec![data],
                    name: Place { address: name, length: u32::from_ne_bytes(room) as usize },
                    name_length: length,
                    control: Place { address: 0, length: 0 },
                    header: 0,
                    count: 0,
                })
            }
            Call::ReceiveMessage { message, .. } => one(Slot::read(trapped, message, 0)?),
            Call::ReceiveMessages { messages, count, timeout, .. } => {
                let headers = (0..count.min(MAX_MESSAGES) as u64).map(|index| messages + index * STEP);
                let slots = headers.map(|header| Slot::read(trapped, header, header + COUNT));
                let timeout = if timeout == 0 { None } else { Some(read_time(trapped, timeout)?) };
                Receiving { slots: slots.collect::<io::Result<_>>()?, several: true, flags, timeout }
            }
            _ => return Err(io::ErrorKind::Unsupported.into()),
        })
    }
}

/// A struct timespec.
fn read_time(trapped: &Trapped, address: u64) -> io::Result<Duration> {
    let mut bytes = [[0; 8]; 2];
    trapped.read(address, bytes.as_flattened_mut())?;
    let [seconds, nanoseconds] = bytes.map(u64::from_ne_bytes);
    // Longer than a clock can add: as good as forever.
    Ok(Duration::from_secs(seconds.min(u64::from(u32::MAX))) + Duration::from_nanos(nanoseconds))
}
