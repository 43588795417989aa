//! The filter for the trapped system calls: a classic BPF program (seccomp(2)), built as data.
//!
//! A filter sees only numbers, not what pointers point to. So it cannot recognise a UDP socket; but it sees a
//! descriptor's number. UDP sockets are therefore created by the supervisor and put at `HIGH` and above, and frequent
//! calls (sendmsg, recvmsg …) are trapped for those numbers only.

use libc::{c_long, c_uint, sock_filter};

/// Descriptors from here on are UDP sockets, most likely. Below 1024, because select(2) and the usual limit end there.
pub const HIGH: u32 = 768;

/// AUDIT_ARCH_… of linux/audit.h.
#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: Option<u32> = Some(0xc000_003e);
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: Option<u32> = Some(0xc000_00b7);
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const ARCHITECTURE: Option<u32> = None;

/// The table of 32-bit programs on the same machine (AUDIT_ARCH_I386, AUDIT_ARCH_ARM), and its connect(2). Such
/// programs are not supervised: their calls are let through, and trapped only to report them.
#[cfg(not(target_arch = "aarch64"))]
const THIRTY_TWO_BIT: (u32, u32) = (0x4000_0003, 362);
#[cfg(target_arch = "aarch64")]
const THIRTY_TWO_BIT: (u32, u32) = (0x4000_0028, 283);
/// socketcall(2), by which old programs connect, and its number for that. The same in both.
const SOCKET_CALL: u32 = 102;
const SYS_CONNECT: u32 = 3;

/// The length of the rule for them.
const THIRTY_TWO_BIT_RULE: u8 = 8;

/// Numbers from here on are x86-64's x32 table, which would be a way around the filter. No other table reaches it.
const X32: u32 = 0x4000_0000;

// Offsets in struct seccomp_data (both architectures are little-endian).
const NUMBER: u32 = 0;
const TABLE: u32 = 4;
const fn low(argument: u32) -> u32 {
    16 + 8 * argument
}
const fn high(argument: u32) -> u32 {
    low(argument) + 4
}

