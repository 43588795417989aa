//! Pieces that are written together.

use std::io::IoSlice;

/// Of what is written together, what goes as one: how many bytes, and these.
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
