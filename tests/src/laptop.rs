//! A developer's laptop: the command under test with its own home, the daemon that it starts, and local programs.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::place;
use crate::process::{Done, Running, USUAL};

/// The limit for a program of the laptop to be up, including the time to connect first.
const UP: Duration = Duration::from_secs(40);

#[derive(Debug)]
pub struct Laptop {
    pub me: String,
    home: TempDir,
}

impl Laptop {
    pub(crate) fn new(me: &str, kubeconfig: Value) -> Self {
        let home = tempfile::Builder::new().prefix("bridge-test-").tempdir().expect("a directory");
        let laptop = Self { me: me.to_owned(), home };
        for directory in ["run", "state", "config"] {
            fs::create_dir(laptop.path(directory)).expect("a directory");
            fs::set_permissions(laptop.path(directory), fs::Permissions::from_mode(0o700)).expect("0700");
        }
        laptop.write_kubeconfig(&kubeconfig);
        for path in ["", "run", "state", "config"] {
            laptop.give(&laptop.path(path));
        }
        laptop
    }

    /// A file of this laptop's home.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// Makes a file the developer's own.
    fn give(&self, path: &Path) {
        if place::context().is_none() {
            let uid = Some(place::DEVELOPER_UID);
            chown(path, uid, uid).expect("root may");
        }
    }

    #[must_use]
    pub fn kubeconfig(&self) -> Value {
        let text = fs::read_to_string(self.path("kubeconfig")).expect("the kubeconfig");
        serde_json::from_str(&text).expect("its JSON")
    }

    /// Replaces the laptop's kubeconfig.
    pub fn write_kubeconfig(&self, kubeconfig: &Value) {
        let path = self.path("kubeconfig");
        fs::write(&path, kubeconfig.to_string()).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("0600");
        self.give(&path);
    }

    /// A command of this laptop, to which the program and its arguments are added.
    fn command(&self) -> Command {
        let mut command = place::laptop();
        for (name, path) in [
            ("HOME", ""),
            ("XDG_RUNTIME_DIR", "run"),
            ("XDG_STATE_HOME", "state"),
            ("XDG_CONFIG_HOME", "config"),
        ] {
            command.arg(format!("{name}={}", self.path(path).display()));
        }
        command.arg(format!("KUBECONFIG={}", self.path("kubeconfig").display()));
        command.arg(format!("BRIDGE_ME={}", self.me));
        command
    }

    /// Runs the command under test.
    #[must_use]
    pub fn bridge(&self, args: &[&str]) -> Done {
        self.start_bridge(args).ends(USUAL)
    }

    /// The same where the kernel's supervision of processes is forbidden, as in some containers.
    #[must_use]
    pub fn bridge_without_supervision(&self, args: &[&str]) -> Done {
        let bridge = place::bridge();
        let bridge = ["-c", include_str!("forbids_supervision.py"), bridge.to_str().expect("UTF-8")];
        self.start(Path::new("python3"), &[&bridge, args].concat()).ends(USUAL)
    }

    /// The same, while the story goes on.
    #[must_use]
    pub fn start_bridge(&self, args: &[&str]) -> Running {
        self.start(&place::bridge(), args)
    }

    /// Runs the command under test with this input, which then ends.
    #[must_use]
    pub fn bridge_reads(&self, args: &[&str], input: &str) -> Done {
        let mut command = self.command();
        command.arg(place::bridge()).args(args);
        Running::start(format!("bridge {}", args.join(" ")), command, input).ends(USUAL)
    }

    /// Runs another program of the laptop.
    #[must_use]
    pub fn start(&self, program: &Path, args: &[&str]) -> Running {
        let mut command = self.command();
        command.arg(program).args(args);
        let name = program.file_name().unwrap_or_default().to_string_lossy();
        Running::start(format!("{name} {}", args.join(" ")), command, "")
    }

    /// Runs a program of another user of the same machine. `None` if there is none.
    #[must_use]
    pub fn start_by_another(program: &str, args: &[&str]) -> Option<Running> {
        let mut command = place::laptop_of_another()?;
        command.arg(program).args(args);
        Some(Running::start(format!("{program} {} (by another user)", args.join(" ")), command, ""))
    }