const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const AND: u16 = (libc::BPF_ALU | libc::BPF_AND | libc::BPF_K) as u16;
const OR_X: u16 = (libc::BPF_ALU | libc::BPF_OR | libc::BPF_X) as u16;
const TO_X: u16 = (libc::BPF_MISC | libc::BPF_TAX) as u16;
const IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const IF_AT_LEAST: u16 = (libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K) as u16;
const IF_ANY_BIT: u16 = (libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;

/// Jumps to the end of its rule, where the call is let through. Rules are shorter than this.
const TO_END: u8 = u8::MAX;

const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
const NOTIFY: u32 = libc::SECCOMP_RET_USER_NOTIF;
const fn refuse(errno: i32) -> u32 {
    libc::SECCOMP_RET_ERRNO | errno as c_uint
}

/// A shorter socket address is of no family that matters here (netlink's has 12 bytes).
const SHORTEST_ADDRESS: u32 = 16;

/// A condition, besides the call's number, for a call to be trapped. Arguments count from 0.
enum Test {
    AtLeast(u32, u32),
    NotNull(u32),
    /// Argument, mask, value.
    Masked(u32, u32, u32),
}

/// The program; `None` for an architecture whose calls are not known.
pub(super) fn program() -> Option<Vec<sock_filter>> {
    use Test::{AtLeast, Masked, NotNull};
    let mut program = vec![
        load(TABLE),
        jump(IF_EQUAL, ARCHITECTURE?, THIRTY_TWO_BIT_RULE, 0),
        // Of 32-bit programs.
        jump(IF_EQUAL, THIRTY_TWO_BIT.0, 0, 5),
        load(NUMBER),
        jump(IF_EQUAL, THIRTY_TWO_BIT.1, 4, 0),
        jump(IF_EQUAL, SOCKET_CALL, 0, 2),
        load(low(0)),
        jump(IF_EQUAL, SYS_CONNECT, 1, 0),
        answer(ALLOW),
        answer(NOTIFY),
        // Of all others.
        load(NUMBER),
        jump(IF_AT_LEAST, X32, 0, 1),
        answer(refuse(libc::ENOSYS)),
    ];
    let udp = || AtLeast(0, HIGH);
    program.extend(rule(libc::SYS_connect, trap([AtLeast(2, SHORTEST_ADDRESS)])));
    program.extend(rule(libc::SYS_getpeername, trap([])));
    // The result of a connect, and no other option.
    let option = |at, value: i32| Masked(at, !0, value as u32);
    let error = [option(1, libc::SOL_SOCKET), option(2, libc::SO_ERROR)];
    program.extend(rule(libc::SYS_getsockopt, trap(error)));
    program.extend(rule(libc::SYS_listen, trap([])));
    // SOCK_DGRAM of AF_INET (2) and AF_INET6 (10), which differ in one bit. The type's upper bits are flags.
    let internet = Masked(0, !8, libc::AF_INET as u32);
    program.extend(rule(libc::SYS_socket, trap([internet, Masked(1, 0xf, libc::SOCK_DGRAM as u32)])));
    let addressed = [AtLeast(5, SHORTEST_ADDRESS), NotNull(4)];
    program.extend(rule(libc::SYS_sendto, [no_fast_open(3), trap(addressed)].concat()));
    program.extend(rule(libc::SYS_sendmsg, [no_fast_open(2), trap([udp()])].concat()));
    program.extend(rule(libc::SYS_sendmmsg, trap([udp()])));
    program.extend(rule(libc::SYS_recvfrom, trap([udp(), NotNull(4)])));
    program.extend(rule(libc::SYS_recvmsg, trap([udp()])));
    program.extend(rule(libc::SYS_recvmmsg, trap([udp()])));
    // A ring would hide all these calls. Programs that can use one can do without.
    program.extend(rule(libc::SYS_io_uring_setup, vec![answer(refuse(libc::ENOSYS))]));
    program.push(answer(ALLOW));
    Some(program)
}

/// Whether a call is from the table of supervised programs.
pub(super) fn is_ours(table: u32) -> bool {
    ARCHITECTURE == Some(table)
}

fn load(offset: u32) -> sock_filter {
    sock_filter { code: LOAD, jt: 0, jf: 0, k: offset }
}

fn jump(code: u16, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code, jt, jf, k }
}

fn answer(action: u32) -> sock_filter {
    sock_filter { code: RETURN, jt: 0, jf: 0, k: action }
}

/// Data that travels with the SYN (MSG_FASTOPEN) would be a hidden connect; clients fall back to connect(2).
fn no_fast_open(flags: u32) -> Vec<sock_filter> {
    vec![
        load(low(flags)),
        jump(IF_ANY_BIT, libc::MSG_FASTOPEN as u32, 0, 1),
        answer(refuse(libc::EOPNOTSUPP)),
    ]
}

/// Traps if all tests hold.
fn trap(tests: impl IntoIterator<Item = Test>) -> Vec<sock_filter> {
    let mut body: Vec<_> = tests.into_iter().flat_map(compiled).collect();
    body.push(answer(NOTIFY));
    body
}

fn compiled(test: Test) -> Vec<sock_filter> {
    match test {
        Test::AtLeast(argument, least) => vec![load(low(argument)), jump(IF_AT_LEAST, least, 0, TO_END)],
        Test::NotNull(argument) => vec![
            load(low(argument)),
            jump(TO_X, 0, 0, 0),
            load(high(argument)),
            jump(OR_X, 0, 0, 0),
            jump(IF_EQUAL, 0, TO_END, 0),
        ],
        Test::Masked(argument, mask, value) => {
            vec![load(low(argument)), jump(AND, mask, 0, 0), jump(IF_EQUAL, value, 0, TO_END)]
        }
    }
}

