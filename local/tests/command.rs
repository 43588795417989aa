//! The command without a cluster: help, errors in arguments and the config file, exit codes, the shapes of its output,
//! and a daemon that starts, answers, and is found again.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Output, time::Duration};

use assert_cmd::Command;
use bridge_proto::v1::{UseRequest, daemon_client::DaemonClient};
use hyper_util::rt::TokioIo;
use tempfile::TempDir;
use tonic::transport::Endpoint;

/// A separate user: home, configuration and runtime directory. A daemon that a command has started ends with it.
struct User {
    home: TempDir,
}

impl User {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        for directory in ["run", "config/bridge"] {
            fs::create_dir_all(home.path().join(directory)).unwrap();
        }
        fs::set_permissions(home.path().join("run"), fs::Permissions::from_mode(0o700)).unwrap();
        User { home }
    }

    fn with_config(text: &str) -> Self {
        let user = User::new();
        fs::write(user.config_file(), text).unwrap();
        user
    }

    fn config_file(&self) -> std::path::PathBuf {
        self.home.path().join("config/bridge/config.toml")
    }

    fn runtime(&self) -> std::path::PathBuf {
        self.home.path().join("run/bridge")
    }

    fn command(&self, line: &[&str]) -> Command {
        let mut command = Command::cargo_bin("bridge").unwrap();
        command
            .args(line)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.home.path())
            .env("USER", "alice")
            .env("XDG_CONFIG_HOME", self.home.path().join("config"))
            .env("XDG_RUNTIME_DIR", self.home.path().join("run"));
        command
    }

    fn run(&self, line: &[&str]) -> Output {
        self.command(line).output().unwrap()
    }

    /// A kubeconfig with the context `dev`.
    fn has_cluster(&self, address: std::net::SocketAddr) {
        fs::create_dir(self.home.path().join(".kube")).unwrap();
        let kubeconfig = serde_json::json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "dev",
            "clusters": [{"name": "c", "cluster": {"server": format!("http://{address}")}}],
            "users": [{"name": "u", "user": {}}],
            "contexts": [{"name": "dev", "context": {"cluster": "c", "user": "u"}}],
        });
        fs::write(self.home.path().join(".kube/config"), kubeconfig.to_string()).unwrap();
    }

    /// Starts the daemon as any command would that needs it.
    fn daemon(&self) -> DaemonProcess {
        self.daemon_that_logs_to(std::process::Stdio::null())
    }

    fn daemon_that_logs_to(&self, log: std::process::Stdio) -> DaemonProcess {
        let program = assert_cmd::cargo::cargo_bin("bridge");
        let mut command = std::process::Command::new(program);
        command
            .args(["daemon", "--idle", "60"])
            .env("XDG_RUNTIME_DIR", self.home.path().join("run"))
            .stdout(std::process::Stdio::piped())
            .stderr(log);
        let mut child = command.spawn().unwrap();
        let mut said = String::new();
        std::io::Read::read_to_string(&mut child.stdout.take().unwrap(), &mut said).unwrap();
        assert_eq!(said, "ready\n");
        DaemonProcess { child }
    }
}

impl Drop for User {
    fn drop(&mut self) {
        let status = self.run(&["status", "-o", "json"]).stdout;
        let status: serde_json::Value = serde_json::from_slice(&status).unwrap_or_default();
        if let Some(pid) = status["daemon"]["pid"].as_u64() {
            let _ = kill("TERM", pid);
        }
    }
}

fn kill(signal: &str, pid: u64) -> bool {
    let kill = std::process::Command::new("kill").arg(format!("-{signal}")).arg(pid.to_string()).status();
    kill.is_ok_and(|status| status.success())
}

struct DaemonProcess {
    child: std::process::Child,
}

impl Drop for DaemonProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[track_caller]
fn assert_fails(output: &Output, code: i32, parts: &[&str]) {
    let text = stderr(output);
    assert_eq!(output.status.code(), Some(code), "{text}");
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
}

#[test]
fn help_names_every_command_and_the_exit_codes() {
    let user = User::new();
    let short = stdout(&user.run(&["-h"]));
    for command in [
        "connect",
        "disconnect",
        "status",
        "requests",
        "list",
        "clean",
        "doctor",
        "logs",
        "open",
        "completion",
        "version",
        "Start with",
    ] {
        assert!(short.contains(command), "{command} is not in:\n{short}");
    }
    assert!(!short.contains("\n  daemon"), "the daemon is nobody's command:\n{short}");
    let long = stdout(&user.run(&["--help"]));
    for part in ["Exit codes:", "6  someone else has the match", "config.toml"] {
        assert!(long.contains(part), "{part} is not in:\n{long}");
    }
}

