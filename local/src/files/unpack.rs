//! What an agent tells of volumes, made into files. An agent is believed nothing: names stay within their volume, nothing
//! is reached through a link, and no more is taken than was agreed on.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{File, Permissions};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use bridge_os::beneath::{Directory, Name};
use bridge_proto::files::{MAX_BYTES, MAX_DEPTH, MAX_ENTRIES, MAX_PATH};
use bridge_proto::v1::files_reply::Kind;
use bridge_proto::v1::{FileEntry, FilesReply, LeftOut, LeftOutReason, file_entry};

use super::tree::{Names, Tree};

/// The user's own programs must be able to work with what is theirs, whoever else may.
const DIRECTORY_OF_OWNER: u32 = 0o700;
const FILE_OF_OWNER: u32 = 0o400;
const PERMISSIONS: u32 = 0o777;
/// As much of what is left out is remembered.
const MOST_LEFT_OUT: usize = 1000;

/// Why what an agent tells is not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UnpackError {
    #[error("cannot write {path:?}")]
    Write { path: String, source: io::Error },
    #[error("the agent sends {0:?}, which is no path in a volume")]
    Path(String),
    #[error("the agent sends more than {} MiB, or more than {MAX_ENTRIES} files", MAX_BYTES >> 20)]
    TooMuch,
    #[error("the agent sends {0} where none can be")]
    OutOfPlace(&'static str),
}

/// How far the telling is.
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

/// A volume that is not whole yet.
#[derive(Debug)]
struct Arriving {
    volume: Names,
    /// Where it is put together.
    into: Directory,
    /// The file whose content comes, and the permissions that it gets when it is there.
    file: Option<(File, u32)>,
    size: Size,
    room: Size,
    left_out: Vec<LeftOut>,
}

impl Unpack {
    /// In an empty directory of the user's own.
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
            // Something that a newer agent has to say.
            None => {}
        }
        Ok(Heard::More)
    }

    /// Removes what was replaced a while ago; says when there is more to remove.
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
        let (file, size, left_out) = (None, Size::default(), Vec::new());
        self.arriving = Some(Arriving { volume, into, file, size, room, left_out });
        Ok(())
    }

    fn leave_out(&mut self, left_out: LeftOut) {
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
        let path = entry.path.clone();
        self.make(&below, entry).map_err(|source| unwritten(&path, source))
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
                self.file = Some((into.create(name)?, entry.mode | FILE_OF_OWNER));
                Ok(())
            }
        }
    }

    fn write(&mut self, content: &[u8]) -> Result<(), UnpackError> {
        self.size.bytes += content.len() as u64;
        if self.size.bytes > self.room.bytes {
            return Err(UnpackError::TooMuch);
        }
        let (file, _) = self.file.as_mut().ok_or(UnpackError::OutOfPlace("content"))?;
        file.write_all(content).map_err(|source| UnpackError::Write { path: shown(&self.volume), source })
    }

    fn close(&mut self) -> Result<(), UnpackError> {
        let Some((file, mode)) = self.file.take() else { return Ok(()) };
        file.set_permissions(Permissions::from_mode(mode & PERMISSIONS))
            .map_err(|source| UnpackError::Write { path: shown(&self.volume), source })
    }
}

/// The names of a path that leads nowhere but downwards.
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
mod tests {
    use std::fs;

    use bridge_proto::v1::{AllThere, Directory, VolumeBegins, VolumeEnds};
    use bytes::Bytes;
    use tempfile::TempDir;

    use super::*;
    use crate::files::tree::root;

    fn unpack() -> (TempDir, Unpack) {
        let place = tempfile::tempdir().unwrap();
        let unpack = Unpack::into(place.path()).unwrap();
        (place, unpack)
    }

    fn begins(path: &str) -> Kind {
        Kind::Begins(VolumeBegins { path: path.into() })
    }

    fn entry(path: &str, kind: Option<file_entry::Kind>) -> Kind {
        Kind::Entry(FileEntry { path: path.into(), mode: 0o644, kind })
    }

    fn file(path: &str) -> Kind {
        entry(path, None)
    }

    fn directory(path: &str) -> Kind {
        entry(path, Some(file_entry::Kind::Directory(Directory {})))
    }

    fn link(path: &str, target: &str) -> Kind {
        entry(path, Some(file_entry::Kind::Link(target.into())))
    }

    fn content(text: &'static str) -> Kind {
        Kind::Content(Bytes::from_static(text.as_bytes()))
    }

    fn tell(unpack: &mut Unpack, told: Vec<Kind>) -> Result<Heard, UnpackError> {
        let mut heard = Heard::More;
        for kind in told {
            heard = unpack.take(FilesReply { kind: Some(kind) }, Instant::now())?;
        }
        Ok(heard)
    }

    const ENDS: Kind = Kind::Ends(VolumeEnds {});

