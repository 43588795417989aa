//! Unusual images, large programs, users, names, ports and limits.

use super::*;

#[test]
fn an_image_needs_neither_program_nor_loader() {
    let stand_in = StandIn { agent: AgentSource::Image("agent:1".into()), ..orders() };
    assert_eq!(program(&stand_in), Ok(vec![]));
    let agent = agent(&stand_in);
    assert_eq!(agent["image"], "agent:1");
    assert_eq!(agent["command"], json!(["/bridge-agent"]));
    assert_eq!(agent["args"][0], "--forward");
    let spec = pod_spec(&stand_in);
    let names: Vec<_> = spec["volumes"].as_array().unwrap().iter().map(|v| v["name"].clone()).collect();
    assert_eq!(names, ["config", "bridge-key"]);
    let required = &spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
    assert!(!required.to_string().contains("kubernetes.io/arch"), "an image may be for several");
}

#[test]
fn a_large_program_comes_in_parts() {
    let mut stand_in = orders();
    if let AgentSource::Carried(program) = &mut stand_in.agent {
        program.agent = vec![7; 1_500_000].into();
    }
    assert_eq!(program(&stand_in).unwrap().len(), 2);
    let args = agent(&stand_in)["args"].take();
    assert_eq!(
        args.as_array().unwrap()[2..6],
        ["/bridge.dev/program/agent.zst.0", "/bridge.dev/program/agent.zst.1", "/bridge.dev/run/agent", "--"]
    );
    let volume = pod_spec(&stand_in)["volumes"][2].take();
    assert_eq!(volume["projected"]["sources"].as_array().unwrap().len(), 2);
}

#[test]
fn the_user_is_the_origins_unless_that_is_root() {
    for (pod, container, openshift, expected) in [
        (json!({}), json!({}), false, json!(65532)),
        (json!({"runAsUser": 0}), json!({}), false, json!(65532)),
        (json!({"runAsUser": 1000}), json!({}), false, json!(1000)),
        (json!({"runAsUser": 1000}), json!({"runAsUser": 2000}), false, json!(2000)),
        (json!({"runAsUser": 1000}), json!({"runAsUser": 0}), false, json!(65532)),
        (json!({"runAsUser": 1000}), json!({}), true, Value::Null),
    ] {
        let mut stand_in = StandIn { openshift, ..orders() };
        stand_in.pod_template["spec"]["securityContext"] = pod.clone();
        stand_in.pod_template["spec"]["containers"][1]["securityContext"] = container.clone();
        assert_eq!(pod_spec(&stand_in)["securityContext"]["runAsUser"], expected, "{pod} {container}");
    }
}

#[test]
fn our_names_and_folders_make_way() {
    let mut stand_in = orders();
    let container = &mut stand_in.pod_template["spec"]["containers"][1];
    container["env"] = json!([{"name": "BRIDGE_POD_NAME", "value": "theirs"}]);
    container["volumeMounts"] = json!([{"name": "bridge-run", "mountPath": "/bridge.dev/$(x)"}]);
    stand_in.pod_template["spec"]["volumes"] = json!([{"name": "bridge-run", "emptyDir": {}}]);
    let agent = agent(&stand_in);
    assert_eq!(agent["env"][1]["name"], "BRIDGE_POD_NAME_2");
    let args = agent["args"].as_array().unwrap();
    assert!(args.contains(&json!("$(BRIDGE_POD_NAME_2)")) && args.contains(&json!("BRIDGE_POD_NAME_2")));
    assert!(args.contains(&json!("/bridge.dev/$$(x)")), "their folder, as it is written: {args:?}");
    assert!(!args.contains(&json!("/bridge.dev-2/key")), "ours is no volume of theirs");
    assert_eq!(agent["volumeMounts"][3], json!({"name": "bridge-run-2", "mountPath": "/bridge.dev-2/run"}));
}

#[test]
fn our_ports_make_way() {
    let template = json!({"spec": {"containers": [{"name": "a", "ports": [{"containerPort": 7390}]}]}});
    let listen = [ListenPort { service_port: 80, name: None, listen: 7392, agent: 7392 }];
    assert_eq!(own_ports(&template, &listen), OwnPorts { control: 7391, readiness: 7393, metrics: 7394 });
    assert_eq!(own_ports(&json!({}), &[]), OwnPorts { control: 7390, readiness: 7391, metrics: 7392 });
}

#[test]
fn two_ports_of_the_service_may_lead_to_one() {
    let mut stand_in = orders();
    stand_in.service.ports = serde_json::from_value(json!([
        {"name": "a", "port": 80, "targetPort": 8080}, {"name": "b", "port": 8080, "targetPort": "http"}
    ]))
    .unwrap();
    let args = agent(&stand_in)["args"].take();
    assert_eq!(args.as_array().unwrap()[5..8], ["--forward", "8080=10.96.0.7:80", "--control"]);
}

#[test]
fn an_origin_may_have_an_ipv6_address() {
    let deployment = deployment(&orders(), "fd00::7".parse().unwrap()).unwrap();
    assert!(deployment.to_string().contains(r#""8080=[fd00::7]:80""#));
}

#[test]
fn a_cpu_limit_is_set_only_when_asked_for() {
    assert_eq!(agent(&orders())["resources"]["limits"], json!({"memory": "512Mi"}));
    let limited = StandIn { cpu_limit: Some("500m".into()), ..orders() };
    assert_eq!(agent(&limited)["resources"]["limits"], json!({"cpu": "500m", "memory": "512Mi"}));
}

#[test]
fn a_missing_container_or_image_is_an_error() {
    let no_container = StandIn { container: "other".into(), ..orders() };
    assert_eq!(
        deployment(&no_container, at_origin()),
        Err(DeployError::NoContainer { container: "other".into() })
    );
    let mut no_image = orders();
    no_image.pod_template["spec"]["containers"][1]["image"] = Value::Null;
    assert_eq!(deployment(&no_image, at_origin()), Err(DeployError::NoImage { container: "orders".into() }));
}

#[test]
fn a_stand_in_has_no_more_replicas_than_it_needs() {
    assert_eq!([0, 1, 2, 5].map(replicas_for), [2, 1, 2, 5]);
}