    /// Starts a role of the sample application beside the command; it answers with [`Local::name`].
    #[must_use]
    pub fn runs(&self, role: &str) -> Local {
        let name = format!("{}-at-the-laptop", self.me);
        let mut command = self.command();
        command.args(["PORT=0", &format!("SHOP_NAME={name}"), "SHOP_DRAIN=0s"]).arg(place::shop()).arg(role);
        Local::start(command, name, port_of_shop)
    }

    /// Starts a server in Python that prints "listens on ADDRESS:PORT".
    #[must_use]
    pub fn runs_script(&self, name: &str, script: &str) -> Local {
        let mut command = self.command();
        command.args(["python3", "-c", script]);
        Local::start(command, name.to_owned(), port_of_shop)
    }

    /// The sample application by `bridge run`, in place of the Service of that name. It chooses its port itself, and
    /// bridge detects it.
    #[must_use]
    pub fn runs_inside(&self, role: &str) -> Local {
        self.runs_inside_at(role, role, 0)
    }

    /// The same for another Service, and on a given port.
    #[must_use]
    pub fn runs_inside_at(&self, service: &str, role: &str, port: u16) -> Local {
        let name = format!("{role}-of-{}-inside", self.me);
        let mut command = self.command();
        let port = format!("PORT={port}");
        // Its usual quarter of a second for its neighbours is too short on a busy machine.
        command.args([&port, &format!("SHOP_NAME={name}"), "SHOP_DRAIN=0s", "NEIGHBOUR_TIMEOUT=10s"]);
        command.arg(place::bridge()).args(["run", service, "--"]).arg(place::shop()).arg(role);
        Local::start(command, name, port_that_bridge_found)
    }

    /// A TCP port on which nothing listens now.
    #[must_use]
    pub fn free_port(&self) -> u16 {
        let script = "import socket; s = socket.socket(); s.bind(('', 0)); print(s.getsockname()[1])";
        let done = self.start(Path::new("python3"), &["-c", script]).ends(USUAL).succeeds();
        done.stdout.trim().parse().expect("a port")
    }

    /// `bridge forward` or `bridge proxy`: a port of the laptop that leads into the cluster.
    #[must_use]
    pub fn opens(&self, args: &[&str]) -> Local {
        let mut command = self.command();
        command.arg(place::bridge()).args(args);
        Local::start(command, format!("bridge {}", args.join(" ")), port_on_loopback)
    }

    /// `bridge open`: [`Local::said`] is the URL that it prints.
    #[must_use]
    pub fn opens_for_browsers(&self, args: &[&str]) -> Local {
        let mut command = self.command();
        command.arg(place::bridge()).args(args);
        Local::start(command, format!("bridge {}", args.join(" ")), port_of_url)
    }

    /// `bridge status`, as programs see it.
    #[must_use]
    pub fn status(&self) -> Value {
        self.bridge(&["status", "-o", "json"]).succeeds().json()
    }

    /// The first session of the status.
    #[must_use]
    pub fn session(&self) -> Value {
        self.status()["sessions"][0].clone()
    }

    /// The running daemon, if there is one. It is known by its lock: a hanging one must be found, and no other process
    /// may look into it.
    #[must_use]
    pub fn daemon(&self) -> Option<Pid> {
        let lock = fs::metadata(self.path("run/bridge/daemon.lock")).ok()?.ino().to_string();
        // "1: FLOCK  ADVISORY  WRITE 4711 08:01:42 0 EOF"; a waiter for a lock has an arrow in the second place.
        let holder = |line: &str| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let is_it = *fields.get(1)? == "FLOCK" && fields.get(5)?.rsplit(':').next()? == lock;
            is_it.then(|| fields[4].parse().ok().and_then(Pid::from_raw))?
        };
        fs::read_to_string("/proc/locks").expect("/proc/locks").lines().find_map(holder)
    }

    /// Kills the daemon without warning. Returns whether there was one.
    pub fn kill_daemon(&self) -> bool {
        let Some(pid) = self.daemon() else { return false };
        // It may just have ended.
        let _ = kill_process(pid, Signal::KILL);
        crate::eventually("the killed daemon is gone", UP, || {
            (self.daemon() != Some(pid)).then_some(()).ok_or_else(|| format!("{pid:?} is there"))
        });
        true
    }

    /// The peak of the daemon's memory, in bytes.
    ///
    /// # Panics
    ///
    /// If there is no daemon.
    #[must_use]
    pub fn daemon_peak(&self) -> u64 {
        let pid = self.daemon().expect("a daemon").as_raw_nonzero();
        peak(&fs::read_to_string(format!("/proc/{pid}/status")).expect("its status")).expect("VmHWM")
    }
}

