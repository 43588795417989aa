//! struct msghdr, struct mmsghdr and struct iovec in a program's memory (recvmsg(2), sendmmsg(2)), on 64-bit machines.

use std::io;

use bridge_os::seccomp::{Place, Trapped};
use rustix::io::Errno;

/// No datagram is longer (its length has 16 bits).
pub(super) const LONGEST_DATAGRAM: usize = u16::MAX as usize;
/// sizeof(struct mmsghdr): a header, the length, and padding.
pub(super) const STEP: u64 = 64;
/// The offset of the length of one of several messages.
pub(super) const COUNT: u64 = 56;
/// The offsets of the lengths of a header's name and control data, and of its flags.
pub(super) const NAME_LENGTH: u64 = 8;
pub(super) const CONTROL_LENGTH: u64 = 40;
pub(super) const FLAGS: u64 = 48;

const HEADER: usize = 56;
const VECTOR: usize = 16;
/// UIO_MAXIOV, for vectors and for messages.
const MAX_VECTORS: usize = 1024;
pub(super) const MAX_MESSAGES: usize = 1024;
/// A header has room for small control data only; larger ones are cut, with the flag for it.
const MAX_CONTROL: usize = 4096;

/// The parts that a struct msghdr points to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) name: Place,
    pub(super) data: Vec<Place>,
    pub(super) control: Place,
}

impl Header {
    pub(super) fn read(trapped: &Trapped, address: u64) -> io::Result<Header> {
        let mut header = [0; HEADER];
        trapped.read(address, &mut header)?;
        let (name, vectors, control) = parts(&header);
        if vectors.length > MAX_VECTORS {
            return Err(Errno::MSGSIZE.into());
        }
        let mut bytes = vec![0; vectors.length * VECTOR];
        trapped.read(vectors.address, &mut bytes)?;
        let control = Place { length: control.length.min(MAX_CONTROL), ..control };
        Ok(Header { name, data: places(&bytes), control })
    }

    /// The bytes to send.
    pub(super) fn gather(trapped: &Trapped, data: &[Place]) -> io::Result<Vec<u8>> {
        let length = room(data);
        if length > LONGEST_DATAGRAM {
            return Err(Errno::MSGSIZE.into());
        }
        let mut bytes = vec![0; length];
        let mut rest = &mut bytes[..];
        for place in data {
            let (part, after) = rest.split_at_mut(place.length);
            trapped.read(place.address, part)?;
            rest = after;
        }
        Ok(bytes)
    }
}

/// The number of bytes that there is room for.
pub(super) fn room(data: &[Place]) -> usize {
    data.iter().fold(0, |sum: usize, place| sum.saturating_add(place.length))
}

/// Name, vectors (their number as the length) and control data.
fn parts(header: &[u8; HEADER]) -> (Place, Place, Place) {
    let place =
        |address: usize, length: u64| Place { address: number(header, address), length: length as usize };
    // The name's length is an int.
    let name = place(0, number(header, 8) & u64::from(u32::MAX));
    (name, place(16, number(header, 24)), place(32, number(header, 40)))
}

fn places(vectors: &[u8]) -> Vec<Place> {
    let place = |vector: &[u8]| Place { address: number(vector, 0), length: number(vector, 8) as usize };
    vectors.chunks_exact(VECTOR).map(place).collect()
}

fn number(bytes: &[u8], at: usize) -> u64 {
    bytes[at..].first_chunk::<8>().map_or(0, |bytes| u64::from_ne_bytes(*bytes))
}

/// The size of UDP_SEGMENT in the control data of a send, if it is there (udp(7)): the data are several datagrams.
pub(super) fn segment(control: &[u8]) -> Option<usize> {
    const SOL_UDP: u64 = 17;
    const UDP_SEGMENT: u64 = 103;
    /// sizeof(struct cmsghdr): a length of 8 bytes, level and type of 4 each.
    const CONTROL_HEADER: usize = 16;
    let mut rest = control;
    while rest.len() >= CONTROL_HEADER + 2 {
        let length = usize::try_from(number(rest, 0)).ok()?;
        if number(rest, 8) == (UDP_SEGMENT << 32 | SOL_UDP) {
            let size = u16::from_ne_bytes([rest[CONTROL_HEADER], rest[CONTROL_HEADER + 1]]);
            return (size > 0).then_some(usize::from(size));
        }
        let step = length.max(CONTROL_HEADER).checked_next_multiple_of(8)?;
        rest = rest.get(step..)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_field_by_field() {
        let mut header = [0xee; HEADER];
        for (at, value) in [(0, 0x1000u64), (16, 0x2000), (24, 2), (32, 0x3000), (40, 24)] {
            header[at..at + 8].copy_from_slice(&value.to_ne_bytes());
        }
        header[8..12].copy_from_slice(&28u32.to_ne_bytes());
        let (name, vectors, control) = parts(&header);
        assert_eq!(name, Place { address: 0x1000, length: 28 }, "what pads the int is junk");
        assert_eq!(vectors, Place { address: 0x2000, length: 2 });
        assert_eq!(control, Place { address: 0x3000, length: 24 });
    }

    #[test]
    fn rooms_add_up_without_overflow() {
        let place = |length| Place { address: 1, length };
        assert_eq!(room(&[place(3), place(0), place(4)]), 7);
        assert_eq!(room(&[place(usize::MAX), place(4)]), usize::MAX);
    }

    fn control(level: u32, kind: u32, value: &[u8]) -> Vec<u8> {
        let mut bytes = (16 + value.len() as u64).to_ne_bytes().to_vec();
        bytes.extend(level.to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes
    }

    #[test]
    fn the_segments_size_is_found_among_others() {
        let traffic_class = control(0, 1, &[0, 0, 0, 2]);
        let segments = control(17, 103, &1200u16.to_ne_bytes());
        assert_eq!(segment(&[traffic_class.clone(), segments.clone()].concat()), Some(1200));
        assert_eq!(segment(&traffic_class), None);
        assert_eq!(segment(&segments[..16]), None);
        assert_eq!(segment(&[0; 64]), None, "a length of 0 does not hold the reader up");
        assert_eq!(segment(&[0xff; 64]), None);
    }
}
