//! An Argo Rollout gets sidecars. Its own controller replaces the pods.

use bridge_tests::World;
use bridge_tests::place::{as_admin, file, kubectl_with};
use bridge_tests::process::Running;

use crate::sidecar::is_rolled_out;
use crate::sidecar_kinds::{Kind, STRATEGY, sidecars_come_and_go_under_load};

const ROLLOUT: Kind = Kind { workload: "rollout/orders", title: "Rollout orders", manifest: rollout };

/// The same strategy as that of the Deployment, and then with a step.
const CANARY: &str = "  strategy:\n    canary:\n      maxUnavailable: 0\n      maxSurge: 1\n";
const STEPS: &str = "      steps: [{setWeight: 50}, {pause: {}}]\n";

#[test]
#[ignore = "needs a cluster: make soak"]
fn an_argo_rollout_gets_sidecars() {
    let world = World::with("argo", &["client"]);
    let _argo = Argo::start(&world);
    let _ = world.apply(&rollout(&world));
    is_rolled_out(&world, ROLLOUT.workload);
    let alice = world.laptop("alice");
    let orders = alice.runs("orders");

    // Without the right to read it, and without the one to change it, bridge says so; a stand-in needs neither.
    alice.bridge(&["connect", "orders", "--mode", "sidecar"]).fails(3, "deploy/rbac-sidecar.yaml");
    let _ = alice.bridge(&["connect", "orders", "--port", &orders.for_port("http")]).succeeds();
    assert_eq!(world.who_answers(&["x-bridge=alice"]), orders.name);
    let _ = alice.bridge(&["disconnect", "orders"]).succeeds();

    world.allows_sidecars();
    sidecars_come_and_go_under_load(&world, &alice, &orders, &ROLLOUT);

    // One that rolls out in steps is left alone.
    let _ = world.apply(&rollout(&world).replace(CANARY, &format!("{CANARY}{STEPS}")));
    alice.bridge(&["connect", "orders", "--mode", "sidecar"]).fails(3, "rolls out in steps");
}

fn rollout(world: &World) -> String {
    let manifest = world.manifest("orders").replace(
        "apiVersion: apps/v1\nkind: Deployment\n",
        "apiVersion: argoproj.io/v1alpha1\nkind: Rollout\n",
    );
    manifest.replace(STRATEGY, CANARY)
}

/// The kinds of Argo Rollouts, and their controller for one namespace. Both go when dropped.
struct Argo {
    _controller: Running,
}

impl Argo {
    fn start(world: &World) -> Self {
        let (program, crds) = (file("tests/argo/bin/rollouts-controller"), file("tests/argo/bin/crds.yaml"));
        assert!(program.is_file(), "expected that tests/argo/build has made {}", program.display());
        let crds = std::fs::read_to_string(crds).expect("the definitions of its kinds");
        let _ = kubectl_with(&["apply", "--server-side", "-f", "-"], &crds).succeeds();
        let mut controller = as_admin(program, "--context");
        controller.args([
            "--namespaced",
            &format!("--namespace={}", world.namespace),
            "--leader-elect=false",
            "--metricsport=0",
            "--healthzPort=0",
        ]);
        let _controller = Running::start("rollouts-controller".to_owned(), controller, "");
        Self { _controller }
    }
}

impl Drop for Argo {
    fn drop(&mut self) {
        let kinds =
            ["analysisruns", "analysistemplates", "clusteranalysistemplates", "experiments", "rollouts"];
        let names = kinds.map(|kind| format!("customresourcedefinitions/{kind}.argoproj.io"));
        let delete = ["delete", "--wait=false", "--ignore-not-found"];
        let names: Vec<&str> = delete.into_iter().chain(names.iter().map(String::as_str)).collect();
        let _ = kubectl_with(&names, "");
    }
}
