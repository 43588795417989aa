//! Unpacks the agent in its pod and becomes it: `loader [--listen PORT] PART… TO -- ARG…`.
//!
//! In: the agent's program, compressed by zstd and cut into PARTs (ConfigMaps hold at most 1 MiB). Out: the program at
//! TO, in a volume of the pod, executed with the ARGs and the environment. If the pod may not write or execute there,
//! it runs from memory (memfd); that is not the first choice, as security monitors take it for an attack. With
//! `--listen`, the agent finds PORT listening as its standard input (see `listen`). A failure is one line on stderr and
//! exit code 1.
#![no_std]
#![no_main]

extern crate alloc;

mod entry;
mod listen;
mod memory;
mod parts;
mod process;

use alloc::{ffi::CString, vec, vec::Vec};
use core::ffi::CStr;

use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    fs::{self, MemfdFlags, Mode, OFlags},
    io::{self, Errno},
};
use ruzstd::{decoding::StreamingDecoder, io::Read};

use crate::{
    entry::{Arguments, Text, say},
    parts::Parts,
};

/// The window that `bridge` compresses with is 8 MiB at most; a larger one is not from bridge.
const MAX_WINDOW: u64 = 8 << 20;

/// The failure, and its file.
struct Failure<'a> {
    what: &'static str,
    file: &'a CStr,
    errno: Option<Errno>,
}

impl Failure<'_> {
    fn say(&self) {
        say(&[
            Text::Str("bridge loader: "),
            Text::Str(self.what),
            Text::Str(" "),
            Text::C(self.file),
            self.errno.map_or(Text::Str(""), |_| Text::Str(": errno ")),
            self.errno.map_or(Text::Str(""), |errno| Text::Number(errno.raw_os_error().unsigned_abs())),
            Text::Str("\n"),
        ]);
    }
}

/// Returns only if the agent cannot be started, with the exit code.
fn run(arguments: &Arguments) -> i32 {
    process::hold_sigterm();
    let mut all: Vec<&CStr> = arguments.all().skip(1).collect();
    if all.first().is_some_and(|argument| argument.to_bytes() == b"--listen") {
        let Some(port) = all.get(1).and_then(|text| text.to_str().ok()?.parse().ok()) else { return usage() };
        // Without it, the agent listens itself, and reports what is wrong with the port.
        let _ = listen::on_stdin(port);
        all.drain(..2);
    }
    let split = all.iter().position(|argument| argument.to_bytes() == b"--");
    let Some((names, rest)) = split.map(|at| (&all[..at], &all[at + 1..])) else { return usage() };
    let Some((to, parts)) = names.split_last().filter(|(_, parts)| !parts.is_empty()) else { return usage() };

    let mut argv: Vec<*const u8> = vec![to.as_ptr().cast()];
    argv.extend(rest.iter().map(|argument| argument.as_ptr().cast::<u8>()));
    argv.push(core::ptr::null());

    let on_disk = to_file(parts, to).map(|()| Failure {
        what: "cannot execute",
        file: to,
        // SAFETY: `argv` is a null-terminated array of C strings, and so is the environment the kernel gave us.
        errno: Some(unsafe { process::execve(to, argv.as_ptr(), arguments.environment()) }),
    });
    let (Ok(failure) | Err(failure)) = on_disk;
    let in_memory = match failure.errno {
        Some(errno) if is_forbidden(errno) => to_memory(parts, to).map(|file| Failure {
            what: "cannot write or execute at, nor execute from memory,",
            file: to,
            // SAFETY: as above.
            errno: Some(unsafe { process::fexecve(file.as_fd(), argv.as_ptr(), arguments.environment()) }),
        }),
        _ => Err(failure),
    };
    let (Ok(failure) | Err(failure)) = in_memory;
    failure.say();
    1
}

fn usage() -> i32 {
    say(&[Text::Str("bridge loader: usage: loader [--listen PORT] PART... TO -- ARG...\n")]);
    1
}

