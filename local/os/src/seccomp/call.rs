//! A trapped call: its registers, with names and types. The calls are those of `filter`.

use libc::{c_int, c_long};

use super::filter;

/// Memory of the caller, by its own account: it may be unreadable or shorter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub address: u64,
    pub length: usize,
}

/// A trapped call. Addresses (`u64`) are the caller's; 0 is a null pointer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// connect(2)
    Connect { socket: c_int, name: Place },
    /// getpeername(2); `length` is the address of the length, in and out.
    PeerName { socket: c_int, name: u64, length: u64 },
    /// getsockopt(2) for SO_ERROR; `length` is the address of the length, in and out.
    SocketError { socket: c_int, value: u64, length: u64 },
    /// listen(2)
    Listen { socket: c_int, backlog: c_int },
    /// socket(2); `kind` is without its flags.
    Socket { domain: c_int, kind: c_int, close_on_exec: bool, non_blocking: bool, protocol: c_int },
    /// sendto(2)
    SendTo { socket: c_int, data: Place, flags: c_int, name: Place },
    /// sendmsg(2); `message` is a struct msghdr.
    SendMessage { socket: c_int, message: u64, flags: c_int },
    /// sendmmsg(2); `messages` is an array of struct mmsghdr.
    SendMessages { socket: c_int, messages: u64, count: usize, flags: c_int },
    /// recvfrom(2); `length` is the address of the name's length, in and out.
    ReceiveFrom { socket: c_int, data: Place, flags: c_int, name: u64, length: u64 },
    /// recvmsg(2)
    ReceiveMessage { socket: c_int, message: u64, flags: c_int },
    /// recvmmsg(2); `timeout` is a struct timespec.
    ReceiveMessages { socket: c_int, messages: u64, count: usize, flags: c_int, timeout: u64 },
    /// A connect of a 32-bit program.
    ThirtyTwoBit,
    /// Trapped by a filter that is not ours, or of another version.
    Other,
}

impl Call {
    pub(super) fn of(data: &libc::seccomp_data) -> Call {
        match filter::is_ours(data.arch) {
            true => Call::new(data.nr, data.args),
            false => Call::ThirtyTwoBit,
        }
    }

    fn new(number: c_int, arguments: [u64; 6]) -> Call {
        let [a, b, c, d, e, f] = arguments;
        let socket = a as c_int;
        let place = |address, length: u64| Place { address, length: length as usize };
        match c_long::from(number) {
            libc::SYS_connect => Call::Connect { socket, name: place(b, u64::from(c as u32)) },
            libc::SYS_getpeername => Call::PeerName { socket, name: b, length: c },
            libc::SYS_getsockopt => Call::SocketError { socket, value: d, length: e },
            libc::SYS_listen => Call::Listen { socket, backlog: b as c_int },
            libc::SYS_socket => Call::Socket {
                domain: socket,
                kind: b as c_int & 0xf,
                close_on_exec: b as c_int & libc::SOCK_CLOEXEC != 0,
                non_blocking: b as c_int & libc::SOCK_NONBLOCK != 0,
                protocol: c as c_int,
            },
            libc::SYS_sendto => Call::SendTo {
                socket,
                data: place(b, c),
                flags: d as c_int,
                name: place(e, u64::from(f as u32)),
            },
            libc::SYS_sendmsg => Call::SendMessage { socket, message: b, flags: c as c_int },
            libc::SYS_sendmmsg => {
                Call::SendMessages { socket, messages: b, count: c as u32 as usize, flags: d as c_int }
            }
            libc::SYS_recvfrom => {
                Call::ReceiveFrom { socket, data: place(b, c), flags: d as c_int, name: e, length: f }
            }
            libc::SYS_recvmsg => Call::ReceiveMessage { socket, message: b, flags: c as c_int },
            libc::SYS_recvmmsg => Call::ReceiveMessages {
                socket,
                messages: b,
                count: c as u32 as usize,
                flags: d as c_int,
                timeout: e,
            },
            _ => Call::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_as_wide_as_the_kernel_takes_them() {
        // The upper halves of 32-bit arguments are junk from the caller's registers.
        let junk = 0xdead_beef_0000_0000;
        let connect = Call::new(libc::SYS_connect as c_int, [junk | 3, 0x7fff_1234_5678, junk | 16, 0, 0, 0]);
        let name = Place { address: 0x7fff_1234_5678, length: 16 };
        assert_eq!(connect, Call::Connect { socket: 3, name });
        let negative = Call::new(libc::SYS_getpeername as c_int, [0xffff_ffff, 0, 0, 0, 0, 0]);
        assert_eq!(negative, Call::PeerName { socket: -1, name: 0, length: 0 });
    }
}