#[test]
fn as_a_plugin_it_shows_the_typed_command() {
    let user = User::new();
    let link = user.home.path().join("kubectl-bridge");
    std::os::unix::fs::symlink(assert_cmd::cargo::cargo_bin("bridge"), &link).unwrap();
    let output = Command::new(&link).args(["connect", "-h"]).output().unwrap();
    assert!(stdout(&output).contains("Usage: kubectl bridge connect"), "{}", stdout(&output));
    let output = User::new().run(&["connect", "-h"]);
    assert!(stdout(&output).contains("Usage: bridge connect"), "{}", stdout(&output));
}

#[test]
fn a_wrong_line_is_a_usage_error() {
    let user = User::new();
    for (line, part) in [
        (&["connect"][..], "<TARGET>"),
        (&["connect", "job/x"], "unknown kind job/"),
        (&["connect", "x", "--header", "a"], "NAME=VALUE"),
        (&["connect", "x", "--header", "a~=b("], "    b(\n     ^\nerror: unclosed group"),
        (&["connect", "x", "--path", "v1"], "^=/BEGINNING"),
        (&["connect", "x", "--path", "/a", "--path", "/b"], "no request has both"),
        (&["connect", "x", "--method", "GET,POST"], "one word"),
        (&["connect", "x", "--path", "/a", "--everything"], "cannot be used with"),
        (&["connect", "x", "--header", "a=b", "--compat", "bridge-to-kubernetes"], "cannot be used with"),
        (&["connect", "x", "--header", "a=b", "--everything"], "cannot be used with"),
        (&["connect", "x", "--copy", "--keep-cache-headers"], "cannot be used with"),
        (&["connect", "x", "--port", "0"], "not a local port"),
        (&["connect", "x", "--port", "1:http", "--port", "2:http"], "contradicts"),
        (&["connect", "x", "--me", "root"], "does not say who you are"),
        (&["connect", "x", "--replicas", "0"], "1..=100"),
        (&["disconnect", "x", "--all"], "cannot be used with"),
        (&["status", "-o", "xml"], "possible values"),
        (&["logs"], "required"),
        (&["requests", "job/x"], "unknown kind job/"),
        (&["open", "web", "--host", "a", "--url", "https://a"], "cannot be used with"),
        (&["open", "web", "--url", "https://a/b"], "is not a URL like"),
        (&["open", "web", "--also", "a"], "HOST=SERVICE[:PORT]"),
        (&["open", "web", "x"], "a path begins with /"),
        (&["conect"], "connect"),
    ] {
        assert_fails(&user.run(line), 2, &[part]);
    }
}

#[test]
fn root_is_nobody() {
    let output = User::new().command(&["connect", "orders"]).env("USER", "root").output().unwrap();
    assert_fails(&output, 2, &["error: your user name \"root\"", "→ bridge connect orders --me alice"]);
}

#[test]
fn the_config_file_s_mistakes_are_named() {
    let user = User::with_config("me = 'alice'\nnamspace = 'shop'\n");
    let file = user.config_file();
    let expected = format!(
        "error: the config file {}, line 2: unknown key namspace\n  → did you mean namespace?\n",
        file.display()
    );
    let output = user.run(&["connect", "orders"]);
    assert_eq!((output.status.code(), stderr(&output)), (Some(2), expected));

    let user = User::with_config("replicas = 'many'\n");
    assert_fails(&user.run(&["connect", "orders"]), 2, &["line 1: expected u32"]);
}

#[test]
fn without_the_agent_inside_connect_says_what_to_do() {
    let user = User::new();
    let output = user.run(&["connect", "orders"]);
    assert_fails(
        &output,
        1,
        &["error: this bridge was built without the agent", "→ build it with `make build`", "--agent-image"],
    );
    assert!(!user.runtime().exists(), "nothing was started");
}

#[test]
fn without_a_daemon_nothing_is_connected() {
    let user = User::new();
    assert_eq!(stdout(&user.run(&["status"])), "nothing is connected\n");
    assert_eq!(
        stdout(&user.run(&["status", "-o", "json"])),
        "{\n  \"sessions\": [],\n  \"daemon\": null\n}\n"
    );
    assert_eq!(stdout(&user.run(&["status", "-o", "yaml"])), "sessions: []\ndaemon: null\n");
    let output = user.run(&["disconnect", "orders"]);
    assert_eq!(
        (output.status.code(), stdout(&output).as_str()),
        (Some(0), "orders is not connected from your laptop\n")
    );
    assert_eq!(stdout(&user.run(&["disconnect", "--all"])), "nothing is connected from your laptop\n");
    assert_fails(&user.run(&["logs", "--daemon"]), 1, &["no daemon has run"]);
    assert_fails(&user.run(&["requests"]), 3, &["error: nothing is connected", "→ connect first"]);
    assert_fails(&user.run(&["requests", "orders", "-f"]), 3, &["error: orders is not connected"]);
}

