//! Reads the part files one after another as one stream of bytes.

use alloc::{boxed::Box, vec, vec::Vec};
use core::ffi::CStr;

use rustix::{
    fd::OwnedFd,
    fs::{self, Mode, OFlags},
    io::{self, Errno},
};
use ruzstd::io::{Error, ErrorKind, Read};

pub(crate) struct Parts<'n, 'a> {
    names: core::slice::Iter<'n, &'a CStr>,
    open: Option<(&'a CStr, OwnedFd)>,
    // The decoder asks for a few bytes at a time.
    buffer: Box<[u8]>,
    filled: core::ops::Range<usize>,
    failed: Option<(&'a CStr, Errno)>,
}

impl<'n, 'a> Parts<'n, 'a> {
    pub(crate) fn new(names: &'n [&'a CStr]) -> Self {
        let buffer: Vec<u8> = vec![0; 64 << 10];
        Parts {
            names: names.iter(),
            open: None,
            buffer: buffer.into_boxed_slice(),
            filled: 0..0,
            failed: None,
        }
    }

    /// The part that could not be read, and the reason: the decoder's error has neither.
    pub(crate) fn failed(&self) -> Option<(&'a CStr, Errno)> {
        self.failed
    }

    /// Fills the buffer; an empty buffer afterwards means that all parts have ended.
    fn fill(&mut self) -> Result<(), (&'a CStr, Errno)> {
        loop {
            let (name, file) = match (&self.open, self.names.as_slice().first()) {
                (Some((name, file)), _) => (*name, file),
                (None, None) => return Ok(()),
                (None, Some(name)) => {
                    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
                    let file = fs::open(*name, flags, Mode::empty()).map_err(|errno| (*name, errno))?;
                    self.names.next();
                    let (name, file) = self.open.insert((name, file));
                    (*name, &*file)
                }
            };
            match io::read(file, &mut self.buffer[..]) {
                Ok(0) => self.open = None,
                Ok(size) => {
                    self.filled = 0..size;
                    return Ok(());
                }
                Err(Errno::INTR) => {}
                Err(errno) => return Err((name, errno)),
            }
        }
    }
}

impl Read for Parts<'_, '_> {
    fn read(&mut self, into: &mut [u8]) -> Result<usize, Error> {
        if self.filled.is_empty()
            && let Err(failed) = self.fill()
        {
            self.failed = Some(failed);
            return Err(Error::from(ErrorKind::Other));
        }
        let size = self.filled.len().min(into.len());
        into[..size].copy_from_slice(&self.buffer[self.filled.start..][..size]);
        self.filled.start += size;
        Ok(size)
    }
}
