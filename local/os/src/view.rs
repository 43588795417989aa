//! A private view of the file system for a process: the machine's, with some directories and files also in other
//! places.
//!
//! Built with a user and a mount namespace (user_namespaces(7), mount_namespaces(7)), for which no privileges are
//! needed if the system allows them. The process keeps its user and its groups; it has no capability when its program
//! begins. To it, every other user and group looks like nobody.

use std::ffi::{CStr, CString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::fs::{CWD, FileType, Mode, OFlags, mkdirat, mknodat, openat, symlinkat};
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind_recursive, mount_change, mount_move,
    unmount,
};
use rustix::process::{chdir, getegid, geteuid, pivot_root};
use rustix::thread::{UnshareFlags, unshare_unsafe};

/// A step in the process, in order. Paths are absolute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Mounts an empty file system in memory here.
    Memory(PathBuf),
    Directory(PathBuf),
    /// Creates an empty file.
    File(PathBuf),
    Link {
        at: PathBuf,
        target: PathBuf,
    },
    /// Shows an existing file or directory here, with everything mounted below it.
    Bind {
        from: PathBuf,
        at: PathBuf,
    },
    /// Moves a mount here.
    Move {
        from: PathBuf,
        at: PathBuf,
    },
    /// Makes a mount the root directory.
    Root(PathBuf),
}

/// The steps, prepared so that nothing has to be allocated between fork and exec.
#[derive(Debug, Clone)]
pub struct View {
    steps: Vec<Prepared>,
    users: String,
    groups: String,
    folder: CString,
}

#[derive(Debug, Clone)]
enum Prepared {
    Memory(CString),
    Directory(CString),
    File(CString),
    Link(CString, CString),
    Bind(CString, CString),
    Move(CString, CString),
    Root(CString),
}

impl View {
    /// # Errors
    ///
    /// A path with a NUL, or no working directory.
    pub fn new(steps: &[Step]) -> io::Result<Self> {
        let identity = |id: u32| format!("{id} {id} 1");
        Ok(Self {
            steps: steps.iter().map(prepared).collect::<io::Result<_>>()?,
            users: identity(geteuid().as_raw()),
            groups: identity(getegid().as_raw()),
            folder: path(&std::env::current_dir()?)?,
        })
    }

    /// Tries whether the system allows it. Nothing stays of the trial.
    ///
    /// # Errors
    ///
    /// The error of the first step that fails.
    pub fn try_out(&self) -> io::Result<()> {
        let view = self.clone();
        // This runs instead of a program.
        let end = move || view.enter().and_then(|()| Err(SUCCEEDED.into()));
        let mut command = Command::new("/");
        command.stdin(Stdio::null());
        // SAFETY: as below.
        #[expect(unsafe_code)]
        unsafe {
            command.pre_exec(end);
        }
        match command.spawn() {
            Err(error) if error.raw_os_error() == Some(SUCCEEDED.raw_os_error()) => Ok(()),
            Err(error) => Err(error),
            Ok(mut child) => child.wait().map(drop),
        }
    }

    /// Gives the view to the command and what it starts. The command must keep this process's working directory.
    pub fn give(self, command: &mut Command) {
        // SAFETY: between fork and exec, only system calls are made: `enter` allocates nothing and takes no lock.
        #[expect(unsafe_code)]
        unsafe {
            command.pre_exec(move || self.enter());
        }
    }

