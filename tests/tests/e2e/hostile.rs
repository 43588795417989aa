//! A hostile agent that speaks the protocol correctly (`tests/hostile`): none of its offers runs, opens or appears on
//! the laptop.

use std::fs;
use std::path::Path;
use std::time::Duration;

use bridge_tests::place::{bridge, hostile_image};
use bridge_tests::process::{Done, USUAL};
use bridge_tests::{Laptop, World, eventually};
use serde_json::json;

#[test]
#[ignore = "needs a cluster: make test"]
fn offers_of_a_hostile_agent_stay_away_from_the_laptop() {
    let Some(image) = hostile_image() else {
        return println!("skipped: HOSTILE_IMAGE names no image");
    };
    // Given a program beside the command that no route leads to,
    let world = World::with("hostile", &["orders", "client"]);
    let alice = world.laptop("alice");
    let mark = alice.path("owned");
    let private = notes_visits(&alice);
    let data = json!({"data": {"HOSTILE_MARK": mark, "HOSTILE_PORT": private.port.to_string()}}).to_string();
    let _ = world.kubectl(&["patch", "configmap", "orders-config", "--type=merge", "-p", &data]).succeeds();
    // and an agent that offers everything that could harm.
    let orders = alice.runs("orders");
    let connect = ["connect", "orders", "--agent-image", &image, "--port", &orders.for_port("http")];
    is_clean(&alice.bridge(&connect).succeeds());

    // Each of these steps runs commands in that session and leaves it as it is.
    no_variable_of_it_runs_anything(&alice, &mark);
    no_file_of_it_is_where_it_wants(&alice);
    nothing_of_it_reaches_the_terminal(&alice);
    for _ in 0..3 {
        assert!(world.who_answers(&[]).starts_with("orders-"), "expected a pod for others");
    }
    assert!(!alice.path("visited").exists(), "a port that no route names was visited");
    // Its offers, which never end, do not fill the tunnel.
    let log = fs::read_to_string(alice.path("run/bridge/daemon.log")).expect("the daemon's log");
    assert!(!log.contains("the tunnel ended"), "expected one tunnel: {log}");

    is_clean(&alice.bridge(&["disconnect", "orders"]).succeeds());
    assert!(!mark.exists(), "something of the agent's ran: {} is there", mark.display());
}

/// A server on the laptop that leaves a file at each visit.
fn notes_visits(alice: &Laptop) -> bridge_tests::Local {
    let script = format!(
        "import socket; s = socket.create_server(('127.0.0.1', 0))
print('listens on 127.0.0.1:%d' % s.getsockname()[1], flush=True); s.accept(); open({:?}, 'w')",
        alice.path("visited").display().to_string()
    );
    alice.runs_script("notes visits", &script)
}

/// Checks that it has no control characters in its output.
fn is_clean(done: &Done) {
    let said = format!("{}{}", done.stdout, done.stderr);
    let control = |c: char| c.is_control() && c != '\n' && c != '\t';
    assert!(!said.contains(control), "expected no control characters: {said:?}");
}

fn no_variable_of_it_runs_anything(alice: &Laptop, mark: &Path) {
    // All programs that would take a hook from their environment.
    let programs =
        "ls >/dev/null; bash -c true; sh -c true; perl -e 1; python3 -c 1; git --version >/dev/null
        GIT_TERMINAL_PROMPT=0 git ls-remote ssh://nobody@127.0.0.1:1/x 2>/dev/null
        ! command -v node >/dev/null || node -e 1
        echo greeting: $GREETING; tr '\\0' '\\n' </proc/self/environ";
    let done = alice.bridge(&["run", "orders", "--", "bash", "-ic", programs]);
    assert!(done.stdout.contains("greeting: from the agent"), "expected the rest of the environment: {done}");
    assert!(!mark.exists(), "a variable of the agent's ran something: {done}");
    for name in [
        "BASH_ENV",
        "GIT_SSH_COMMAND",
        "LD_PRELOAD",
        "NODE_OPTIONS",
        "PERL5OPT",
        "7 more",
        "not valid variables: 5",
    ] {
        assert!(done.stderr.contains(name), "expected to say that {name} was left out: {done}");
    }
    let led_astray = |line: &&str| line.contains("/etc/shop") && !line.starts_with("BRIDGE_");
    assert_eq!(done.stdout.lines().find(led_astray), None, "expected nothing that leads into the image");
}

fn no_file_of_it_is_where_it_wants(alice: &Laptop) {
    // A view would show its files at their paths; here they are in a directory. Every second time, the agent also
    // violates the protocol, and then there are no files at all.
    let script = "find \"$BRIDGE_ROOT\" -printf '%P %M %l\\n'";
    let runs: Vec<Done> = (0..4)
        .map(|_| alice.bridge(&["run", "orders", "--files", "dir", "--", "sh", "-c", script]))
        .collect();
    let there = |done: &&Done| done.stdout.contains("etc/shop/menu.json");
    assert!(runs.iter().any(|done| there(&done)), "expected the volume of the Deployment once: {runs:?}");
    for done in &runs {
        is_clean(done);
        for gone in ["escaped", "profile.d", "ld.so.preload", "usr", "passwd", "through", "title", "/up"] {
            assert!(!done.stdout.contains(gone), "expected no {gone:?}: {done}");
        }
        let special = |line: &str| line.split(' ').nth(1).is_some_and(|mode| mode.contains(['s', 'S']));
        assert!(!done.stdout.lines().any(special), "expected no file with its owner's rights: {done}");
        let said = if there(&done) {
            "/etc/ld.so.preload (its Deployment does not mount it there)"
        } else {
            "which is not a path in a volume"
        };
        assert!(done.stderr.contains(said), "expected to say {said:?}: {done}");
    }
    for path in ["/tmp/escaped", "/etc/ld.so.preload", "/etc/profile.d/owned", "/usr/bin/owned", "/owned"] {
        assert!(!Path::new(path).exists(), "{path} is there");
    }
    for name in ["escaped", "owned", "ls"] {
        assert!(!alice.path(name).exists(), "{name} is in the home");
    }
}

fn nothing_of_it_reaches_the_terminal(alice: &Laptop) {
    for args in [
        &["requests"][..],
        &["status"],
        &["list"],
        &["dns", "prices"],
        &["dns", "prices", "-o", "json"],
        &["doctor"],
        &["logs"],
    ] {
        is_clean(&alice.bridge(args));
    }
    // Values reach their readers unchanged, and are made visible if that is a terminal.
    let spawn = "import pty, sys; sys.exit(pty.spawn(sys.argv[1:]) >> 8)";
    let bridge = bridge();
    let bridge = bridge.to_str().expect("UTF-8");
    for format in ["shell", "dotenv", "json"] {
        let env = ["-c", spawn, bridge, "env", "orders", "--format", format];
        let done = alice.start(Path::new("python3"), &env).ends(USUAL).succeeds();
        assert!(done.stdout.contains("CLEARS"), "expected the variable: {done}");
        for sequence in ["\u{1b}[2J", "\u{1b}]0;owned", "\u{9b}2J"] {
            assert!(!done.stdout.contains(sequence), "{format}: {sequence:?} reaches the terminal: {done:?}");
        }
    }
    eventually("the session goes on", Duration::from_secs(10), || {
        let session = alice.session();
        (session["state"] == "routing").then_some(()).ok_or_else(|| session.to_string())
    });
}