impl Drop for Laptop {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = fs::read_to_string(self.path("run/bridge/daemon.log")).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            let last = lines[lines.len().saturating_sub(25)..].join("\n");
            eprintln!("the end of the log of {}'s daemon:\n{last}", self.me);
        }
        while self.kill_daemon() {}
    }
}

/// The largest `VmHWM` in the status files of some processes, in bytes.
#[must_use]
pub fn peak(statuses: &str) -> Option<u64> {
    let lines = statuses.lines().filter_map(|line| line.strip_prefix("VmHWM:"));
    let kibibytes = lines.filter_map(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kibibytes.max().map(|kibibytes| kibibytes * 1024)
}

/// A program that serves on the laptop. It ends when dropped.
#[derive(Debug)]
pub struct Local {
    child: Child,
    pub name: String,
    pub port: u16,
    /// The line in which it said so.
    pub said: String,
}

impl Local {
    /// `port_of` finds the port in a line that the program prints.
    pub(crate) fn start(mut command: Command, name: String, port_of: fn(&str) -> Option<u16>) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the local program starts");
        let (port_tx, port_rx) = mpsc::channel();
        let (stdout, stderr) = (child.stdout.take().expect("piped"), child.stderr.take().expect("piped"));
        read(stdout, port_of, port_tx.clone());
        read(stderr, port_of, port_tx);
        let (port, said) = port_rx.recv_timeout(UP).expect("the local program says which port it listens on");
        Self { child, name, port, said }
    }

    /// Stops it, as at a breakpoint: connections are still taken, and nothing is read.
    pub fn stops(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on.
    pub fn goes_on(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).expect("a process");
        kill_process(pid, signal).expect("it runs");
    }

    /// Asks it to end, and waits for that.
    pub fn ends(mut self) {
        self.signal(Signal::TERM);
        crate::eventually("the program ends", UP, || match self.child.try_wait() {
            Ok(Some(_)) => Ok(()),
            other => Err(format!("{other:?}")),
        });
    }

    /// The `--port` option for this program and that port of the Service.
    #[must_use]
    pub fn for_port(&self, remote: &str) -> String {
        format!("{}:{remote}", self.port)
    }
}

/// Reads to the end, as a full pipe would stop the program.
fn read(
    from: impl Read + Send + 'static,
    port_of: fn(&str) -> Option<u16>,
    port_tx: mpsc::Sender<(u16, String)>,
) {
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            if let Some(port) = port_of(&line) {
                // Nobody waits any more: it was found before, or the test is over.
                let _ = port_tx.send((port, line));
            }
        }
    });
}

/// "orders at alice listens on [::]:8080"
fn port_of_shop(line: &str) -> Option<u16> {
    line.contains("listens on").then(|| line.rsplit_once(':'))??.1.trim().parse().ok()
}

/// "the command listens on port 3000, but requests come to port 8080: …", or "orders: requests with … come to port 5000"
fn port_that_bridge_found(line: &str) -> Option<u16> {
    let elsewhere =
        line.split_once("the command listens on port ").and_then(|(_, rest)| rest.split_once(", but"));
    let led = || line.split_once(": requests with ")?.1.rsplit_once("come to port ");
    elsewhere.map(|(port, _)| port).or_else(|| led().map(|(_, port)| port))?.trim().parse().ok()
}

/// "127.0.0.1:5432 → db:5432", "socks5h://127.0.0.1:1080 …", "Forwarding from 127.0.0.1:3000 -> 80"
pub(crate) fn port_on_loopback(line: &str) -> Option<u16> {
    line.split_once("127.0.0.1:")?.1.split(' ').next()?.parse().ok()
}

/// "http://shop.example.com.localhost:40123/.bridge/TOKEN/"
fn port_of_url(line: &str) -> Option<u16> {
    line.strip_prefix("http://")?.split_once(".localhost:")?.1.split('/').next()?.parse().ok()
}

impl Drop for Local {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
