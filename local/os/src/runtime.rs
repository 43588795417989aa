//! The user's own directory with the daemon's socket, locks and log.
//!
//! `$XDG_RUNTIME_DIR/bridge`, or `/tmp/bridge-UID` if that variable is not set (as under `su` or in a container).
//! Anyone who can put a socket there can pretend to be the daemon and receive credentials: so the directory is 0700,
//! ours, and no symbolic link.

use std::{
    ffi::OsStr,
    fs, io,
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
};

/// Why no safe directory was found.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    #[error("cannot use the runtime directory {}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("the runtime directory {} is not a directory", path.display())]
    NotADirectory { path: PathBuf },
    #[error("the runtime directory {} belongs to user {owner}, not to user {user}", path.display())]
    NotOurs { path: PathBuf, owner: u32, user: u32 },
    #[error("the runtime directory {} is accessible to others (mode {mode:03o})", path.display())]
    Open { path: PathBuf, mode: u32 },
    #[error("XDG_RUNTIME_DIR is {}, which is not an absolute path", path.display())]
    Relative { path: PathBuf },
}

/// Finds or makes the directory.
pub fn directory() -> Result<PathBuf, RuntimeError> {
    let user = crate::peer::own_uid();
    directory_from(std::env::var_os("XDG_RUNTIME_DIR").as_deref(), Path::new("/tmp"), user)
}

fn directory_from(xdg: Option<&OsStr>, temporary: &Path, user: u32) -> Result<PathBuf, RuntimeError> {
    let path = match xdg.filter(|value| !value.is_empty()).map(Path::new) {
        Some(parent) if parent.is_relative() => {
            return Err(RuntimeError::Relative { path: parent.to_owned() });
        }
        Some(parent) => {
            // Anyone who may write to the parent could replace our directory with theirs.
            check(parent, user, 0o022, |path| fs::metadata(path))?;
            parent.join("bridge")
        }
        None => temporary.join(format!("bridge-{user}")),
    };
    match fs::DirBuilder::new().mode(0o700).create(&path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(source) => return Err(RuntimeError::Io { path, source }),
    }
    check(&path, user, 0o077, |path| fs::symlink_metadata(path))?;
    Ok(path)
}

/// `metadata` follows links or does not; `others` are the permission bits that must not be set.
fn check(
    path: &Path,
    user: u32,
    others: u32,
    metadata: impl Fn(&Path) -> io::Result<fs::Metadata>,
) -> Result<(), RuntimeError> {
    let path = path.to_owned();
    let metadata = match metadata(&path) {
        Ok(metadata) => metadata,
        Err(source) => return Err(RuntimeError::Io { path, source }),
    };
    if !metadata.is_dir() {
        Err(RuntimeError::NotADirectory { path })
    } else if metadata.uid() != user {
        Err(RuntimeError::NotOurs { path, owner: metadata.uid(), user })
    } else if metadata.mode() & others != 0 {
        Err(RuntimeError::Open { path, mode: metadata.mode() & 0o777 })
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;
    use crate::peer::own_uid;

    fn xdg(path: &Path) -> Result<PathBuf, RuntimeError> {
        directory_from(Some(path.as_os_str()), Path::new("/nowhere"), own_uid())
    }

    #[test]
    fn it_is_under_the_runtime_directory_and_private() {
        let parent = tempfile::tempdir().unwrap();
        let path = xdg(parent.path()).unwrap();
        assert_eq!(path, parent.path().join("bridge"));
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
        assert_eq!(xdg(parent.path()).unwrap(), path, "a second call finds the same");
    }

    #[test]
    fn without_one_it_is_the_user_s_own_under_tmp() {
        let tmp = tempfile::tempdir().unwrap();
        for unset in [None, Some(OsStr::new(""))] {
            let path = directory_from(unset, tmp.path(), own_uid()).unwrap();
            assert_eq!(path, tmp.path().join(format!("bridge-{}", own_uid())));
        }
    }

    #[test]
    fn a_directory_that_others_could_have_created_is_refused() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("bridge");

        fs::create_dir(parent.path().join("elsewhere")).unwrap();
        symlink("elsewhere", &path).unwrap();
        assert!(matches!(xdg(parent.path()), Err(RuntimeError::NotADirectory { .. })));
        fs::remove_file(&path).unwrap();

        fs::write(&path, "").unwrap();
        assert!(matches!(xdg(parent.path()), Err(RuntimeError::NotADirectory { .. })));
        fs::remove_file(&path).unwrap();

        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o750)).unwrap();
        assert!(matches!(xdg(parent.path()), Err(RuntimeError::Open { mode: 0o750, .. })));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();

        let another = own_uid() + 1;
        let result = directory_from(Some(parent.path().as_os_str()), Path::new("/nowhere"), another);
        assert!(matches!(result, Err(RuntimeError::NotOurs { .. })));
    }

    #[test]
    fn a_wrong_variable_is_named() {
        assert!(matches!(xdg(Path::new("run")), Err(RuntimeError::Relative { .. })));
        assert!(matches!(xdg(Path::new("/does/not/exist")), Err(RuntimeError::Io { .. })));
    }
}
