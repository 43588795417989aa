//! An agent that speaks the protocol rightly and means harm (`tests/hostile`): nothing of what it offers runs, opens or
//! appears on the laptop.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bridge_tests::place::hostile_image;
use bridge_tests::process::Done;
use bridge_tests::{Laptop, World, eventually};
use serde_json::json;

#[test]
#[ignore = "needs a cluster: make test"]
fn what_a_hostile_agent_offers_stays_away_from_the_laptop() {
    let Some(image) = hostile_image() else {
        return println!("skipped: HOSTILE_IMAGE names no image");
    };
    // Given a program beside the command that nothing leads to,
    let world = World::with("hostile", &["orders", "client"]);
    let alice = world.laptop("alice");
    let mark = alice.path("owned");
    let private = notes_visits(&alice);
    let told = json!({"data": {"HOSTILE_MARK": mark, "HOSTILE_PORT": private.port.to_string()}}).to_string();
    let _ = world.kubectl(&["patch", "configmap", "orders-config", "--type=merge", "-p", &told]).succeeds();
    // and an agent that offers all that could harm.
    let orders = alice.runs("orders");
    let connect = ["connect", "orders", "--agent-image", &image, "--port", &orders.for_port("http")];
    is_clean(&alice.bridge(&connect).succeeds());

    no_variable_of_it_runs_anything(&alice, &mark);
    no_file_of_it_is_where_it_wants(&alice);
    nothing_of_it_reaches_the_terminal(&alice);
    for _ in 0..3 {
        assert!(world.who_answers(&[]).starts_with("orders-"), "expected a pod for others");
    }
    assert!(!alice.path("visited").exists(), "a port that no route names was visited");

    is_clean(&alice.bridge(&["disconnect", "orders"]).succeeds());
    assert!(!mark.exists(), "something of the agent's ran: {} is there", mark.display());
}

/// A server of the laptop that leaves a file when somebody comes.
fn notes_visits(alice: &Laptop) -> bridge_tests::Local {
    let script = format!(
        "import socket; s = socket.create_server(('127.0.0.1', 0))
print('listens on 127.0.0.1:%d' % s.getsockname()[1], flush=True); s.accept(); open({:?}, 'w')",
        alice.path("visited").display().to_string()
    );
    alice.runs_script("notes visits", &script)
}

/// Has no control characters in it.
fn is_clean(done: &Done) {
    let said = format!("{}{}", done.stdout, done.stderr);
    let control = |c: char| c.is_control() && c != '\n' && c != '\t';
    assert!(!said.contains(control), "expected no control characters: {said:?}");
}

fn no_variable_of_it_runs_anything(alice: &Laptop, mark: &Path) {
    // Programs that would take a hook from their environment, each of them.
    let programs =
        "ls >/dev/null; bash -c true; sh -c true; perl -e 1; python3 -c 1; git --version >/dev/null
        GIT_TERMINAL_PROMPT=0 git ls-remote ssh://nobody@127.0.0.1:1/x 2>/dev/null
        ! command -v node >/dev/null || node -e 1
        echo greeting: $GREETING; tr '\\0' '\\n' </proc/self/environ";
    let done = alice.bridge(&["run", "orders", "--", "bash", "-ic", programs]);
    assert!(done.stdout.contains("greeting: from the agent"), "expected the rest of the environment: {done}");
    assert!(!mark.exists(), "a variable of the agent's ran something: {done}");
    for name in ["BASH_ENV", "GIT_SSH_COMMAND", "LD_PRELOAD", "NODE_OPTIONS", "PERL5OPT", "PYTHONSTARTUP"] {
        assert!(done.stderr.contains(name), "expected to say that {name} was left out: {done}");
    }
    assert!(!done.stdout.contains("/etc/shop"), "expected nothing that leads into the image: {done}");
}

fn no_file_of_it_is_where_it_wants(alice: &Laptop) {
    let script =
        "find \"$BRIDGE_ROOT\" -printf '%P %M %l\\n'; test ! -e /etc/shop/owned.py && test ! -e /tmp/escaped";
    let done = alice.bridge(&["run", "orders", "--", "sh", "-c", script]);
    println!("{done}");
    is_clean(&done);
    for gone in ["escaped", "etc/profile.d", "ld.so.preload", "usr", "passwd", "through"] {
        assert!(!done.stdout.contains(gone), "expected no {gone:?}: {done}");
    }
    let special = |line: &str| line.split(' ').nth(1).is_some_and(|mode| mode.contains(['s', 'S']));
    assert!(!done.stdout.lines().any(special), "expected no file with its user's rights: {done}");
    for path in ["/tmp/escaped", "/etc/ld.so.preload", "/etc/profile.d/owned", "/usr/bin/owned", "/owned"] {
        assert!(!Path::new(path).exists(), "{path} is there");
    }
    let outside: Vec<PathBuf> = fs::read_dir(alice.path(""))
        .expect("a home")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.ends_with("escaped") || path.ends_with("owned") || path.ends_with("ls"))
        .collect();
    assert!(outside.is_empty(), "expected nothing of the agent's in the home: {outside:?}");
}

fn nothing_of_it_reaches_the_terminal(alice: &Laptop) {
    for args in [
        &["requests"][..],
        &["status"],
        &["list"],
        &["env", "orders"],
        &["env", "orders", "--format", "json"],
        &["dns", "prices"],
        &["dns", "prices", "-o", "json"],
        &["doctor"],
        &["logs"],
    ] {
        is_clean(&alice.bridge(args));
    }
    eventually("the session goes on", Duration::from_secs(10), || {
        let session = alice.session();
        (session["state"] == "routing").then_some(()).ok_or_else(|| session.to_string())
    });
}
