//! Makes files of an agent's messages about volumes. The agent is not trusted: names stay within their volume, nothing
//! is reached through a link, and no more is accepted than was agreed on.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{File, Permissions};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use bridge_os::beneath::{Directory, Name};
use bridge_proto::files::{MAX_BYTES, MAX_DEPTH, MAX_ENTRIES, MAX_NAMES, MAX_PATH};
use bridge_proto::v1::files_reply::Kind;
use bridge_proto::v1::{FileEntry, FilesReply, LeftOut, LeftOutReason, file_entry};

use super::tree::{Names, Tree};

/// The user's own programs must be able to read the user's files, whatever mode they had in the pod.
const DIRECTORY_OF_OWNER: u32 = 0o700;
const FILE_OF_OWNER: u32 = 0o400;
const PERMISSIONS: u32 = 0o777;
/// Limit on the omitted entries to remember.
const MOST_LEFT_OUT: usize = 1000;

/// Why an agent's message is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    #[error("cannot write {path:?}")]
    Write { path: String, source: io::Error },
    #[error("the agent sent {0:?}, which is not a path in a volume")]
    Path(String),
    #[error("the agent sent more than {} MiB, or more than {MAX_ENTRIES} files", MAX_BYTES >> 20)]
    TooMuch,
    #[error("the agent sent {0} where none is allowed")]
    OutOfPlace(&'static str),
}

/// The progress of the stream.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard {
    More,
    AllThere,
}

#[derive(Debug)]
pub(super) struct Unpack {
    tree: Tree,
    arriving: Option<Arriving>,
    sizes: BTreeMap<Names, Size>,
    pub(super) left_out: Vec<LeftOut>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Size {
    bytes: u64,
    entries: u64,
}

/// A volume that is still arriving.
#[derive(Debug)]
struct Arriving {
    volume: Names,
    /// The directory in which it is put together.
    into: Directory,
    content: Content,
    size: Size,
    room: Size,
    left_out: Vec<LeftOut>,
}

/// The destination of arriving content.
#[derive(Debug)]
enum Content {
    Unexpected,
    /// For an omitted file.
    Dropped,
    /// For this file, with the permissions that it gets at the end.
    Of(File, u32),
}

impl Unpack {
    /// In an empty directory that the user owns.
    pub(super) fn into(place: &Path) -> io::Result<Self> {
        Ok(Self { tree: Tree::make(place)?, arriving: None, sizes: BTreeMap::new(), left_out: Vec::new() })
    }

    /// Whether there are no volumes.
    pub(super) fn is_empty(&self) -> bool {
        self.sizes.is_empty() && self.left_out.is_empty()
    }

    /// Their absolute paths.
    pub(super) fn volumes(&self) -> Vec<PathBuf> {
        let path = |names: &Names| {
            let mut path = PathBuf::from("/");
            path.extend(names.iter().map(Name::as_os_str));
            path
        };
        self.sizes.keys().map(path).collect()
    }

    pub(super) fn take(&mut self, reply: FilesReply, now: Instant) -> Result<Heard, UnpackError> {
        match reply.kind {
            Some(Kind::Begins(begins)) => self.begin(&begins.path)?,
            Some(Kind::Entry(entry)) => self.arriving("a file")?.enter(entry)?,
            Some(Kind::Content(content)) => self.arriving("content")?.write(&content)?,
            Some(Kind::LeftOut(left_out)) => self.leave_out(left_out),
            Some(Kind::Ends(_)) => self.end(now)?,
            Some(Kind::AllThere(_)) => return Ok(Heard::AllThere),
            // A message that only a newer agent knows.
            None => {}
        }
        Ok(Heard::More)
    }

    /// Removes old directories that were replaced a while ago; returns when there is more to remove.
    pub(super) fn sweep(&mut self, now: Instant) -> Result<Option<Instant>, UnpackError> {
        self.tree
            .sweep(now)
            .map_err(|source| UnpackError::Write { path: "what was replaced".to_owned(), source })
    }

    fn arriving(&mut self, what: &'static str) -> Result<&mut Arriving, UnpackError> {
        self.arriving.as_mut().ok_or(UnpackError::OutOfPlace(what))
    }

    fn begin(&mut self, path: &[u8]) -> Result<(), UnpackError> {
        let named = path.strip_prefix(b"/").ok_or_else(|| UnpackError::Path(text(path)))?;
        let volume = names(named)?;
        let others = self.sizes.iter().filter(|(other, _)| **other != volume);
        let used = others.fold(Size::default(), |used, (_, size)| Size {
            bytes: used.bytes + size.bytes,
            entries: used.entries + size.entries,
        });
        let room = Size {
            bytes: MAX_BYTES.saturating_sub(used.bytes),
            entries: MAX_ENTRIES.saturating_sub(used.entries),
        };
        let into = self.tree.incoming().and_then(Directory::try_clone).map_err(|e| unwritten(path, e))?;
        let parents = self.sizes.keys().filter(|other| **other != volume).map(Vec::len).sum::<usize>();
        if parents + volume.len() > MAX_NAMES {
            return Err(UnpackError::TooMuch);
        }
        let (content, size, left_out) = (Content::Unexpected, Size::default(), Vec::new());
        self.arriving = Some(Arriving { volume, into, content, size, room, left_out });
        Ok(())
    }

