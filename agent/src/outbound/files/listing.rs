//! A volume's entries at one moment: names, kinds and stamps, within bounds. Contents are read when they are sent.

use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::hash::{DefaultHasher, Hash, Hasher as _};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use bridge_proto::files::{MAX_DEPTH, MAX_PATH};
use bridge_proto::v1::LeftOutReason as Reason;

/// The number of omitted entries that are named.
const NAMED: usize = 32;
const PERMISSIONS: u32 = 0o777;

/// Limits on a listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Room {
    pub(super) bytes: u64,
    pub(super) entries: u64,
}

#[derive(Debug, Default)]
pub(super) struct Listing {
    /// The volume's path, without links on the way.
    pub(super) place: PathBuf,
    /// A directory comes before its entries.
    pub(super) entries: Vec<Listed>,
    pub(super) left_out: Vec<(PathBuf, Reason)>,
    /// The number of omitted entries beyond the named ones.
    pub(super) more: u64,
}

#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Listed {
    /// The path below the volume; empty for the volume itself.
    pub(super) path: PathBuf,
    pub(super) mode: u32,
    pub(super) kind: Kind,
    stamp: Stamp,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Directory,
    File { size: u64 },
    Link(PathBuf),
}

/// Differs if something was changed.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Stamp {
    inode: u64,
    changed: (i64, i64),
}

impl Listing {
    /// Lists a volume. Other volumes mounted inside it (`borders`) are excluded.
    ///
    /// # Errors
    ///
    /// If there is no such volume. Other problems only cause entries to be omitted.
    pub(super) fn of(volume: &Path, borders: &[PathBuf], room: Room) -> io::Result<Self> {
        let mut listing = Self::default();
        listing.place = match fs::canonicalize(volume) {
            Ok(place) => place,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(error),
            Err(_) => {
                listing.leave_out(volume.to_owned(), Reason::Unreadable);
                return Ok(listing);
            }
        };
        let mut room = room;
        let mut waiting = vec![PathBuf::new()];
        while let Some(path) = waiting.pop() {
            let is_border = !path.as_os_str().is_empty() && borders.contains(&volume.join(&path));
            match listing.look(&path, &mut room) {
                Ok(Some(entry)) if is_border && entry.kind != Kind::Directory => {}
                Ok(Some(entry)) => {
                    if entry.kind == Kind::Directory && !is_border {
                        let most = room.entries.saturating_sub(waiting.len() as u64);
                        listing.wait_for_children(volume, &path, most, &mut waiting);
                    }
                    listing.entries.push(entry);
                }
                // Gone meanwhile: the next listing shows it.
                Ok(None) => {}
                Err(reason) => listing.leave_out(below(volume, &path), reason),
            }
        }
        Ok(listing)
    }

    /// Equal for two listings of a volume if nothing was changed between them.
    pub(super) fn stamp(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (&self.entries, &self.left_out, self.more).hash(&mut hasher);
        hasher.finish()
    }

    pub(super) fn size(&self) -> Room {
        let size = |entry: &Listed| if let Kind::File { size } = entry.kind { size } else { 0 };
        Room { bytes: self.entries.iter().map(size).sum(), entries: self.entries.len() as u64 }
    }

    fn look(&self, path: &Path, room: &mut Room) -> Result<Option<Listed>, Reason> {
        let place = below(&self.place, path);
        let metadata = match fs::symlink_metadata(&place) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            looked => looked.map_err(|_| Reason::Unreadable)?,
        };
        let Some(kind) = kind(&place, &metadata)? else { return Ok(None) };
        if path.components().count() > MAX_DEPTH || path.as_os_str().len() > MAX_PATH {
            return Err(Reason::Depth);
        }
        room.entries = room.entries.checked_sub(1).ok_or(Reason::Entries)?;
        if let Kind::File { size } = kind {
            room.bytes = room.bytes.checked_sub(size).ok_or(Reason::Bytes)?;
        }
        let stamp = Stamp { inode: metadata.ino(), changed: (metadata.ctime(), metadata.ctime_nsec()) };
        Ok(Some(Listed { path: path.to_owned(), mode: metadata.mode() & PERMISSIONS, kind, stamp }))
    }

    /// Puts the entries of a directory, at most this number, on top of the waiting ones, so that the first name is the
    /// next.
    fn wait_for_children(&mut self, volume: &Path, path: &Path, most: u64, waiting: &mut Vec<PathBuf>) {
        let Ok(children) = fs::read_dir(below(&self.place, path)) else {
            return self.leave_out(below(volume, path), Reason::Unreadable);
        };
        // One more than there is room for, which is then reported.
        let most = usize::try_from(most).unwrap_or(usize::MAX).saturating_add(1);
        let mut names: Vec<OsString> = children.take(most).flatten().map(|child| child.file_name()).collect();
        names.sort_unstable_by(|a, b| b.cmp(a));
        waiting.extend(names.iter().map(|name| path.join(name)));
    }

    fn leave_out(&mut self, path: PathBuf, reason: Reason) {
        if self.left_out.len() < NAMED {
            self.left_out.push((path, reason));
        } else {
            self.more += 1;
        }
    }
}

