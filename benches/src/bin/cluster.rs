//! A laptop's throughput through the API server of a real cluster (tests/cluster, with shop deployed): routed requests,
//! bulk beside `kubectl port-forward`, the Service's other callers beside no agent, the daemon's memory.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, ensure};
use bridge_benches::{Budget, Row, median, write};
use serde_json::json;

const ROUNDS: usize = 3;
const BULK: &str = "268435456";
const MATCHED: &str = "x-bridge: bench";

fn main() -> anyhow::Result<()> {
    let home = tempfile::tempdir()?;
    let laptop = Laptop::new(home.path())?;
    let fast = Process::start(laptop.command("target/release/peer").arg("http1"), |line| line.parse().ok())?;
    let orders = laptop.orders()?;
    let _connected = laptop.connect(fast.port)?;
    let service = address("orders")?;
    let mut rows = vec![laptop.memory("daemon memory, idle", Some(Budget::AtMost(25.0)))?];
    rows.extend(routed(&service)?);
    rows.push(passed_by(&service)?);
    rows.push(connections(&laptop)?);
    let _connected = laptop.connect(orders.port)?;
    rows.extend(bulk(&laptop, &service)?);
    rows.extend(bulk_by_run(&laptop)?);
    rows.push(laptop.memory("daemon memory, after all that", None)?);
    write("cluster", &rows)
}

/// Requests per second from a caller in the cluster to the laptop and back.
fn routed(service: &str) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (connections, budget) in [(1, 2_000.0), (16, 8_000.0), (64, 10_000.0)] {
        let samples = sampled(|| ask(node(), ["rate", service, &connections.to_string(), MATCHED]))?;
        rows.push(Row {
            what: format!("routed requests, {connections} at a time"),
            measured: format!("{:.0} /s", median(&samples)),
            beside: String::new(),
            figure: median(&samples),
            unit: "/s".to_owned(),
            budget: Some(Budget::AtLeast(budget)),
            samples: json!(samples),
        });
    }
    Ok(rows)
}

/// Everyone else's requests while a developer is connected, beside the same pods without an agent.
fn passed_by(service: &str) -> anyhow::Result<Row> {
    let selector = "-l=bridge.dev/service=orders";
    let origin = kubectl(["get", "services", selector, "-o", "jsonpath={.items[0].metadata.name}"])?;
    let origin = address(&origin)?;
    let (mut through, mut without) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        through.push(ask(node(), ["rate", service, "16", "x-bridge: another-user"])?);
        without.push(ask(node(), ["rate", &origin, "16", "x-bridge: another-user"])?);
    }
    let (ours, theirs) = (median(&through), median(&without));
    Ok(Row {
        what: "pass-through in the cluster, 16 at a time".to_owned(),
        measured: format!("{ours:.0} /s"),
        beside: format!("no agent {theirs:.0}"),
        figure: ours / theirs,
        unit: "×".to_owned(),
        budget: Some(Budget::AtLeast(0.6)),
        samples: json!({"agent": through, "noAgent": without, "unit": "requests/s"}),
    })
}

/// Connections per second from the laptop to a pod of `web`, beside the same through kubectl.
fn connections(laptop: &Laptop) -> anyhow::Result<Row> {
    let kubectl = laptop.port_forward("app=web")?;
    let mut forward = laptop.command(&laptop.bridge);
    let forward = Process::start(forward.args(["forward", "web"]), |line| {
        line.strip_prefix("127.0.0.1:")?.split(' ').next()?.parse().ok()
    })?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        for (rates, port) in [(&mut ours, forward.port), (&mut theirs, kubectl.port)] {
            let to = format!("127.0.0.1:{port}");
            rates.push(ask(laptop.command("env"), ["connections", &to, "16", ""])?);
        }
    }
    let (bridge, kubectl) = (median(&ours), median(&theirs));
    Ok(Row {
        what: "new connections from the laptop, 16 at a time".to_owned(),
        measured: format!("{bridge:.0} /s"),
        beside: format!("kubectl port-forward {kubectl:.0}"),
        figure: bridge / kubectl,
        unit: "×".to_owned(),
        budget: Some(Budget::AtLeast(10.0)),
        samples: json!({"bridge": ours, "kubectl": theirs, "unit": "connections/s"}),
    })
}

