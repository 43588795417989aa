//! A release that Helm upgrades while its Service is connected: Helm 3 merges on the caller's laptop, Helm 4 has the
//! API server apply, where two owners of one field are a conflict.

use std::fs;

use bridge_tests::place::{as_admin, file};
use bridge_tests::process::{Done, Running, USUAL};
use bridge_tests::{World, eventually};
use tempfile::TempDir;

#[test]
#[ignore = "needs a cluster: make soak"]
fn helm_3_upgrades_a_connected_release() {
    an_upgrade_goes_through("helm3");
}

#[test]
#[ignore = "needs a cluster: make soak"]
fn helm_4_upgrades_a_connected_release() {
    an_upgrade_goes_through("helm4");
}

fn an_upgrade_goes_through(helm: &'static str) {
    // Given a release with orders in it, and Alice connected.
    let world = World::with(helm, &["client"]);
    let release = Release::new(helm, &world);
    let _ = release.helm(&["install", "--wait", "--timeout=50s"], "first").succeeds();
    let others = world.others_by("others", &["new", "keepalive"]);
    let alice = world.laptop("alice");
    let orders = alice.runs("orders");
    let connect = ["connect", "orders", "--port", &orders.for_port("http")];
    let _ = alice.bridge(&connect).succeeds();
    assert_eq!(world.who_answers(&["x-bridge=alice"]), orders.name);

    // When it is upgraded, without force, then that goes through, and the Service leads to the pods.
    let _ = release.helm(&["upgrade"], "second").succeeds();
    assert_eq!(world.service("orders")["metadata"]["annotations"]["shop/release"], "second");
    eventually("all requests are answered by the pods", USUAL, || {
        let answerer = world.who_answers(&["x-bridge=alice"]);
        answerer.starts_with("orders-").then_some(()).ok_or(answerer)
    });

    // When Alice connects again and disconnects, the next upgrade goes through as well.
    let _ = alice.bridge(&connect).succeeds();
    assert_eq!(world.who_answers(&["x-bridge=alice"]), orders.name);
    let _ = alice.bridge(&["disconnect", "orders"]).succeeds();
    let _ = release.helm(&["upgrade"], "third").succeeds();
    others.goes_on(20);
    others.has_lost_nothing();
    let _ = release.helm(&["uninstall"], "").succeeds();
}

/// A chart with orders in it, in a home of its own.
struct Release {
    helm: &'static str,
    namespace: String,
    home: TempDir,
}

impl Release {
    fn new(helm: &'static str, world: &World) -> Self {
        let home = tempfile::Builder::new().prefix("bridge-test-").tempdir().expect("a directory");
        let templates = home.path().join("chart/templates");
        fs::create_dir_all(&templates).expect("a directory");
        let chart = "apiVersion: v2\nname: orders\nversion: 0.1.0\n";
        fs::write(home.path().join("chart/Chart.yaml"), chart).expect("written");
        let noted = "kind: Service\nmetadata:\n  annotations: {shop/release: {{ .Values.release }}}\n";
        let objects = world.manifest("orders").replace("kind: Service\nmetadata:\n", noted);
        fs::write(templates.join("orders.yaml"), objects).expect("written");
        Self { helm, namespace: world.namespace.clone(), home }
    }

    fn helm(&self, verb: &[&str], release: &str) -> Done {
        let program = file(&format!("tests/helm/bin/{}", self.helm));
        assert!(program.is_file(), "expected that tests/helm/build has made {}", program.display());
        let mut command = as_admin(program, "--kube-context");
        for name in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
            command.env(name, self.home.path().join(name));
        }
        command.args(verb).arg(format!("--namespace={}", self.namespace)).arg("orders");
        if verb[0] != "uninstall" {
            command.arg(self.home.path().join("chart")).arg(format!("--set=release={release}"));
        }
        Running::start(format!("{} {}", self.helm, verb.join(" ")), command, "").ends(USUAL)
    }
}