    #[test]
    fn what_is_told_is_what_is_there() {
        let (place, mut unpack) = unpack();
        let mut told = vec![begins("/etc/shop"), directory(""), directory("..1"), link("..data", "..1")];
        told.extend([file("..1/menu"), content("tea "), content("and cake"), link("menu", "..data/menu")]);
        told.extend([file("empty"), ENDS, begins("/etc/one"), file(""), content("1"), ENDS]);
        told.push(Kind::AllThere(AllThere {}));
        assert_eq!(tell(&mut unpack, told).unwrap(), Heard::AllThere);
        let at = |path: &str| root(place.path()).join(path);
        assert_eq!(fs::read_to_string(at("etc/shop/menu")).unwrap(), "tea and cake");
        assert_eq!(fs::read_link(at("etc/shop/..data")).unwrap(), Path::new("..1"));
        assert_eq!(fs::read_to_string(at("etc/shop/empty")).unwrap(), "");
        assert_eq!(fs::read_to_string(at("etc/one")).unwrap(), "1");
        let mode = |path: &str| fs::metadata(at(path)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode("etc/shop/menu"), mode("etc/shop"), mode("etc")), (0o644, 0o744, 0o700));
        assert!(!unpack.is_empty());
    }

    #[test]
    fn nothing_hostile_is_written() {
        let outside = tempfile::tempdir().unwrap();
        let out = outside.path().to_str().unwrap();
        let volume = |told: Vec<Kind>| {
            let mut all = vec![begins("/v"), directory("")];
            all.extend(told);
            all.push(ENDS);
            all
        };
        let deep = ["d"; 33].join("/");
        for (case, told) in [
            ("upwards", volume(vec![file("../x")])),
            ("upwards within", volume(vec![directory("d"), file("d/../../x")])),
            ("absolute", volume(vec![file(&format!("{out}/x"))])),
            ("no name", volume(vec![file("d//x")])),
            ("itself", volume(vec![file("./x")])),
            ("a NUL", volume(vec![file("x\0y")])),
            ("through a link", volume(vec![link("out", out), file("out/x")])),
            ("in the place of a link", volume(vec![link("x", &format!("{out}/x")), file("x")])),
            ("through links", volume(vec![link("a", "."), link("b", out), file("a/b/x")])),
            ("a directory through a link", volume(vec![link("out", out), directory("out/x")])),
            ("deep", volume(vec![directory(&deep)])),
            ("without a directory", volume(vec![file("d/x")])),
            ("twice", volume(vec![file("x"), file("x")])),
            ("content of nothing", volume(vec![directory("d"), content("x")])),
            ("a volume upwards", vec![begins("/../v"), file("")]),
            ("a relative volume", vec![begins("v"), file("")]),
            ("no volume", vec![begins("/"), file("")]),
            ("a volume that is a link", vec![begins("/v"), link("", out), ENDS]),
            ("an entry of nothing", vec![file("x")]),
            ("an end of nothing", vec![ENDS]),
        ] {
            let (place, mut unpack) = unpack();
            let wrong = tell(&mut unpack, told).expect_err(case);
            assert_eq!(fs::read_dir(root(place.path())).unwrap().count(), 0, "{case}: {wrong}");
            assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0, "{case}: {wrong}");
        }
    }

    #[test]
    fn a_volume_within_what_another_links_to_is_refused() {
        let outside = tempfile::tempdir().unwrap();
        let (_place, mut unpack) = unpack();
        let out = link("out", outside.path().to_str().unwrap());
        tell(&mut unpack, vec![begins("/v"), directory(""), out, ENDS]).unwrap();
        tell(&mut unpack, vec![begins("/v/out/x"), file(""), content("x"), ENDS]).unwrap_err();
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    }

    #[test]
    fn no_more_is_taken_than_agreed_on() {
        let (_place, mut unpack) = unpack();
        let entries = usize::try_from(MAX_ENTRIES).unwrap();
        let many = (1..entries).map(|number| file(&number.to_string()));
        tell(&mut unpack, [begins("/many"), directory("")].into_iter().chain(many).chain([ENDS]).collect())
            .unwrap();
        let one_more = tell(&mut unpack, vec![begins("/v"), directory("")]);
        assert!(matches!(one_more, Err(UnpackError::TooMuch)), "{one_more:?}");
        // The same volume again is not more.
        tell(&mut unpack, vec![begins("/many"), directory(""), ENDS]).unwrap();

        tell(&mut unpack, vec![begins("/large"), file("")]).unwrap();
        let megabyte = Bytes::from(vec![0; 1 << 20]);
        for _ in 0..MAX_BYTES >> 20 {
            tell(&mut unpack, vec![Kind::Content(megabyte.clone())]).unwrap();
        }
        assert!(matches!(tell(&mut unpack, vec![content("x")]), Err(UnpackError::TooMuch)));
    }

    #[test]
    fn what_was_told_of_a_volume_that_begins_again_does_not_count() {
        let (place, mut unpack) = unpack();
        let left_out = |reason: LeftOutReason| {
            Kind::LeftOut(LeftOut { path: b"/v/x".to_vec(), reason: reason.into(), more: 0 })
        };
        let attempt = || vec![begins("/v"), directory(""), file("a"), left_out(LeftOutReason::Special)];
        tell(&mut unpack, attempt()).unwrap();
        tell(&mut unpack, attempt()).unwrap();
        assert!(unpack.is_empty());
        tell(&mut unpack, vec![left_out(LeftOutReason::Changing)]).unwrap();
        assert_eq!(unpack.left_out.len(), 1, "that it does not hold still counts");
        assert!(!root(place.path()).join("v").exists());
    }
}