/// One large body, between the laptop and the cluster, beside the same through kubectl.
fn bulk(laptop: &Laptop, service: &str) -> anyhow::Result<Vec<Row>> {
    let forward = laptop.port_forward("app=orders")?;
    let forwarded = format!("127.0.0.1:{}", forward.port);
    let mut rows = Vec::new();
    // Data down to a caller in the cluster comes from the laptop; through kubectl, the laptop is the caller.
    for (what, ours, theirs) in [("from the laptop", "down", "up"), ("to the laptop", "up", "down")] {
        let (mut bridge, mut kubectl) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            bridge.push(ask(node(), [ours, service, BULK, MATCHED])?);
            kubectl.push(ask(laptop.command("env"), [theirs, &forwarded, BULK, ""])?);
        }
        rows.push(beside_kubectl(format!("bulk through the API server, {what}"), &bridge, &kubectl));
    }
    Ok(rows)
}

/// One large body, between a program in `bridge run` and a pod, beside the same program through kubectl.
fn bulk_by_run(laptop: &Laptop) -> anyhow::Result<Vec<Row>> {
    let forward = laptop.port_forward("app=orders")?;
    let forwarded = format!("127.0.0.1:{}", forward.port);
    let pod =
        kubectl(["get", "pods", "-l", "app=orders", "-o", "jsonpath={.items[0].status.podIP}"])? + ":8080";
    let mut rows = Vec::new();
    for (what, direction) in [("from the laptop", "up"), ("to the laptop", "down")] {
        let (mut bridge, mut kubectl) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let mut run = laptop.command(&laptop.bridge);
            run.args(["run", "--files", "none", "orders", "--"]);
            bridge.push(ask(run, [direction, &pod, BULK, ""])?);
            kubectl.push(ask(laptop.command("env"), [direction, &forwarded, BULK, ""])?);
        }
        rows.push(beside_kubectl(format!("bulk by bridge run, {what}"), &bridge, &kubectl));
    }
    Ok(rows)
}

fn beside_kubectl(what: String, bridge: &[f64], kubectl: &[f64]) -> Row {
    let (ours, theirs) = (median(bridge), median(kubectl));
    Row {
        what,
        measured: format!("{ours:.0} MB/s"),
        beside: format!("kubectl port-forward {theirs:.0}"),
        figure: ours / theirs,
        unit: "×".to_owned(),
        budget: Some(Budget::AtLeast(1.5)),
        samples: json!({"bridge": bridge, "kubectl": kubectl, "unit": "MB/s"}),
    }
}

fn sampled(mut one: impl FnMut() -> anyhow::Result<f64>) -> anyhow::Result<Vec<f64>> {
    (0..ROUNDS).map(|_| one()).collect()
}

/// Runs `ask` in that place, whose working directory may be another.
fn ask(mut place: Command, args: [&str; 4]) -> anyhow::Result<f64> {
    let program = std::env::current_exe()?.with_file_name("ask");
    Ok(output(place.arg(program).args(args))?.trim().parse()?)
}

fn node() -> Command {
    let mut command = Command::new("tests/cluster/node");
    command.arg("env");
    command
}

fn kubectl<const N: usize>(args: [&str; N]) -> anyhow::Result<String> {
    let mut command = Command::new("tests/cluster/admin");
    output(command.args(["kubectl", "--namespace", "shop"]).args(args))
}

/// Address and port of a Service of shop.
fn address(service: &str) -> anyhow::Result<String> {
    kubectl(["get", "service", service, "-o", "jsonpath={.spec.clusterIP}:{.spec.ports[0].port}"])
}

fn output(command: &mut Command) -> anyhow::Result<String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output()?;
    ensure!(output.status.success(), "{command:?}: {}", output.status);
    Ok(String::from_utf8(output.stdout)?)
}