#[test]
fn a_runtime_directory_that_others_can_write_to_is_refused() {
    let user = User::new();
    fs::set_permissions(user.home.path().join("run"), fs::Permissions::from_mode(0o777)).unwrap();
    assert_fails(&user.run(&["status"]), 1, &["is accessible to others (mode 777)", "→ set XDG_RUNTIME_DIR"]);
}

#[test]
fn the_daemon_answers_and_a_killed_one_is_no_obstacle() {
    let user = User::new();
    {
        let daemon = user.daemon();
        let status: serde_json::Value =
            serde_json::from_slice(&user.run(&["status", "-o", "json"]).stdout).unwrap();
        assert_eq!(status["daemon"]["pid"], daemon.child.id());
        assert_eq!(status["sessions"], serde_json::json!([]));
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&user.runtime()), 0o700);
        assert_eq!(mode(&user.runtime().join("daemon.sock")) & 0o077, 0);
        assert!(stdout(&user.run(&["version"])).contains(&format!("daemon  {}", env!("CARGO_PKG_VERSION"))));
    }
    // killed: its socket file is still there
    assert!(user.runtime().join("daemon.sock").exists());
    assert_eq!(stdout(&user.run(&["status"])), "nothing is connected\n");
    let _again = user.daemon();
    assert_eq!(user.run(&["status"]).status.code(), Some(0));
}

#[cfg(target_os = "linux")]
#[test]
fn a_log_on_a_full_disk_is_no_obstacle() {
    let user = User::new();
    // Nobody listens on the port.
    user.has_cluster(std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap());
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let _daemon = user.daemon_that_logs_to(full.into());
    let connect = ["connect", "orders", "--agent-image", "example.test/agent", "--me", "alice"];
    assert_fails(&user.run(&connect), 5, &["cannot reach the API server", "→"]);
}

#[tokio::test]
async fn a_daemon_that_is_told_to_end_waits_for_no_call_that_would_go_on() {
    // given: a command that is about to use a session
    let user = User::new();
    let mut daemon = user.daemon();
    let socket = user.runtime().join("daemon.sock");
    let connect = tower::service_fn(move |_| {
        let socket = socket.clone();
        async move { tokio::net::UnixStream::connect(socket).await.map(TokioIo::new) }
    });
    let channel = Endpoint::from_static("http://bridge").connect_with_connector(connect).await.unwrap();
    let (_requests_tx, requests_rx) = tokio::sync::mpsc::channel::<UseRequest>(1);
    let requests = tokio_stream::wrappers::ReceiverStream::new(requests_rx);
    let mut used = DaemonClient::new(channel).r#use(requests).await.unwrap().into_inner();
    // when: it gets SIGTERM, then: it ends
    assert!(kill("TERM", daemon.child.id().into()));
    let ended = tokio::task::spawn_blocking(move || daemon.child.wait());
    let ended = tokio::time::timeout(Duration::from_secs(10), ended).await.expect("it ends");
    assert!(ended.unwrap().unwrap().success());
    assert!(!matches!(used.message().await, Ok(Some(_))), "no event arrives");
}

