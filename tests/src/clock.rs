//! The wall clock of one laptop, which jumps.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::laptop::Laptop;
use crate::place::bridge;
use crate::process::Running;

/// A clock for the daemon of a laptop.
#[derive(Debug)]
pub struct Clock<'a> {
    laptop: &'a Laptop,
    library: PathBuf,
    /// Holds the number of seconds by which it is moved.
    file: PathBuf,
}

impl<'a> Clock<'a> {
    /// A clock that is right so far.
    ///
    /// # Panics
    ///
    /// If there is no C compiler.
    #[must_use]
    pub fn of(laptop: &'a Laptop) -> Self {
        let clock = Self { laptop, library: laptop.path("state/clock.so"), file: laptop.path("state/clock") };
        let compile = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-x", "c", "-o"])
            .arg(&clock.library)
            .arg("-")
            .stdin(Stdio::piped())
            .spawn();
        let mut compile = compile.expect("a C compiler");
        let source = include_str!("clock.c");
        compile.stdin.take().expect("piped").write_all(source.as_bytes()).expect("it reads");
        assert!(compile.wait().expect("it ends").success(), "expected clock.c to compile");
        clock.jumps(0);
        clock
    }

    /// It is this many seconds ahead of the right time from now on.
    ///
    /// # Panics
    ///
    /// If its file cannot be written.
    pub fn jumps(&self, seconds: i64) {
        // Read at every look at the clock: never half of it.
        let next = self.file.with_extension("next");
        fs::write(&next, seconds.to_string()).expect("written");
        fs::rename(&next, &self.file).expect("renamed");
    }

    /// Starts the laptop's daemon with this clock.
    #[must_use]
    pub fn starts_daemon(&self) -> Running {
        let preload = format!("LD_PRELOAD={}", self.library.display());
        let file = format!("BRIDGE_TEST_CLOCK={}", self.file.display());
        let bridge = bridge();
        let daemon = [&preload, &file, bridge.to_str().expect("UTF-8"), "daemon"];
        self.laptop.start(Path::new("env"), &daemon)
    }
}