/// A process that prints its port; ended when dropped.
struct Process {
    child: Child,
    port: u16,
}

impl Process {
    fn start(command: &mut Command, port: impl Fn(&str) -> Option<u16>) -> anyhow::Result<Self> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut lines = BufReader::new(child.stdout.take().context("its output")?).lines();
        let found = lines.by_ref().map_while(Result::ok).find_map(|line| port(line.trim()));
        std::thread::spawn(move || lines.for_each(drop));
        Ok(Self { child, port: found.with_context(|| format!("{command:?} named no port"))? })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It has ended already, or ends now.
        let _ = self.child.kill().and_then(|()| self.child.wait());
    }
}

/// A developer's laptop with its own daemon.
struct Laptop {
    bridge: String,
    settings: Vec<String>,
}

/// Disconnected when dropped.
struct Connected<'a>(&'a Laptop);

impl Drop for Connected<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.0.bridge(&["disconnect", "--all"]) {
            eprintln!("{error}: to restore what is left: bridge clean");
        }
    }
}

impl Laptop {
    fn new(home: &Path) -> anyhow::Result<Self> {
        let run = home.join("run");
        std::fs::create_dir(&run)?;
        std::fs::set_permissions(&run, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
        let home = home.display();
        let settings = [
            format!("HOME={home}"),
            format!("XDG_RUNTIME_DIR={home}/run"),
            format!("XDG_CONFIG_HOME={home}/config"),
            format!("XDG_STATE_HOME={home}/state"),
            "BRIDGE_ME=bench".to_owned(),
            "BRIDGE_NAMESPACE=shop".to_owned(),
        ];
        let bridge = std::env::var("BRIDGE_BIN").unwrap_or_else(|_| "target/release/bridge".to_owned());
        Ok(Self { bridge, settings: settings.into() })
    }

    /// A command on the laptop.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("tests/cluster/laptop");
        command.arg("env").args(&self.settings).arg(program);
        command
    }

    fn bridge(&self, args: &[&str]) -> anyhow::Result<String> {
        output(self.command(&self.bridge).args(args))
    }

    /// shop's `orders` as a local process.
    fn orders(&self) -> anyhow::Result<Process> {
        let mut command = self.command("env");
        command.args(["PORT=0", "SHOP_DRAIN=0s", "sh", "-c", "exec deploy/shop/bin/shop orders 2>&1"]);
        Process::start(&mut command, |line| {
            line.split_once(" listens on ")?.1.rsplit(':').next()?.parse().ok()
        })
    }

    /// kubectl's way to the first pod with this label.
    fn port_forward(&self, label: &str) -> anyhow::Result<Process> {
        let pod = kubectl(["get", "pods", "-l", label, "-o", "jsonpath={.items[0].metadata.name}"])?;
        let mut forward = self.command("kubectl");
        forward.args(["port-forward", "--namespace", "shop", &pod, ":8080"]);
        Process::start(&mut forward, |line| {
            line.strip_prefix("Forwarding from 127.0.0.1:")?.split(' ').next()?.parse().ok()
        })
    }

    fn connect(&self, port: u16) -> anyhow::Result<Connected<'_>> {
        self.bridge(&["connect", "orders", "--port", &format!("{port}:http")])?;
        Ok(Connected(self))
    }

    /// The daemon's present memory.
    fn memory(&self, what: &str, budget: Option<Budget>) -> anyhow::Result<Row> {
        let status: serde_json::Value = serde_json::from_str(&self.bridge(&["status", "-o", "json"])?)?;
        let pid = status["daemon"]["pid"].as_u64().context("the daemon's process")?;
        let text = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS")?;
        let mebibytes = line.trim().trim_end_matches(" kB").parse::<f64>()? / 1024.0;
        Ok(Row {
            what: what.to_owned(),
            measured: format!("{mebibytes:.1} MiB"),
            beside: String::new(),
            figure: mebibytes,
            unit: "MiB".to_owned(),
            budget,
            samples: json!([mebibytes]),
        })
    }
}
