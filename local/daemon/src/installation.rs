//! The name of this laptop in claims: random, created once, kept in the user's state directory.

use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Why there is no name.
#[derive(Debug, thiserror::Error)]
pub enum InstallationError {
    #[error("neither XDG_STATE_HOME nor HOME is set")]
    NoHome,
    #[error("cannot use {}", path.display())]
    File { path: PathBuf, source: io::Error },
}

/// Returns the name of this installation; the first call creates it.
///
/// # Errors
///
/// [`InstallationError`] if the state directory cannot be used.
pub fn name() -> Result<String, InstallationError> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = absolute("XDG_STATE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local/state")))
        .ok_or(InstallationError::NoHome)?;
    read_or_make(&state.join("bridge"))
}

fn read_or_make(directory: &Path) -> Result<String, InstallationError> {
    let path = directory.join("installation");
    let failed = |source| InstallationError::File { path: path.clone(), source };
    match std::fs::read_to_string(&path) {
        Ok(text) if is_name(text.trim()) => return Ok(text.trim().to_owned()),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    std::fs::create_dir_all(directory).map_err(failed)?;
    let name = format!("{:016x}", rand::random::<u64>());
    // Written to a temporary file and renamed, so that two concurrent calls end with one whole name.
    let beside = directory.join(format!("installation.{}", std::process::id()));
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&beside)
        .map_err(failed)?;
    writeln!(file, "{name}").map_err(failed)?;
    std::fs::rename(&beside, &path).map_err(failed)?;
    Ok(name)
}

fn is_name(text: &str) -> bool {
    text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_is_made_once_and_again_if_it_is_invalid() {
        let home = tempfile::tempdir().expect("a directory");
        let directory = home.path().join("bridge");
        let first = read_or_make(&directory).expect("made");
        assert_eq!(read_or_make(&directory).expect("read"), first);
        std::fs::write(directory.join("installation"), "garbage").expect("written");
        let second = read_or_make(&directory).expect("made again");
        assert!(is_name(&second) && second != first);
    }
}
