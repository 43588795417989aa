//! A directory of one command, in the runtime directory: removed with the command, or, if that was killed, before the
//! next one. A lock shows whether its command lives, as process ids are reused.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

const PREFIX: &str = "run-";
/// The number of names to try; one is in use if another command has the same process id, in a container of its own.
const ATTEMPTS: u32 = 16;

#[derive(Debug)]
pub(super) struct Private {
    path: PathBuf,
    /// Locked as long as the command lives.
    _lock: File,
}

impl Private {
    /// In the runtime directory, which is the user's own.
    pub(super) fn make(runtime: &Path) -> io::Result<Self> {
        // Directories that cannot be removed now are left to the next command.
        let _ = sweep(runtime);
        for attempt in 0..ATTEMPTS {
            let path = runtime.join(format!("{PREFIX}{}-{attempt}", std::process::id()));
            match DirBuilder::new().mode(0o700).create(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                made => made?,
            }
            // Before it is locked, the sweep of another command may remove it.
            if let Some(lock) = locked(&path)? {
                return Ok(Private { path, _lock: lock });
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Private {
    fn drop(&mut self) {
        // The rest is removed before the next command.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// The lock of a directory that is unused, or that was just created; `None` if it is in use or gone.
fn locked(path: &Path) -> io::Result<Option<File>> {
    let directory = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    match directory.try_lock() {
        Ok(()) => {}
        Err(fs::TryLockError::WouldBlock) => return Ok(None),
        Err(fs::TryLockError::Error(error)) => return Err(error),
    }
    let mine = directory.metadata()?;
    let is_there =
        fs::symlink_metadata(path).is_ok_and(|there| there.ino() == mine.ino() && there.dev() == mine.dev());
    Ok(is_there.then_some(directory))
}

/// Removes the directories of killed commands.
fn sweep(runtime: &Path) -> io::Result<()> {
    for entry in fs::read_dir(runtime)? {
        let entry = entry?;
        let is_one = entry.file_name().to_string_lossy().starts_with(PREFIX) && entry.file_type()?.is_dir();
        if is_one && let Some(_lock) = locked(&entry.path())? {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_private_and_goes_with_its_command() {
        let runtime = tempfile::tempdir().unwrap();
        let private = Private::make(runtime.path()).unwrap();
        assert_eq!(fs::metadata(private.path()).unwrap().mode() & 0o777, 0o700);
        let path = private.path().to_owned();
        fs::create_dir(path.join("d")).unwrap();
        drop(private);
        assert!(!path.exists());
    }

    #[test]
    fn a_killed_command_s_directory_goes_and_one_in_use_stays() {
        let runtime = tempfile::tempdir().unwrap();
        let left = runtime.path().join("run-1-0");
        fs::create_dir(&left).unwrap();
        fs::write(left.join("token"), "secret").unwrap();
        fs::write(runtime.path().join("run-file"), "").unwrap();
        let lives = Private::make(runtime.path()).unwrap();
        let other = Private::make(runtime.path()).unwrap();
        assert!(!left.exists() && lives.path().exists() && other.path().exists());
        assert_ne!(lives.path(), other.path());
        assert!(runtime.path().join("run-file").exists());
    }
}