/// A rule with this body for this call; others skip it. The accumulator holds the call's number before and, if skipped,
/// after.
fn rule(number: c_long, body: Vec<sock_filter>) -> Vec<sock_filter> {
    let end = body.len();
    let mut rule = vec![jump(IF_EQUAL, number as u32, 0, end as u8 + 1)];
    rule.extend(body.into_iter().enumerate().map(|(at, instruction)| {
        let resolve = |offset| if offset == TO_END { (end - at - 1) as u8 } else { offset };
        sock_filter { jt: resolve(instruction.jt), jf: resolve(instruction.jf), ..instruction }
    }));
    rule.push(answer(ALLOW));
    rule
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the filter as the kernel would: the few instructions that it uses, as bpf(4) defines them.
    fn verdict(table: u32, number: c_long, arguments: [u64; 6]) -> u32 {
        let word = |offset: u32| match offset {
            NUMBER => number as u32,
            TABLE => table,
            _ => {
                let argument = arguments[(offset as usize - 16) / 8];
                if offset.is_multiple_of(8) { argument as u32 } else { (argument >> 32) as u32 }
            }
        };
        let program = program().unwrap();
        let (mut at, mut a, mut x) = (0, 0, 0);
        loop {
            let sock_filter { code, jt, jf, k } = program[at];
            at += 1;
            let holds = match code {
                LOAD => {
                    a = word(k);
                    continue;
                }
                AND => {
                    a &= k;
                    continue;
                }
                OR_X => {
                    a |= x;
                    continue;
                }
                TO_X => {
                    x = a;
                    continue;
                }
                RETURN => return k,
                IF_EQUAL => a == k,
                IF_AT_LEAST => a >= k,
                IF_ANY_BIT => a & k != 0,
                other => panic!("no such instruction: {other:#x}"),
            };
            at += usize::from(if holds { jt } else { jf });
        }
    }

    fn own(number: c_long, arguments: [u64; 6]) -> u32 {
        verdict(ARCHITECTURE.unwrap(), number, arguments)
    }

    #[test]
    fn connects_are_trapped_but_for_netlink() {
        assert_eq!(own(libc::SYS_connect, [3, 1, 16, 0, 0, 0]), NOTIFY);
        assert_eq!(own(libc::SYS_connect, [3, 1, 28, 0, 0, 0]), NOTIFY);
        assert_eq!(own(libc::SYS_connect, [3, 1, 12, 0, 0, 0]), ALLOW);
        assert_eq!(own(libc::SYS_getpeername, [3, 1, 1, 0, 0, 0]), NOTIFY);
        assert_eq!(own(libc::SYS_listen, [3, 128, 0, 0, 0, 0]), NOTIFY);
    }

    #[test]
    fn of_a_socket_s_options_only_its_error_is_trapped() {
        let option = |level: i32, name: i32| {
            own(libc::SYS_getsockopt, [3, level as u64, name as u64, 0x7fff_0000_0000, 0x7fff_0000_0010, 0])
        };
        assert_eq!(option(libc::SOL_SOCKET, libc::SO_ERROR), NOTIFY);
        assert_eq!(option(libc::SOL_SOCKET, libc::SO_TYPE), ALLOW);
        assert_eq!(option(libc::IPPROTO_TCP, libc::SO_ERROR), ALLOW);
    }

    #[test]
    fn sockets_for_datagrams_are_made_by_the_supervisor() {
        let flags = (libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK) as u64;
        let socket = |family: i32, kind: u64| own(libc::SYS_socket, [family as u64, kind, 0, 0, 0, 0]);
        for family in [libc::AF_INET, libc::AF_INET6] {
            assert_eq!(socket(family, 2), NOTIFY);
            assert_eq!(socket(family, 2 | flags), NOTIFY);
            assert_eq!(socket(family, 1 | flags), ALLOW);
            assert_eq!(socket(family, 3), ALLOW);
        }
        for family in [libc::AF_UNIX, libc::AF_NETLINK, libc::AF_PACKET] {
            assert_eq!(socket(family, 2), ALLOW);
        }
    }

    #[test]
    fn sends_are_trapped_where_they_name_an_address_or_the_socket_is_high() {
        let high = u64::from(HIGH);
        assert_eq!(own(libc::SYS_sendto, [3, 1, 9, 0, 0x7fff_0000_0000, 16]), NOTIFY);
        assert_eq!(own(libc::SYS_sendto, [3, 1, 9, 0, 0x1000, 28]), NOTIFY);
        assert_eq!(own(libc::SYS_sendto, [high, 1, 9, 0, 0, 0]), ALLOW);
        assert_eq!(own(libc::SYS_sendto, [high, 1, 9, 0, 0, 16]), ALLOW);
        for call in [libc::SYS_sendmsg, libc::SYS_sendmmsg] {
            assert_eq!(own(call, [high, 1, 0, 0, 0, 0]), NOTIFY);
            assert_eq!(own(call, [high - 1, 1, 0, 0, 0, 0]), ALLOW);
        }
    }

    #[test]
    fn receives_are_trapped_for_high_sockets() {
        let high = u64::from(HIGH);
        for call in [libc::SYS_recvmsg, libc::SYS_recvmmsg] {
            assert_eq!(own(call, [high, 1, 0, 0, 0, 0]), NOTIFY);
            assert_eq!(own(call, [3, 1, 0, 0, 0, 0]), ALLOW);
        }
        assert_eq!(own(libc::SYS_recvfrom, [high, 1, 9, 0, 0x1_0000_0000, 1]), NOTIFY);
        assert_eq!(own(libc::SYS_recvfrom, [high, 1, 9, 0, 0, 0]), ALLOW);
        assert_eq!(own(libc::SYS_recvfrom, [3, 1, 9, 0, 1, 1]), ALLOW);
    }

    #[test]
    fn ways_around_are_refused() {
        let fast_open = libc::MSG_FASTOPEN as u64;
        let unsupported = refuse(libc::EOPNOTSUPP);
        assert_eq!(own(libc::SYS_sendto, [3, 1, 9, fast_open, 1, 16]), unsupported);
        assert_eq!(own(libc::SYS_sendmsg, [3, 1, fast_open, 0, 0, 0]), unsupported);
        assert_eq!(own(libc::SYS_io_uring_setup, [8, 1, 0, 0, 0, 0]), refuse(libc::ENOSYS));
        assert_eq!(own(libc::SYS_connect | X32 as c_long, [3, 1, 16, 0, 0, 0]), refuse(libc::ENOSYS));
    }

    #[test]
    fn all_else_is_let_through() {
        for call in [libc::SYS_read, libc::SYS_write, libc::SYS_openat, libc::SYS_close, libc::SYS_bind] {
            assert_eq!(own(call, [768, 1, 16, 0, 1, 16]), ALLOW);
        }
    }

    #[test]
    fn of_32_bit_programs_only_connects_are_trapped() {
        let (table, connect) = THIRTY_TWO_BIT;
        let of_32_bit =
            |number: u32, first: u64| verdict(table, c_long::from(number), [first, 1, 16, 0, 0, 0]);
        assert_eq!(of_32_bit(connect, 3), NOTIFY);
        assert_eq!(of_32_bit(SOCKET_CALL, 3), NOTIFY);
        assert_eq!(of_32_bit(SOCKET_CALL, 1), ALLOW);
        assert_eq!(of_32_bit(libc::SYS_connect as u32, 3), ALLOW, "another call in that table");
        assert_eq!(verdict(0x8000_0016, libc::SYS_connect, [3, 1, 16, 0, 0, 0]), ALLOW, "of another machine");
    }
}
