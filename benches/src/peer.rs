//! A process under load: its start, its port, and its use of resources.
//!
//! Each has one worker thread, so that its CPU seconds are for the work and not for idle threads that look for some.

use std::io::{BufRead, BufReader, Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, ensure};
use serde_json::json;

/// A process that passes requests on, or answers them.
#[derive(Debug)]
pub struct Peer {
    pub name: &'static str,
    pub port: u16,
    process: Child,
    /// Envoy's configuration, kept as long as it runs.
    _config: Option<tempfile::NamedTempFile>,
}

/// The protocol, if it must be configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    Http1,
    Http2,
}

impl Peer {
    /// The program `peer` with these arguments, which prints its port.
    ///
    /// # Errors
    ///
    /// If it does not start.
    pub fn ours(name: &'static str, args: &[&str]) -> anyhow::Result<Self> {
        let program = std::env::current_exe()?.with_file_name("peer");
        let mut process = one_thread(Command::new(program).args(args)).stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        BufReader::new(process.stdout.take().context("its output")?).read_line(&mut line)?;
        let port = line.trim().parse().with_context(|| format!("{name} named no port"))?;
        Ok(Self { name, port, process, _config: None })
    }

    /// An agent without sessions in front of a port of this machine.
    ///
    /// # Errors
    ///
    /// If it ends before it listens.
    pub fn agent(program: &Path, origin: u16) -> anyhow::Result<Self> {
        let mut command = Command::new(program);
        one_thread(&mut command);
        Ok(Agent::start(&mut command, &[origin], Path::new("/nonexistent"))?.peer)
    }

    /// Envoy as a minimal reverse proxy.
    ///
    /// # Errors
    ///
    /// If it does not start.
    pub fn envoy(program: &Path, protocol: Protocol, origin: u16) -> anyhow::Result<Self> {
        let mut config = tempfile::Builder::new().suffix(".json").tempfile()?;
        // It does not report the port that the kernel chose, so one is chosen for it.
        let port = std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        config.write_all(serde_json::to_string(&envoy_config(protocol, port, origin))?.as_bytes())?;
        let mut command = Command::new(program);
        command.args([
            "--concurrency",
            "1",
            "--disable-hot-restart",
            "--log-level",
            "error",
            "--config-path",
        ]);
        let mut process = command.arg(config.path()).stdin(Stdio::null()).spawn().context("Envoy")?;
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            ensure!(process.try_wait()?.is_none(), "Envoy ended before it listened");
            std::thread::yield_now();
        }
        Ok(Self { name: "Envoy", port, process, _config: Some(config) })
    }

    /// The CPU time of all its threads so far, in seconds.
    ///
    /// # Errors
    ///
    /// If it has ended.
    pub fn cpu_seconds(&self) -> anyhow::Result<f64> {
        let mut nanoseconds = 0.0;
        for thread in std::fs::read_dir(format!("/proc/{}/task", self.process.id()))? {
            let text = std::fs::read_to_string(thread?.path().join("schedstat"))?;
            let used: f64 = text.split(' ').next().unwrap_or_default().parse().context("schedstat")?;
            nanoseconds += used;
        }
        Ok(nanoseconds / 1e9)
    }

    /// Its memory, in MiB.
    ///
    /// # Errors
    ///
    /// If it has ended.
    pub fn memory(&self) -> anyhow::Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS")?;
        let kibibytes: f64 = line.trim().trim_end_matches(" kB").parse().context("VmRSS")?;
        Ok(kibibytes / 1024.0)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It has ended already, or ends now.
        let _ = self.process.kill().and_then(|()| self.process.wait());
    }
}

/// An agent and the ports that it has reported.
#[derive(Debug)]
pub struct Agent {
    pub peer: Peer,
    /// In the order of the origins.
    pub ports: Vec<u16>,
    pub control: u16,
}

impl Agent {
    /// An agent with its default number of threads, in front of ports of this machine.
    ///
    /// # Errors
    ///
    /// If it ends before it listens.
    pub fn new(program: &Path, origins: &[u16], key_file: &Path) -> anyhow::Result<Self> {
        Self::start(Command::new(program).stdin(Stdio::null()), origins, key_file)
    }

    fn start(command: &mut Command, origins: &[u16], key_file: &Path) -> anyhow::Result<Self> {
        command
            .args([
                "--name",
                crate::laptop::POD,
                "--control",
                "0",
                "--readiness",
                "0",
                "--log-format",
                "json",
            ])
            .arg("--key-file")
            .arg(key_file);
        for origin in origins {
            command.arg("--forward").arg(format!("0=127.0.0.1:{origin}"));
        }
        let mut process = command.stderr(Stdio::piped()).spawn().context("the agent")?;
        let mut log = BufReader::new(process.stderr.take().context("its log")?);
        let mut line = String::new();
        let listening = loop {
            line.clear();
            ensure!(log.read_line(&mut line)? > 0, "the agent ended before it listened");
            let said: serde_json::Value = serde_json::from_str(&line)?;
            if said["message"] == "listening" {
                break said;
            }
        };
        // A full pipe would stop it.
        std::thread::spawn(move || log.read_to_end(&mut Vec::new()));
        let ports: Vec<u16> = serde_json::from_str(listening["ports"].as_str().context("its ports")?)?;
        let control = listening["control"].as_u64().context("its control port")?.try_into()?;
        let peer = Peer { name: "agent", port: ports[0], process, _config: None };
        Ok(Self { peer, ports, control })
    }
}

/// The agent's program and Envoy's, named by `benches/run`.
///
/// # Errors
///
/// If it does not name them.
pub fn programs() -> anyhow::Result<(PathBuf, PathBuf)> {
    let named =
        |name| std::env::var_os(name).map(PathBuf::from).with_context(|| format!("{name} is not set"));
    Ok((named("BENCH_AGENT")?, named("BENCH_ENVOY")?))
}

fn one_thread(command: &mut Command) -> &mut Command {
    command.env("TOKIO_WORKER_THREADS", "1").stdin(Stdio::piped())
}

fn envoy_config(protocol: Protocol, port: u16, origin: u16) -> serde_json::Value {
    let address = |port| json!({"socket_address": {"address": "127.0.0.1", "port_value": port}});
    let (codec, upstream) = match protocol {
        Protocol::Http1 => ("HTTP1", "http_protocol_options"),
        Protocol::Http2 => ("HTTP2", "http2_protocol_options"),
    };
    let extensions = "type.googleapis.com/envoy.extensions";
    let manager = json!({
        "@type": format!("{extensions}.filters.network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": "bench", "codec_type": codec, "generate_request_id": false,
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"],
            "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "origin", "timeout": "0s"}}]}]},
        "http_filters": [{"name": "router",
            "typed_config": {"@type": format!("{extensions}.filters.http.router.v3.Router")}}],
    });
    let options = json!({
        "@type": format!("{extensions}.upstreams.http.v3.HttpProtocolOptions"),
        "explicit_http_config": {upstream: {}},
    });
    json!({"static_resources": {
        "listeners": [{"name": "in", "address": address(port),
            "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}]}],
        "clusters": [{"name": "origin", "type": "STATIC",
            "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options},
            "load_assignment": {"cluster_name": "origin",
                "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address(origin)}}]}]}}],
    }})
}
