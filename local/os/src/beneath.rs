//! A directory and everything beneath it, reached name by name and never through a symbolic link: for trees that come
//! from others.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

/// NAME_MAX of existing file systems.
const LONGEST: usize = 255;
const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// One name in a directory: neither empty nor `.` nor `..`, and without a slash or a NUL.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(OsString);

impl Name {
    /// `None` if it is no such name.
    pub fn new(name: &[u8]) -> Option<Self> {
        let plain = !matches!(name, b"" | b"." | b"..")
            && name.len() <= LONGEST
            && name.iter().all(|byte| !matches!(byte, b'/' | 0));
        plain.then(|| Name(OsStr::from_bytes(name).to_owned()))
    }

    pub fn as_os_str(&self) -> &OsStr {
        &self.0
    }

    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// An open directory. Operations act on it, wherever it is moved.
#[derive(Debug)]
pub struct Directory(OwnedFd);

impl Directory {
    /// Only its last name must not be a link.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Directory(rustix::fs::openat(CWD, path, DIRECTORY, Mode::empty())?))
    }

    pub fn child(&self, name: &Name) -> io::Result<Self> {
        Ok(Directory(rustix::fs::openat(&self.0, &name.0, DIRECTORY, Mode::empty())?))
    }

    /// Creates a directory that belongs to the user, and that no other may enter.
    pub fn make(&self, name: &Name) -> io::Result<Self> {
        rustix::fs::mkdirat(&self.0, &name.0, Mode::RWXU)?;
        self.child(name)
    }

    /// Creates a file that belongs to the user, for writing.
    pub fn create(&self, name: &Name) -> io::Result<File> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(&self.0, &name.0, flags, Mode::RUSR | Mode::WUSR)?.into())
    }

    /// Creates a symbolic link, whatever its target.
    pub fn link(&self, name: &Name, target: &OsStr) -> io::Result<()> {
        Ok(rustix::fs::symlinkat(target, &self.0, &name.0)?)
    }

    /// Whether there is a directory of that name; `None` if nothing has the name.
    pub fn has_directory(&self, name: &Name) -> io::Result<Option<bool>> {
        match rustix::fs::statat(&self.0, &name.0, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) => Ok(Some(FileType::from_raw_mode(found.st_mode) == FileType::Directory)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Moves an entry to another directory; a file or link of that name there is replaced in one step.
    pub fn rename(&self, name: &Name, to: &Directory) -> io::Result<()> {
        Ok(rustix::fs::renameat(&self.0, &name.0, &to.0, &name.0)?)
    }

    /// Removes a file or a link.
    pub fn unlink(&self, name: &Name) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.0, &name.0, AtFlags::empty())?)
    }

    /// The names in it, in no particular order.
    pub fn names(&self) -> io::Result<Vec<Name>> {
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.0)? {
            names.extend(Name::new(entry?.file_name().to_bytes()));
        }
        Ok(names)
    }

    /// The permission bits.
    pub fn mode(&self) -> io::Result<u32> {
        Ok(Mode::from_raw_mode(rustix::fs::fstat(&self.0)?.st_mode).as_raw_mode() & 0o777)
    }

    pub fn set_mode(&self, mode: u32) -> io::Result<()> {
        Ok(rustix::fs::fchmod(&self.0, Mode::from_raw_mode(mode & 0o777))?)
    }

    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Directory(self.0.try_clone()?))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn name(text: &str) -> Name {
        Name::new(text.as_bytes()).unwrap()
    }

    #[test]
    fn names_stay_where_they_are() {
        for (text, good) in [
            ("token", true),
            ("..data", true),
            ("...", true),
            (".", false),
            ("..", false),
            ("", false),
            ("a/b", false),
            ("/", false),
            ("a\0", false),
        ] {
            assert_eq!(Name::new(text.as_bytes()).is_some(), good, "{text:?}");
        }
        assert!(Name::new(&[b'a'; 255]).is_some() && Name::new(&[b'a'; 256]).is_none());
        assert!(Name::new(b"\xff").is_some(), "names need not be text");
    }

    #[test]
    fn no_way_leads_through_a_link() {
        let there = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        symlink(outside.path(), there.path().join("out")).unwrap();
        symlink(outside.path().join("file"), there.path().join("file")).unwrap();
        let directory = Directory::open(there.path()).unwrap();
        assert!(directory.child(&name("out")).is_err());
        assert!(directory.make(&name("out")).is_err());
        assert!(directory.create(&name("file")).is_err());
        assert_eq!(directory.has_directory(&name("out")).unwrap(), Some(false));
        assert_eq!(directory.has_directory(&name("none")).unwrap(), None);
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
        assert!(Directory::open(&there.path().join("out")).is_err());
    }

    #[test]
    fn new_files_are_only_the_user_s_until_their_mode_is_changed() {
        let there = tempfile::tempdir().unwrap();
        let directory = Directory::open(there.path()).unwrap();
        let made = directory.make(&name("made")).unwrap();
        assert_eq!(made.mode().unwrap(), 0o700);
        made.set_mode(0o4755).unwrap();
        assert_eq!(made.mode().unwrap(), 0o755, "and never set-user-id");
        directory.create(&name("file")).unwrap();
        assert_eq!(directory.names().unwrap().len(), 2);
    }
}
