//! Gathers pieces that are written together.

use std::io::IoSlice;

/// The bytes to write at once: their number, and the bytes.
pub(super) fn as_one<'a>(bufs: &'a [IoSlice<'_>], most: usize) -> (usize, impl Iterator<Item = &'a [u8]>) {
    let len = bufs.iter().map(|buf| buf.len()).sum::<usize>().min(most);
    let mut left = len;
    let pieces = bufs.iter().map(move |buf| {
        let piece = &buf[..buf.len().min(left)];
        left -= piece.len();
        piece
    });
    (len, pieces)
}