/// Whether the place is at fault (read-only, noexec, full, guarded) and memory may work.
fn is_forbidden(errno: Errno) -> bool {
    matches!(errno, Errno::ROFS | Errno::ACCESS | Errno::PERM | Errno::NOSPC | Errno::DQUOT)
}

/// Writes the program under a temporary name and renames it, so that TO is never half a program. The file of an earlier
/// start of the container is replaced: it may be incomplete.
fn to_file<'a>(parts: &[&'a CStr], to: &'a CStr) -> Result<(), Failure<'a>> {
    let mut name = Vec::from(to.to_bytes());
    name.extend_from_slice(b".new\0");
    // SAFETY: `name` ends with its only NUL: what comes before it are the bytes of a C string.
    let temporary = unsafe { CString::from_vec_with_nul_unchecked(name) };
    let failed = |what| move |errno| Failure { what, file: to, errno: Some(errno) };

    // An earlier start may have died before it renamed; its file has mode 0555, which only root could open for writing.
    let _ = fs::unlink(temporary.as_c_str());
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let file =
        fs::open(temporary.as_c_str(), flags, Mode::from_raw_mode(0o700)).map_err(failed("cannot create"))?;
    let written = unpack(parts, file.as_fd(), to).and_then(|()| {
        fs::fchmod(&file, Mode::from_raw_mode(0o555)).map_err(failed("cannot set the mode of"))
    });
    // Closed before it is executed: a program that is open for writing is busy (ETXTBSY).
    drop(file);
    let done = written
        .and_then(|()| fs::rename(temporary.as_c_str(), to).map_err(failed("cannot rename the program to")));
    if done.is_err() {
        let _ = fs::unlink(temporary.as_c_str());
    }
    done
}

fn to_memory<'a>(parts: &[&'a CStr], to: &'a CStr) -> Result<OwnedFd, Failure<'a>> {
    // Since Linux 6.3 a memory file that will be executed should say so; older ones do not know the flag.
    let file = fs::memfd_create(c"bridge-agent", MemfdFlags::CLOEXEC | MemfdFlags::EXEC)
        .or_else(|_| fs::memfd_create(c"bridge-agent", MemfdFlags::CLOEXEC))
        .map_err(|errno| Failure {
            what: "cannot write or execute at, nor create in memory,",
            file: to,
            errno: Some(errno),
        })?;
    unpack(parts, file.as_fd(), to)?;
    Ok(file)
}

/// Decompresses the parts, in their order, into `file`, and checks the checksum.
fn unpack<'a>(parts: &[&'a CStr], file: BorrowedFd<'_>, to: &'a CStr) -> Result<(), Failure<'a>> {
    let first = parts[0];
    let damaged =
        Failure { what: "this is not the compressed agent, whole and in order:", file: first, errno: None };
    let mut source = Parts::new(parts);
    let mut buffer = vec![0; 64 << 10];
    let decoded = (|| {
        let mut decoder =
            StreamingDecoder::new_with_max_window_size(&mut source, MAX_WINDOW).map_err(|_| None)?;
        loop {
            match decoder.read(&mut buffer).map_err(|_| None)? {
                0 => break,
                size => write_all(file, &buffer[..size]).map_err(Some)?,
            }
        }
        let sums = (decoder.decoder.get_checksum_from_data(), decoder.decoder.get_calculated_checksum());
        let ended = decoder.get_mut().read(&mut buffer[..1]).map_err(|_| None)? == 0;
        if ended && sums.0.is_some() && sums.0 == sums.1 { Ok(()) } else { Err(None) }
    })();
    match (decoded, source.failed()) {
        (Ok(()), _) => Ok(()),
        (Err(Some(errno)), _) => Err(Failure { what: "cannot write", file: to, errno: Some(errno) }),
        (Err(None), Some((part, errno))) => {
            Err(Failure { what: "cannot read", file: part, errno: Some(errno) })
        }
        (Err(None), None) => Err(damaged),
    }
}

fn write_all(file: BorrowedFd<'_>, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match io::write(file, bytes) {
            Ok(size) => bytes = &bytes[size..],
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}