    fn leave_out(&mut self, mut left_out: LeftOut) {
        left_out.path.truncate(MAX_PATH);
        let list = match &mut self.arriving {
            Some(arriving) if left_out.reason() != LeftOutReason::Changing => &mut arriving.left_out,
            _ => &mut self.left_out,
        };
        if list.len() < MOST_LEFT_OUT {
            list.push(left_out);
        }
    }

    fn end(&mut self, now: Instant) -> Result<(), UnpackError> {
        let mut arriving = self.arriving.take().ok_or(UnpackError::OutOfPlace("an end"))?;
        arriving.close()?;
        let Arriving { volume, size, left_out, .. } = arriving;
        self.tree
            .install(&volume, now)
            .map_err(|source| UnpackError::Write { path: shown(&volume), source })?;
        self.sizes.insert(volume, size);
        self.left_out.extend(left_out);
        self.left_out.truncate(MOST_LEFT_OUT);
        Ok(())
    }
}

impl Arriving {
    fn enter(&mut self, entry: FileEntry) -> Result<(), UnpackError> {
        self.close()?;
        self.size.entries += 1;
        if self.size.entries > self.room.entries {
            return Err(UnpackError::TooMuch);
        }
        let below = if entry.path.is_empty() { Names::new() } else { names(&entry.path)? };
        if below.is_empty() && matches!(entry.kind, Some(file_entry::Kind::Link(_))) {
            return Err(UnpackError::OutOfPlace("a link"));
        }
        if let Some(reason) = refusal(&below, entry.kind.as_ref()) {
            self.leave_out(&below, reason);
            if entry.kind.is_none() {
                self.content = Content::Dropped;
            }
            return Ok(());
        }
        let path = entry.path.clone();
        self.make(&below, entry).map_err(|source| unwritten(&path, source))
    }

    fn leave_out(&mut self, below: &[Name], reason: LeftOutReason) {
        if self.left_out.len() < MOST_LEFT_OUT {
            let path = [&shown(&self.volume), &*shown(below)].concat().into_bytes();
            self.left_out.push(LeftOut { path, reason: reason.into(), more: 0 });
        }
    }

    fn make(&mut self, below: &[Name], entry: FileEntry) -> io::Result<()> {
        let mut names = self.volume.last().into_iter().chain(below);
        let Some(name) = names.next_back() else { return Ok(()) };
        let mut into = self.into.try_clone()?;
        for parent in names {
            into = into.child(parent)?;
        }
        match entry.kind {
            Some(file_entry::Kind::Directory(_)) => {
                into.make(name)?.set_mode(entry.mode | DIRECTORY_OF_OWNER)
            }
            Some(file_entry::Kind::Link(target)) => into.link(name, OsStr::from_bytes(&target)),
            None => {
                self.content = Content::Of(into.create(name)?, entry.mode | FILE_OF_OWNER);
                Ok(())
            }
        }
    }

    fn write(&mut self, content: &[u8]) -> Result<(), UnpackError> {
        self.size.bytes += content.len() as u64;
        if self.size.bytes > self.room.bytes {
            return Err(UnpackError::TooMuch);
        }
        let file = match &mut self.content {
            Content::Of(file, _) => file,
            Content::Dropped => return Ok(()),
            Content::Unexpected => return Err(UnpackError::OutOfPlace("content")),
        };
        file.write_all(content).map_err(|source| UnpackError::Write { path: shown(&self.volume), source })
    }

    fn close(&mut self) -> Result<(), UnpackError> {
        let Content::Of(file, mode) = std::mem::replace(&mut self.content, Content::Unexpected) else {
            return Ok(());
        };
        file.set_permissions(Permissions::from_mode(mode & PERMISSIONS))
            .map_err(|source| UnpackError::Write { path: shown(&self.volume), source })
    }
}

/// Why this entry is not created, whatever else is.
fn refusal(below: &[Name], kind: Option<&file_entry::Kind>) -> Option<LeftOutReason> {
    let is_steering = |name: &Name| String::from_utf8_lossy(name.as_bytes()).chars().any(char::is_control);
    if below.iter().any(is_steering) {
        return Some(LeftOutReason::Name);
    }
    match kind {
        Some(file_entry::Kind::Link(target)) if !stays_within(below.len().saturating_sub(1), target) => {
            Some(LeftOutReason::Link)
        }
        _ => None,
    }
}

/// Whether a link in a directory at this depth of its volume stays within it, whatever other links there are. `..` is
/// accepted only at the beginning: there it leads through directories, and after a name it may lead from a link.
fn stays_within(depth: usize, target: &[u8]) -> bool {
    let mut names = target.split(|byte| *byte == b'/').filter(|name| !matches!(name, [] | [b'.'])).peekable();
    let mut ups = 0;
    while names.next_if_eq(&&b".."[..]).is_some() {
        ups += 1;
    }
    !target.starts_with(b"/") && ups <= depth && names.all(|name| name != b"..")
}

/// The names of a path that leads only downwards.
fn names(path: &[u8]) -> Result<Names, UnpackError> {
    let wrong = || UnpackError::Path(text(path));
    let names: Names =
        path.split(|byte| *byte == b'/').map(Name::new).collect::<Option<_>>().ok_or_else(wrong)?;
    if names.len() > MAX_DEPTH || path.len() > MAX_PATH { Err(wrong()) } else { Ok(names) }
}

fn unwritten(path: &[u8], source: io::Error) -> UnpackError {
    UnpackError::Write { path: text(path), source }
}

fn text(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

fn shown(names: &[Name]) -> String {
    names.iter().map(|name| format!("/{}", name.as_os_str().display())).collect()
}

#[cfg(test)]
mod tests;