/// `None` if it is gone meanwhile.
fn kind(place: &Path, metadata: &Metadata) -> Result<Option<Kind>, Reason> {
    let kind = metadata.file_type();
    if kind.is_dir() {
        Ok(Some(Kind::Directory))
    } else if kind.is_file() {
        Ok(Some(Kind::File { size: metadata.len() }))
    } else if kind.is_symlink() {
        match fs::read_link(place) {
            Ok(target) if target.as_os_str().as_bytes().len() > MAX_PATH => Err(Reason::Depth),
            Ok(target) => Ok(Some(Kind::Link(target))),
            Err(_) => Ok(None),
        }
    } else {
        Err(Reason::Special)
    }
}

/// As `Path::join`, but without a slash at the end for the volume itself.
pub(super) fn below(volume: &Path, path: &Path) -> PathBuf {
    if path.as_os_str().is_empty() { volume.to_owned() } else { volume.join(path) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use tempfile::TempDir;

    use super::*;

    const ROOM: Room = Room { bytes: 1000, entries: 100 };

    /// A volume as the kubelet writes it.
    fn volume() -> TempDir {
        let volume = tempfile::tempdir().expect("a directory");
        let path = |name: &str| volume.path().join(name);
        fs::create_dir(path("..2026_1")).expect("a directory");
        fs::write(path("..2026_1/token"), "one").expect("a file");
        symlink("..2026_1", path("..data")).expect("a link");
        symlink("..data/token", path("token")).expect("a link");
        volume
    }

    fn list(volume: &TempDir, borders: &[&str], room: Room) -> Listing {
        let borders: Vec<PathBuf> = borders.iter().map(|name| volume.path().join(name)).collect();
        Listing::of(volume.path(), &borders, room).expect("the volume is there")
    }

    fn paths(listing: &Listing) -> Vec<&str> {
        listing.entries.iter().map(|entry| entry.path.to_str().expect("text")).collect()
    }

    fn left_out(listing: &Listing, volume: &TempDir) -> Vec<(String, Reason)> {
        let name = |path: &Path| path.strip_prefix(volume.path()).expect("below").display().to_string();
        listing.left_out.iter().map(|(path, reason)| (name(path), *reason)).collect()
    }

    #[test]
    fn links_are_listed_as_they_are_and_not_followed() {
        let volume = volume();
        symlink("/etc", volume.path().join("out")).expect("a link");
        let listing = list(&volume, &[], ROOM);
        assert_eq!(paths(&listing), ["", "..2026_1", "..2026_1/token", "..data", "out", "token"]);
        assert_eq!(listing.entries[3].kind, Kind::Link("..2026_1".into()));
        assert_eq!(listing.entries[4].kind, Kind::Link("/etc".into()));
        assert_eq!(listing.size(), Room { bytes: 3, entries: 6 });
    }

    #[test]
    fn a_stamp_differs_when_something_was_changed() {
        let volume = volume();
        let before = list(&volume, &[], ROOM).stamp();
        assert_eq!(list(&volume, &[], ROOM).stamp(), before);
        symlink("..2026_2", volume.path().join("..data_tmp")).expect("a link");
        fs::rename(volume.path().join("..data_tmp"), volume.path().join("..data")).expect("renamed");
        assert_ne!(list(&volume, &[], ROOM).stamp(), before);
    }

    #[test]
    fn entries_beyond_the_limits_are_left_out_and_named() {
        let volume = volume();
        fs::write(volume.path().join("big"), [0; 1000]).expect("a file");
        let _socket = UnixListener::bind(volume.path().join("socket")).expect("a socket");
        fs::create_dir_all(volume.path().join(["d"; 33].join("/"))).expect("directories");
        let listing = list(&volume, &[], ROOM);
        let expected = [
            ("big".to_owned(), Reason::Bytes),
            (["d"; 33].join("/"), Reason::Depth),
            ("socket".to_owned(), Reason::Special),
        ];
        assert_eq!(left_out(&listing, &volume), expected);
    }

    #[test]
    fn no_more_is_listed_than_there_is_room_for() {
        let volume = tempfile::tempdir().expect("a directory");
        for number in 0..100 {
            fs::write(volume.path().join(number.to_string()), "").expect("a file");
        }
        let listing = list(&volume, &[], Room { entries: 51, ..ROOM });
        assert_eq!(listing.entries.len(), 51, "the volume itself and fifty");
        assert_eq!(listing.left_out[0].1, Reason::Entries);
    }

    #[test]
    fn volumes_mounted_within_are_excluded() {
        let volume = volume();
        fs::create_dir_all(volume.path().join("inner/there")).expect("directories");
        fs::write(volume.path().join("one"), "").expect("a file");
        let listing = list(&volume, &["inner", "one"], ROOM);
        assert_eq!(paths(&listing), ["", "..2026_1", "..2026_1/token", "..data", "inner", "token"]);
    }

    #[test]
    fn a_volume_may_be_one_file_or_not_there() {
        let volume = volume();
        let token = volume.path().join("token");
        let listing = Listing::of(&token, &[], ROOM).expect("the file is there");
        assert_eq!(paths(&listing), [""]);
        assert_eq!(listing.entries[0].kind, Kind::File { size: 3 });
        assert!(listing.place.ends_with("..2026_1/token"), "links on the way are followed");
        Listing::of(&volume.path().join("nothing"), &[], ROOM).expect_err("nothing is there");
    }
}
