//! Everything that carries the connections of a supervised process is killed, one after the other, under load.

use std::time::{Duration, Instant};

use bridge_tests::laptop::Laptop;
use bridge_tests::{World, eventually, place};
use serde_json::Value;

/// The limit of a connect's wait for an agent (docs/run.md), and a second for the machine.
const BOUND_MS: f64 = 11_000.0;
/// The duration of the load, in seconds.
const LOAD_S: u64 = 30;
/// The limit until the command reaches the cluster again after the daemon's death: five seconds, and one for the 20
/// requests that show it.
const BACK_WITHIN: Duration = Duration::from_secs(6);

#[test]
#[ignore = "needs a cluster: make soak"]
fn whatever_is_killed_no_connection_into_the_cluster_hangs() {
    // Given a process that makes and keeps connections to web, by its address: names have a limit of their own.
    let world = World::with("deaths", &["orders", "web"]);
    let alice = world.laptop("alice");
    let _ = alice.bridge(&["connect", "orders"]).succeeds();
    let address = world.service("web")["spec"]["clusterIP"].as_str().expect("an address").to_owned();
    let url = format!("http://{address}/whoami");
    let loads = |duration: &str| {
        let load = |mode: &str| {
            format!(
                "--url {url} --mode {mode} --duration {duration} --rate 20 --workers 8 --timeout 30s --expect ^web --progress 200ms"
            )
        };
        let (shop, new, kept) = (place::shop(), load("new"), load("keepalive"));
        format!("exec {} load {new} --and {kept} 2>$HOME/progress", shop.display())
    };
    let running = alice.start_bridge(&["run", "orders", "--", "sh", "-c", &loads(&format!("{LOAD_S}s"))]);
    goes_on(&alice);

    // When the agent dies, connections work again as soon as there is another.
    let agent = world.agents().first().expect("an agent").clone();
    let _ = world.kubectl(&["delete", "pod", &agent, "--grace-period=0", "--force"]).succeeds();
    eventually("another agent is attended", Duration::from_secs(20), || {
        let session = alice.session();
        let agents = session["agents"].as_array().cloned().unwrap_or_default();
        let another = agents.iter().any(|one| one["pod"] != agent.as_str() && one["attended"] == true);
        another.then_some(()).ok_or_else(|| session.to_string())
    });
    goes_on(&alice);

    // When the daemon dies, and the next one, they work again as soon as there is another; it starts automatically.
    for death in ["first", "second"] {
        assert!(alice.kill_daemon(), "expected a daemon");
        let killed = Instant::now();
        goes_on(&alice);
        println!("the {death} daemon's death cost {:.2} s", killed.elapsed().as_secs_f64());
        assert!(killed.elapsed() < BACK_WITHIN, "expected at most {BACK_WITHIN:?}: {:?}", killed.elapsed());
    }
    let ended = running.ends(Duration::from_secs(LOAD_S + 40)).succeeds();

    // Each death took one line, and the session of `connect` was opened again, too: it stays until `disconnect`.
    let lines = |what: &str| ended.stderr.lines().filter(|line| line.contains(what)).count();
    assert_eq!([lines("the daemon is gone: "), lines("orders is connected again")], [2, 2], "{ended}");
    assert_eq!(alice.session()["state"], "routing", "expected what `connect` has asked for");

    // And none has hung.
    for report in ended.stdout.lines().map(|line| serde_json::from_str::<Value>(line).expect("a report")) {
        let slowest = slowest_ms(&report);
        println!(
            "{}: {} requests, {} failed, the slowest took {slowest:.0} ms",
            report["mode"], report["requests"], report["failed"]
        );
        assert!(slowest < BOUND_MS, "expected that nothing takes {BOUND_MS} ms: {report}");
    }

    // When the supervisor dies, its command gets a signal to end, and ends.
    std::fs::remove_file(alice.path("progress")).expect("the former load's");
    let running = alice.start_bridge(&["run", "orders", "--", "sh", "-c", &loads("10m")]);
    goes_on(&alice);
    running.kill();
    let ended = running.ends(Duration::from_secs(20));
    let reports = ended.stdout.lines().count();
    assert_eq!(reports, 2, "expected the command's last words within five seconds: {ended}");
    let _ = alice.bridge(&["disconnect", "orders"]).succeeds();
}

/// The slowest of all requests, including failed ones.
fn slowest_ms(report: &Value) -> f64 {
    let ms = |what: &str| report[what].as_f64().unwrap_or_else(|| panic!("expected {what}: {report}"));
    ms("max_ms").max(ms("failed_max_ms"))
}

/// Waits until the load of each mode has 20 more answers.
fn goes_on(laptop: &Laptop) {
    let counted = || {
        let progress = std::fs::read_to_string(laptop.path("progress")).unwrap_or_default();
        let reports = progress.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        ["new", "keepalive"].map(|mode| {
            let last = reports.clone().rfind(|report| report["mode"] == mode);
            let count =
                |what: &str| last.as_ref().and_then(|report| report[what].as_u64()).unwrap_or_default();
            count("requests") - count("failed")
        })
    };
    let before = counted();
    eventually("20 more of its requests are answered", Duration::from_secs(30), || {
        let now = counted();
        let more = now.iter().zip(&before).all(|(now, before)| *now >= before + 20);
        more.then_some(()).ok_or_else(|| format!("{now:?} after {before:?}"))
    });
}
