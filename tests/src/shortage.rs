//! What a laptop has too little of for a while.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::process::Command;

use crate::laptop::Laptop;
use crate::place::{DEVELOPER_UID, context};
use crate::process::{Running, USUAL};

/// There is enough again when this is dropped.
pub struct Shortage<'a>(Box<dyn Fn() + 'a>);

impl<'a> Shortage<'a> {
    pub fn ends(self) {}

    /// The daemon can open nothing more. `None` if we may not look into it.
    ///
    /// # Panics
    ///
    /// If there is no daemon.
    #[must_use]
    pub fn of_descriptors(laptop: &'a Laptop) -> Option<Self> {
        if context().is_some() {
            return None;
        }
        let pid = laptop.daemon().expect("a daemon").as_raw_nonzero().to_string();
        let limits = fs::read_to_string(format!("/proc/{pid}/limits")).expect("its limits");
        let usual = soft_limit(&limits).expect("Max open files").to_owned();
        // As the daemon's own user: even root may not do it everywhere.
        let limit = move |soft: &str| {
            let args = ["--pid", &pid, &format!("--nofile={soft}:")];
            laptop.start(Path::new("prlimit"), &args).ends(USUAL)
        };
        let _ = limit("0").succeeds();
        Some(Self(Box::new(move || {
            // It may have ended.
            let _ = limit(&usual);
        })))
    }

    /// The disk on which the command and its daemon keep what they need is full. `None` if we may not mount one.
    #[must_use]
    pub fn of_disk(laptop: &'a Laptop) -> Option<Self> {
        if context().is_some() {
            return None;
        }
        let disk = laptop.path("run");
        let root = |program: &str, args: &[&str]| {
            let mut command = Command::new(program);
            command.args(args);
            Running::start(format!("{program} {}", args.join(" ")), command, "").ends(USUAL).succeeds()
        };
        let options = format!("size=64k,mode=700,uid={DEVELOPER_UID}");
        let path = disk.to_str().expect("UTF-8").to_owned();
        let _ = root("mount", &["-t", "tmpfs", "-o", &options, "bridge-test", &path]);
        let shortage = Self(Box::new(move || {
            // A process that is about to end may be in it.
            let _ = root("umount", &["--lazy", &path]);
        }));
        let full = fs::write(disk.join("full"), vec![0; 1 << 20]);
        assert!(full.is_err_and(|error| error.kind() == ErrorKind::StorageFull), "the disk is full");
        Some(shortage)
    }
}

impl Drop for Shortage<'_> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// The soft limit of descriptors in a `limits` file of `/proc`.
fn soft_limit(limits: &str) -> Option<&str> {
    limits.lines().find_map(|line| line.strip_prefix("Max open files"))?.split_whitespace().next()
}