#[test]
fn commands_that_need_the_daemon_at_once_start_one() {
    let user = User::new();
    // The agent is in an image; so the missing cluster is the daemon's answer.
    let line = ["connect", "orders", "--agent-image", "example.test/agent"];
    let outputs: Vec<Output> = std::thread::scope(|scope| {
        let running: Vec<_> = (0..4).map(|_| scope.spawn(|| user.run(&line))).collect();
        running.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    for output in outputs {
        assert_fails(&output, 2, &["no kubeconfig found", "→"]);
    }
    let status: serde_json::Value =
        serde_json::from_slice(&user.run(&["status", "-o", "json"]).stdout).unwrap();
    let pid = status["daemon"]["pid"].as_u64().unwrap();
    let log = fs::read_to_string(user.runtime().join("daemon.log")).unwrap();
    assert!(!user.runtime().join("daemon.old").exists(), "a second one began a second log: {log}");
    // when: the terminal's user logs out, the daemon gets SIGTERM and takes its socket along
    assert!(kill("TERM", pid));
    assert!(
        user.command(&["daemon", "--idle", "0"]).output().unwrap().status.success(),
        "it waits for the former one"
    );
    assert!(!user.runtime().join("daemon.sock").exists());
}

#[test]
fn versions_for_programs() {
    let user = User::new();
    assert_eq!(stdout(&user.run(&["version", "--short"])).trim(), env!("CARGO_PKG_VERSION"));
    let versions: serde_json::Value =
        serde_json::from_slice(&user.run(&["version", "-o", "json"]).stdout).unwrap();
    assert_eq!(
        versions,
        serde_json::json!({
            "version": env!("CARGO_PKG_VERSION"),
            "protocolRevision": bridge_proto::version::ours().revision,
            "agentArchitecture": null,
            "daemon": null,
        })
    );
}

#[test]
fn completions_are_scripts_of_the_shell() {
    let user = User::new();
    for (shell, part) in [("bash", "complete "), ("zsh", "#compdef bridge"), ("fish", "complete -c bridge")] {
        assert!(stdout(&user.run(&["completion", shell])).contains(part), "{shell}");
    }
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let user = User::new();
    let mut command = std::process::Command::new(assert_cmd::cargo::cargo_bin("bridge"));
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = command
        .args(["completion", "bash"])
        .env("XDG_RUNTIME_DIR", user.home.path().join("run"))
        .stdout(writer)
        .output()
        .unwrap();
    assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), ""));
}

#[test]
fn without_a_kubeconfig_it_says_where_it_looked() {
    let user = User::new();
    let expected = user.home.path().join(".kube/config").display().to_string();
    for line in [&["list"][..], &["doctor"], &["logs", "orders"]] {
        let output = user.run(line);
        assert_eq!(
            output.status.code(),
            Some(if line[0] == "doctor" { 1 } else { 2 }),
            "{}",
            stderr(&output)
        );
        let said = stdout(&output) + &stderr(&output);
        assert!(said.contains(&expected) && said.contains("--kubeconfig"), "{said}");
    }
}

#[test]
fn no_value_of_a_kubeconfig_is_quoted() {
    const SECRET: &str = "hunter2-Xy7";
    let broken = format!("users:\n- name: a\n  user:\n    token: [{SECRET}]\n");
    let failing = serde_json::json!({
        "current-context": "dev",
        "clusters": [{"name": "dev", "cluster": {"server": "https://127.0.0.1:1"}}],
        "contexts": [{"name": "dev", "context": {"cluster": "dev", "user": "a"}}],
        "users": [{"name": "a", "user": {"exec": {
            "apiVersion": "client.authentication.k8s.io/v1", "command": "false", "interactiveMode": "Never",
            "env": [{"name": "PASSWORD", "value": SECRET}],
        }}}],
    });
    for (kubeconfig, place) in [(broken, "line 4"), (failing.to_string(), "credential plugin")] {
        let user = User::new();
        let path = user.home.path().join("kubeconfig");
        fs::write(&path, kubeconfig).unwrap();
        let said = stderr(&user.run(&["list", "--kubeconfig", path.to_str().unwrap()]));
        assert!(said.contains(place) && !said.contains(SECRET), "{said}");
    }
}

#[test]
fn an_unreachable_cluster_is_exit_code_5() {
    let user = User::new();
    // Nobody listens on the port: it was free a moment ago, and loopback refuses at once.
    user.has_cluster(std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap());
    assert_fails(&user.run(&["list"]), 5, &["cannot reach the API server", "→"]);
    assert_fails(&user.run(&["list", "--context", "de"]), 2, &["no context \"de\"", "dev"]);
}

#[test]
fn an_interrupted_connect_says_so() {
    let user = User::new();
    // given: an API server that takes the connection and sends nothing
    let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    user.has_cluster(server.local_addr().unwrap());
    let mut command = std::process::Command::new(assert_cmd::cargo::cargo_bin("bridge"));
    command
        .args(["connect", "orders", "--agent-image", "example.test/agent", "--me", "alice"])
        .env("HOME", user.home.path())
        .env("XDG_CONFIG_HOME", user.home.path().join("config"))
        .env("XDG_RUNTIME_DIR", user.home.path().join("run"))
        .env_remove("KUBECONFIG")
        .stderr(std::process::Stdio::piped());
    let child = command.spawn().unwrap();
    // when: Ctrl-C while the daemon is waiting for it
    let _connection = server.accept().unwrap();
    assert!(kill("INT", child.id().into()));
    // then
    let output = child.wait_with_output().unwrap();
    assert_fails(&output, 130, &["error: interrupted: undoing what was started for orders"]);
    assert_eq!(stdout(&user.run(&["status"])), "nothing is connected\n");
}
