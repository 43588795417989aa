//! Unix sockets that keep the borders of messages (SOCK_SEQPACKET, unix(7)) and can pass a descriptor with each: a
//! command passes connections to the daemon with them.

use std::{
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};
use tokio::io::{Interest, unix::AsyncFd};

/// The largest message, in bytes.
pub const MAX_PACKET: usize = 4096;
const BACKLOG: i32 = 64;

/// One end of a connection.
#[derive(Debug)]
pub struct Packets(AsyncFd<OwnedFd>);

/// Accepts connections.
#[derive(Debug)]
pub struct PacketListener(AsyncFd<OwnedFd>);

fn socket() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?)
}

/// Registers the descriptor with the runtime, which reports when it is ready.
pub(crate) fn watched(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an OwnedFd is open, and is the same descriptor, as long as it lives; the AsyncFd owns it.
    #[expect(unsafe_code)]
    let watched = unsafe { AsyncFd::register(descriptor) };
    Ok(watched?)
}

impl PacketListener {
    /// Listens on a path without a file.
    pub fn bind(path: &Path) -> io::Result<Self> {
        let socket = socket()?;
        rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
        rustix::net::listen(&socket, BACKLOG)?;
        Ok(Self(watched(socket)?))
    }

    pub async fn accept(&self) -> io::Result<Packets> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let accept = |socket: &OwnedFd| Ok(rustix::net::accept_with(socket, flags)?);
        Ok(Packets(watched(self.0.async_io(Interest::READABLE, accept).await?)?))
    }
}

impl Packets {
    pub fn connect(path: &Path) -> io::Result<Self> {
        let socket = socket()?;
        rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
        Ok(Self(watched(socket)?))
    }

    /// Ends the connection: both ends see that the other is gone.
    pub fn shutdown(&self) {
        // One that is not connected any more has ended already.
        let _ = rustix::net::shutdown(self.0.get_ref(), rustix::net::Shutdown::Both);
    }

    /// Sends a message of at most [`MAX_PACKET`] bytes, with a descriptor, which the other end gets a copy of.
    pub async fn send(&self, message: &[u8], descriptor: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let send = |socket: &OwnedFd| {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut ancillary = SendAncillaryBuffer::new(&mut space);
            let descriptors = descriptor.as_slice();
            if !descriptors.is_empty() {
                ancillary.push(SendAncillaryMessage::ScmRights(descriptors));
            }
            let message = [IoSlice::new(message)];
            Ok(rustix::net::sendmsg(socket, &message, &mut ancillary, SendFlags::NOSIGNAL)?)
        };
        self.0.async_io(Interest::WRITABLE, send).await.map(drop)
    }

    /// The next message, with the descriptor that came with it. `None`: the other end is gone.
    pub async fn receive(&self) -> io::Result<Option<(Vec<u8>, Option<OwnedFd>)>> {
        let receive = |socket: &OwnedFd| {
            let mut message = vec![0; MAX_PACKET];
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut ancillary = RecvAncillaryBuffer::new(&mut space);
            let mut parts = [IoSliceMut::new(&mut message)];
            let got = rustix::net::recvmsg(socket, &mut parts, &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
            let descriptor = ancillary.drain().find_map(|part| match part {
                RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
                _ => None,
            });
            message.truncate(got.bytes);
            Ok((message, descriptor))
        };
        let (message, descriptor) = self.0.async_io(Interest::READABLE, receive).await?;
        Ok((!message.is_empty()).then_some((message, descriptor)))
    }
}

impl AsFd for Packets {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use super::*;

    #[tokio::test]
    async fn messages_keep_their_borders_and_bring_descriptors() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let listener = PacketListener::bind(&path).unwrap();
        let ours = Packets::connect(&path).unwrap();
        let theirs = listener.accept().await.unwrap();

        let (mut kept, passed) = UnixStream::pair().unwrap();
        ours.send(b"first", None).await.unwrap();
        ours.send(b"second", Some(passed.as_fd())).await.unwrap();
        drop(passed);
        let (message, descriptor) = theirs.receive().await.unwrap().unwrap();
        assert_eq!((message.as_slice(), descriptor.is_some()), (&b"first"[..], false));
        let (message, descriptor) = theirs.receive().await.unwrap().unwrap();
        assert_eq!(message, b"second");
        UnixStream::from(descriptor.unwrap()).write_all(b"through it").unwrap();
        let mut heard = String::new();
        kept.read_to_string(&mut heard).unwrap();
        assert_eq!(heard, "through it");

        drop(ours);
        assert!(theirs.receive().await.unwrap().is_none(), "the other end is gone");
    }
}