    fn enter(&self) -> io::Result<()> {
        // SAFETY: this process has one thread, and shares neither memory nor descriptors with another.
        #[expect(unsafe_code)]
        unsafe {
            unshare_unsafe(UnshareFlags::NEWUSER | UnshareFlags::NEWNS)?;
        }
        // Without the first, the kernel does not let a user write the last.
        for (file, text) in [
            (c"/proc/self/setgroups", "deny"),
            (c"/proc/self/uid_map", self.users.as_str()),
            (c"/proc/self/gid_map", self.groups.as_str()),
        ] {
            let file = openat(CWD, file, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
            rustix::io::write(&file, text.as_bytes())?;
        }
        // Later mounts of the machine are seen, and mounts here are not seen outside.
        mount_change(c"/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)?;
        for step in &self.steps {
            step.take(&self.folder)?;
        }
        Ok(())
    }
}

/// An errno that no step fails with.
const SUCCEEDED: rustix::io::Errno = rustix::io::Errno::CANCELED;

fn path(path: &Path) -> io::Result<CString> {
    Ok(CString::new(path.as_os_str().as_bytes())?)
}

fn prepared(step: &Step) -> io::Result<Prepared> {
    Ok(match step {
        Step::Memory(at) => Prepared::Memory(path(at)?),
        Step::Directory(at) => Prepared::Directory(path(at)?),
        Step::File(at) => Prepared::File(path(at)?),
        Step::Link { at, target } => Prepared::Link(path(target)?, path(at)?),
        Step::Bind { from, at } => Prepared::Bind(path(from)?, path(at)?),
        Step::Move { from, at } => Prepared::Move(path(from)?, path(at)?),
        Step::Root(at) => Prepared::Root(path(at)?),
    })
}

impl Prepared {
    fn take(&self, folder: &CStr) -> io::Result<()> {
        let directory = Mode::from_raw_mode(0o755);
        match self {
            Prepared::Memory(at) => {
                mount(
                    c"bridge",
                    at.as_c_str(),
                    c"tmpfs",
                    MountFlags::NOSUID | MountFlags::NODEV,
                    c"mode=0755",
                )?;
                // A recursive bind would take it along while it is being built.
                mount_change(at.as_c_str(), MountPropagationFlags::UNBINDABLE)?;
            }
            Prepared::Directory(at) => mkdirat(CWD, at.as_c_str(), directory)?,
            Prepared::File(at) => {
                mknodat(CWD, at.as_c_str(), FileType::RegularFile, Mode::RUSR | Mode::WUSR, 0)?
            }
            Prepared::Link(target, at) => symlinkat(target.as_c_str(), CWD, at.as_c_str())?,
            Prepared::Bind(from, at) => mount_bind_recursive(from.as_c_str(), at.as_c_str())?,
            Prepared::Move(from, at) => {
                mount_move(from.as_c_str(), at.as_c_str())?;
                mount_change(at.as_c_str(), MountPropagationFlags::PRIVATE)?;
            }
            Prepared::Root(at) => {
                chdir(at.as_c_str())?;
                // The old root then lies upon the new one (pivot_root(2), NOTES).
                pivot_root(c".", c".")?;
                unmount(c".", UnmountFlags::DETACH)?;
                chdir(c"/")?;
                // If it cannot be entered any more, the root is as good.
                let _ = chdir(folder);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A shell's output within a view; `None` if the system allows none.
    fn within(steps: &[Step], script: &str) -> Option<String> {
        let view = View::new(steps).unwrap();
        if let Err(error) = view.try_out() {
            eprintln!("skipped: this machine allows no view: {error}");
            return None;
        }
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        view.give(&mut command);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Some(String::from_utf8(output.stdout).unwrap())
    }

    #[test]
    fn a_directory_is_seen_in_another_place_and_by_nobody_else() {
        let there = tempfile::tempdir().unwrap();
        let at = |name: &str| there.path().join(name);
        for directory in ["from", "to", "stage"] {
            fs::create_dir(at(directory)).unwrap();
        }
        fs::write(at("from/file"), "seen").unwrap();
        fs::write(at("to/own"), "kept").unwrap();
        let steps = [
            Step::Memory(at("stage")),
            Step::File(at("stage/own")),
            Step::Bind { from: at("to/own"), at: at("stage/own") },
            Step::Link { at: at("stage/link"), target: "own".into() },
            Step::Directory(at("stage/new")),
            Step::Bind { from: at("from"), at: at("stage/new") },
            Step::Move { from: at("stage"), at: at("to") },
        ];
        let script =
            format!("cd {} && cat own link new/file && ls {}", at("to").display(), at("stage").display());
        let Some(seen) = within(&steps, &script) else { return };
        assert_eq!(seen, "keptkeptseen");
        assert_eq!(fs::read_dir(at("to")).unwrap().count(), 1, "outside, nothing has changed");
    }

    #[test]
    fn the_root_can_be_another() {
        let there = tempfile::tempdir().unwrap();
        let root = there.path().to_owned();
        let mut steps = vec![Step::Memory(root.clone()), Step::Directory(root.join("brand-new"))];
        for name in ["usr", "bin", "lib", "lib64", "proc", "tmp"] {
            let (from, at) = (Path::new("/").join(name), root.join(name));
            match fs::read_link(&from) {
                Ok(target) => steps.push(Step::Link { at, target }),
                Err(_) if from.is_dir() => {
                    steps.extend([Step::Directory(at.clone()), Step::Bind { from, at }]);
                }
                Err(_) => {}
            }
        }
        steps.push(Step::Root(root));
        let Some(seen) = within(&steps, "ls -d /brand-new; test -e /etc || echo no more") else { return };
        assert_eq!(seen, "/brand-new\nno more\n");
    }

    #[test]
    fn the_user_stays_the_same_and_only_root_keeps_capabilities() {
        let script = "id -u; id -g; grep CapEff /proc/self/status";
        let Some(seen) = within(&[], script) else { return };
        let lines: Vec<&str> = seen.lines().collect();
        assert_eq!(lines[..2], [geteuid().to_string(), getegid().to_string()]);
        assert!(geteuid().is_root() || lines[2].ends_with("0000000000000000"), "{seen}");
    }

    #[test]
    fn a_step_that_cannot_be_taken_is_found_beforehand() {
        let there = tempfile::tempdir().unwrap();
        let nowhere = there.path().join("nowhere");
        let view = View::new(&[Step::Bind { from: nowhere.clone(), at: nowhere }]).unwrap();
        assert!(view.try_out().is_err());
    }
}
