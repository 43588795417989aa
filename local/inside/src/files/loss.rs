//! The losses of a command in a view with the volumes at their own paths: reasons not to build one unasked.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use bridge_os::peer::own_uid;

use super::own_paths::Plan;

/// The directory of files that ssh refuses unless they are root's or its user's own; within the view, root's have no
/// owner.
const SETTINGS_OF_SSH: &str = "/etc/ssh/ssh_config.d";
const ROOT: u32 = 0;

/// The first loss found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Loss {
    #[error("root would lose its rights there")]
    Rights,
    #[error("ssh, and git by ssh, would refuse {path:?}")]
    Ssh { path: PathBuf },
    #[error("they would hide your laptop's own {path:?}")]
    Hidden { path: PathBuf },
}

/// Checks for losses by any view, for this user of this machine.
pub(super) fn none_by_any_view() -> Result<(), Loss> {
    if own_uid() == ROOT {
        return Err(Loss::Rights);
    }
    match foreign_settings(Path::new(SETTINGS_OF_SSH), own_uid()) {
        Some(path) => Err(Loss::Ssh { path }),
        None => Ok(()),
    }
}

/// Checks for losses by this view.
pub(super) fn none_by(plan: &Plan) -> Result<(), Loss> {
    match plan.hidden.first() {
        Some(path) => Err(Loss::Hidden { path: path.clone() }),
        None => Ok(()),
    }
}

/// A file of settings in this directory that is not this user's own.
fn foreign_settings(directory: &Path, uid: u32) -> Option<PathBuf> {
    let entries = fs::read_dir(directory).ok()?;
    let is_foreign = |path: &PathBuf| {
        path.extension().is_some_and(|extension| extension == "conf")
            && fs::metadata(path).is_ok_and(|file| file.uid() != uid)
    };
    entries.flatten().map(|entry| entry.path()).find(is_foreign)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_of_another_user_are_those_that_ssh_would_refuse() {
        let directory = tempfile::tempdir().unwrap();
        let settings = directory.path().join("20-proxy.conf");
        let found = |uid| foreign_settings(directory.path(), uid);
        assert_eq!(found(own_uid()), None, "an empty directory");
        fs::write(directory.path().join("README"), "").unwrap();
        assert_eq!(found(own_uid() + 1), None, "ssh does not read it");
        fs::write(&settings, "").unwrap();
        assert_eq!(found(own_uid()), None, "the user's own");
        assert_eq!(found(own_uid() + 1), Some(settings));
        assert_eq!(foreign_settings(Path::new("/nonexistent"), own_uid()), None);
    }

    #[test]
    fn hidden_files_are_a_loss() {
        let hidden = vec![PathBuf::from("/etc/ssl"), PathBuf::from("/srv")];
        assert_eq!(
            none_by(&Plan { hidden, ..Plan::default() }),
            Err(Loss::Hidden { path: PathBuf::from("/etc/ssl") })
        );
        let covered = vec![PathBuf::from("/run")];
        assert_eq!(none_by(&Plan { covered, ..Plan::default() }), Ok(()), "it is seen again");
    }
}
