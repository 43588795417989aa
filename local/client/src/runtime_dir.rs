//! The runtime directory: the daemon's sockets, locks and log.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bridge_os::runtime;
use bridge_proto::v1::failure::Cause;

use crate::error::{ClientError, chain};

/// An old daemon may still be ending.
pub(crate) const START: Duration = Duration::from_secs(15);
/// The time between two looks at what another process has: a lock, or a socket.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The files of the runtime directory.
#[derive(Debug, Clone)]
pub struct RuntimeDir {
    directory: PathBuf,
}

impl RuntimeDir {
    /// Finds or makes the directory.
    ///
    /// # Errors
    ///
    /// If no safe directory can be found.
    pub fn find() -> Result<Self, ClientError> {
        let directory = runtime::directory().map_err(|error| {
            let advice = "set XDG_RUNTIME_DIR to a directory that you own, with mode 0700, or unset it";
            ClientError::new(Cause::Internal, chain(&error), advice)
        })?;
        Ok(RuntimeDir { directory })
    }

    #[cfg(test)]
    pub(crate) fn at(directory: &Path) -> Self {
        RuntimeDir { directory: directory.to_owned() }
    }

    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.directory.join("daemon.sock")
    }

    /// The socket for connections into the cluster.
    #[must_use]
    pub fn streams(&self) -> PathBuf {
        self.directory.join("streams.sock")
    }

    #[must_use]
    pub fn log_file(&self) -> PathBuf {
        self.directory.join("daemon.log")
    }

    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Waits for the lock that a daemon holds as long as it lives. Released when the file is dropped.
    ///
    /// # Errors
    ///
    /// If another daemon keeps it.
    pub(crate) async fn lock_alive(&self) -> Result<File, ClientError> {
        self.lock("daemon.lock").await
    }

    /// Waits for the lock that a command holds while it starts a daemon.
    pub(crate) async fn lock_start(&self) -> Result<File, ClientError> {
        self.lock("start.lock").await
    }

    async fn lock(&self, name: &str) -> Result<File, ClientError> {
        let path = self.directory.join(name);
        let cannot =
            |error: io::Error| ClientError::internal(format!("cannot lock {}: {error}", path.display()));
        let mut options = fs::OpenOptions::new();
        let opened = options.write(true).create(true).truncate(false).mode(0o600).open(&path);
        let file = opened.map_err(cannot)?;
        match tokio::time::timeout(START, locked(&file)).await {
            Ok(Ok(())) => Ok(file),
            Ok(Err(error)) => Err(cannot(error)),
            Err(_) => Err(ClientError::internal(format!(
                "{} is still held by another bridge process",
                path.display()
            ))),
        }
    }
}

/// A call that waits for the lock could not be given up.
async fn locked(file: &File) -> io::Result<()> {
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) => tokio::time::sleep(LOOK_EVERY).await,
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
}
