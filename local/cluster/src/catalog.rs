//! The Services of a namespace, which can be connected, and who is connected: `bridge list`. Reads a few lists instead
//! of a snapshot of each Service.

use std::collections::{BTreeMap, BTreeSet};

use bridge_deploy::{SERVICE_LABEL, STAND_IN_LABEL};
use bridge_proto::target::{Kind, Target};
use k8s_openapi::api::{
    core::v1::{Namespace, Pod, Service},
    networking::v1::NetworkPolicy,
};
use kube::{
    Api, ResourceExt,
    api::{DynamicObject, ListParams},
};

use crate::{
    access::Right,
    app::AppKind,
    choose::{Asked, choose},
    client::{Cluster, list},
    error::{Call, ClusterError},
    fronts::{self, Fronts},
    kind,
    mode::Mode,
    obstacles::{Against, Obstacle},
    snapshot::{Snapshot, is_ready, is_serving, lacking, merged, of_pods},
    spec::selector,
    state::{Attachment, Claim, ClaimedRoute},
    target::{is_ours, name_of},
    workload::{Labels, Owner, Workload, pod_labels, selects},
};

/// A Service of the namespace.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    pub service: String,
    /// "80 (http)"
    pub ports: Vec<String>,
    /// "Deployment orders"; empty if there are no pods.
    pub workloads: Vec<String>,
    /// The mode in which it would be connected; `None`: it cannot be.
    pub mode: Option<Mode>,
    /// The reasons against connecting it.
    pub obstacles: Vec<Obstacle>,
    pub sessions: Vec<Session>,
    pub stand_in: Option<StandIn>,
    /// Stand-ins that its attachment does not name, left by an interrupted disconnect.
    pub unused: Vec<String>,
}

/// The stand-in of a connected Service.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StandIn {
    /// "orders-bridge-7f3a"
    pub name: String,
    /// The number of its agents that take traffic.
    pub ready: usize,
    /// The Service leads to it.
    pub in_place: bool,
    /// The Service leads to the origin because no agent was ready.
    pub led_back: bool,
}

impl StandIn {
    /// Whether the Service leads to it although no agent is ready.
    #[must_use]
    pub fn keeps_down(&self) -> bool {
        self.in_place && self.ready == 0
    }
}

/// A connected developer.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Session {
    /// The session's id, and the laptop's, as in the claim.
    pub id: String,
    pub installation: String,
    pub user: String,
    /// The requests that are routed to the developer, for people: "80: x-bridge: anna".
    pub matches: Vec<String>,
}

/// The objects of a namespace, as far as the user may list them.
struct World {
    namespace: Option<Namespace>,
    pods: Vec<Pod>,
    policies: Option<Vec<NetworkPolicy>>,
    fronts: Fronts,
    owners: BTreeMap<(Kind, String), DynamicObject>,
    /// See [`Snapshot::lacking`].
    lacking: Vec<Right>,
}

/// Lists the Services of the cluster's namespace, by name, without our own. `carried`: as in [`Asked`].
///
/// # Errors
///
/// If Services or pods cannot be listed. Other objects that cannot be read are left out.
pub async fn catalog(cluster: &Cluster, carried: Option<&str>) -> Result<Vec<Entry>, ClusterError> {
    let namespaces: Api<Namespace> = Api::all(cluster.client.clone());
    let name = &cluster.namespace;
    let (
        services,
        pods,
        policies,
        fronts,
        namespace,
        replica_sets,
        deployments,
        stateful_sets,
        daemon_sets,
        rollouts,
    ) = tokio::join!(
        list::<Service>(cluster, "services"),
        list::<Pod>(cluster, "pods"),
        list::<NetworkPolicy>(cluster, "networkpolicies"),
        fronts::read(cluster),
        cluster.call(Call::new("get", "namespaces", name, name), namespaces.get(name)),
        owners(cluster, Kind::ReplicaSet),
        owners(cluster, Kind::Deployment),
        owners(cluster, Kind::StatefulSet),
        owners(cluster, Kind::DaemonSet),
        owners(cluster, Kind::Rollout),
    );
    let some = |kind: AppKind, list: &Result<Owners, _>| list.iter().flatten().next().map(|_| kind);
    let kinds = [
        some(AppKind::StatefulSet, &stateful_sets),
        some(AppKind::DaemonSet, &daemon_sets),
        some(AppKind::Rollout, &rollouts),
    ];
    let lacking = lacking(cluster, kinds.into_iter().flatten()).await;
    let lists = [replica_sets, deployments, stateful_sets, daemon_sets, rollouts];
    let world = World {
        namespace: namespace.ok(),
        pods: pods?.into_iter().filter(is_serving).collect(),
        policies: policies.ok(),
        fronts: fronts.unwrap_or_default(),
        owners: lists.into_iter().flatten().flatten().collect(),
        lacking: lacking.unwrap_or_default(),
    };
    let mut services: Vec<Service> =
        services?.into_iter().filter(|service| !is_ours(&service.metadata)).collect();
    services.sort_by_key(name_of);
    Ok(services.into_iter().map(|service| world.entry(service, carried)).collect())
}

type Owners = Vec<((Kind, String), DynamicObject)>;

async fn owners(cluster: &Cluster, kind: Kind) -> Result<Owners, ClusterError> {
    let api: Api<DynamicObject> =
        Api::namespaced_with(cluster.client.clone(), &cluster.namespace, &kind::api(kind));
    let call = Call::all("list", kind.resource(), &cluster.namespace);
    let objects = cluster.call(call, api.list(&ListParams::default())).await?.items;
    Ok(objects.into_iter().map(|object| ((kind, name_of(&object)), object)).collect())
}

pub(crate) fn session(claim: Claim) -> Session {
    let text = |route: &ClaimedRoute| {
        let copies = if route.copy { " (copies)" } else { "" };
        format!("{}: {}{copies}", route.port, route.match_text())
    };
    let replaced = claim.replaces.iter().map(|workload| format!("in place of {workload}"));
    let matches = claim.routes.iter().map(text).chain(replaced).collect();
    Session { id: claim.id, installation: claim.installation, user: claim.user, matches }
}

/// The reasons against all modes, each once.
fn distinct(against: Vec<Against>) -> Vec<Obstacle> {
    let mut reasons = Vec::new();
    for reason in against.into_iter().flat_map(|mode| mode.reasons) {
        if !reasons.contains(&reason) {
            reasons.push(reason);
        }
    }
    reasons
}

impl World {
    fn entry(&self, service: Service, carried: Option<&str>) -> Entry {
        // An unreadable attachment names nobody.
        let attachment = Attachment::of(&service).ok().flatten();
        let snapshot = self.snapshot(service, attachment.as_ref());
        let ports = snapshot.service.spec.as_ref().and_then(|spec| spec.ports.as_deref()).unwrap_or_default();
        let title = |port: &k8s_openapi::api::core::v1::ServicePort| match &port.name {
            Some(name) => format!("{} ({name})", port.port),
            None => port.port.to_string(),
        };
        let name = name_of(&snapshot.service);
        let (mode, against) = match choose(&snapshot, Asked { mode: None, carried }) {
            Ok(choice) => (Some(choice.mode), Vec::new()),
            Err(against) => (None, against),
        };
        Entry {
            stand_in: attachment
                .as_ref()
                .filter(|there| there.mode == Mode::StandIn)
                .map(|there| self.stand_in(&snapshot.service, there)),
            unused: self.unused(&name, attachment.as_ref()),
            service: name,
            ports: ports.iter().map(title).collect(),
            workloads: snapshot.workloads.iter().map(Workload::title).collect(),
            mode,
            obstacles: distinct(against),
            sessions: attachment.into_iter().flat_map(|there| there.sessions).map(session).collect(),
        }
    }

    fn stand_in(&self, service: &Service, attachment: &Attachment) -> StandIn {
        let name = name_of(service);
        let label = |pod: &Pod, key: &str| pod.labels().get(key).cloned();
        let is_agent = |pod: &&Pod| {
            label(pod, SERVICE_LABEL).as_ref() == Some(&name)
                && label(pod, STAND_IN_LABEL).as_ref() == Some(&attachment.stand_in)
        };
        StandIn {
            ready: self.pods.iter().filter(is_agent).filter(|pod| is_ready(pod)).count(),
            in_place: attachment.is_in_place(service),
            led_back: attachment.is_led_back(service),
            name: bridge_deploy::names(&name, &attachment.stand_in).stand_in,
        }
    }

    fn unused(&self, service: &str, attachment: Option<&Attachment>) -> Vec<String> {
        let deployments = self.owners.iter().filter(|((kind, _), _)| *kind == Kind::Deployment);
        let unused = deployments.filter(|(_, object)| {
            let id = object.labels().get(STAND_IN_LABEL);
            object.labels().get(SERVICE_LABEL).is_some_and(|of| of == service)
                && id.is_some_and(|id| attachment.is_none_or(|there| there.stand_in != *id))
                && object.metadata.deletion_timestamp.is_none()
        });
        unused.map(|((_, name), _)| name.clone()).collect()
    }

    fn snapshot(&self, service: Service, attachment: Option<&Attachment>) -> Snapshot {
        let attached = attachment.filter(|there| there.is_in_place(&service));
        let selector = attached.map_or_else(|| selector(&service), |there| there.original.clone());
        let pods: Vec<Pod> =
            self.pods.iter().filter(|pod| selects(&selector, pod.labels())).cloned().collect();
        let owners: BTreeSet<_> = pods.iter().map(Owner::of).collect();
        let mut workloads = merged(owners.into_iter().map(|owner| self.workload(owner, &pods)).collect());
        if workloads.is_empty() {
            workloads.extend(attachment.and_then(|there| self.replaced(there, &selector)));
        }
        Snapshot {
            service,
            selector,
            pods,
            workloads,
            policies: self.policies.clone(),
            fronts: self.fronts.clone(),
            namespace: self.namespace.clone(),
            quotas: None,
            limits: None,
            account: None,
            lacking: self.lacking.clone(),
        }
    }

    /// The workload that a session replaces: it has no pods.
    fn replaced(&self, attachment: &Attachment, selector: &Labels) -> Option<Workload> {
        let Target { kind, name } = attachment.replaced()?;
        let workload = Workload::of(kind, self.owners.get(&(kind, name))?);
        selects(selector, &pod_labels(&workload.template)).then_some(workload)
    }

    fn workload(&self, owner: Option<Owner>, pods: &[Pod]) -> Workload {
        let find = |owner: &Owner| {
            let kind = owner.known()?;
            Some((kind, self.owners.get(&(kind, owner.name.clone()))?))
        };
        let Some((kind, object)) = owner.as_ref().and_then(find) else { return of_pods(owner, pods) };
        let workload = Workload::of(kind, object);
        match Owner::of(object) {
            None => workload,
            Some(above) => {
                let found = find(&above).map(|(kind, object)| Workload::of(kind, object));
                found.filter(Workload::has_template).unwrap_or_else(|| workload.under(above))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// The pods of Deployment orders, and those of a stand-in in front of it.
    fn world() -> World {
        let pod = |app: &str, owner: &str| -> Pod {
            serde_json::from_value(json!({
                "metadata": {"name": app, "labels": {"app": app}, "ownerReferences": [
                    {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": owner, "uid": "u", "controller": true}
                ]},
                "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
            }))
            .unwrap()
        };
        let object = |kind: Kind, name: &str, owners: Value| {
            let metadata = json!({"name": name, "ownerReferences": owners});
            let template = json!({"spec": {"containers": [{"name": "main", "image": "x"}]}});
            let json = json!({"metadata": metadata, "spec": {"template": template}});
            ((kind, name.to_owned()), serde_json::from_value::<DynamicObject>(json).unwrap())
        };
        let of = |name: &str| json!([{"apiVersion": "apps/v1", "kind": "Deployment", "name": name, "uid": "u", "controller": true}]);
        World {
            namespace: None,
            pods: vec![pod("orders", "orders-x"), pod("orders-bridge-7f3a", "orders-bridge-7f3a-x")],
            policies: None,
            fronts: Fronts::default(),
            owners: BTreeMap::from([
                object(Kind::ReplicaSet, "orders-x", of("orders")),
                object(Kind::ReplicaSet, "orders-bridge-7f3a-x", of("orders-bridge-7f3a")),
                object(Kind::Deployment, "orders", json!([])),
                object(Kind::Deployment, "orders-bridge-7f3a", json!([])),
            ]),
            lacking: Vec::new(),
        }
    }

    fn service(selected: &str, annotations: Value) -> Service {
        serde_json::from_value(json!({
            "metadata": {"name": "orders", "namespace": "shop", "uid": "u", "annotations": annotations},
            "spec": {"selector": {"app": selected}, "ports": [{"name": "http", "port": 80}, {"port": 81}]},
        }))
        .unwrap()
    }

    #[test]
    fn a_service_is_listed_with_its_workload_and_ports() {
        let entry = world().entry(service("orders", json!({})), None);
        assert_eq!(entry.ports, ["80 (http)", "81"]);
        assert_eq!(entry.workloads, ["Deployment orders"]);
        assert_eq!((entry.obstacles, entry.sessions), (vec![], vec![]));
        let nobody = world().entry(service("nothing", json!({})), None);
        assert!(matches!(nobody.obstacles.as_slice(), [Obstacle::NoPods { .. }]));
    }

    #[test]
    fn an_attachment_that_cannot_be_read_is_named_at_its_service() {
        for (annotation, why) in [
            (
                r#"{"version": 9}"#,
                "the attachment of Service orders was written by a newer bridge (version 9)",
            ),
            ("{", "cannot read the annotation bridge.dev/attachment of Service orders"),
        ] {
            let annotations = json!({crate::state::ATTACHMENT: annotation});
            let entry = world().entry(service("orders", annotations), None);
            let found: Vec<String> = entry.obstacles.iter().map(ToString::to_string).collect();
            assert!(matches!(found.as_slice(), [obstacle] if obstacle.starts_with(why)), "{found:?}");
        }
    }

    #[test]
    fn an_attached_service_is_listed_as_it_was_and_with_its_developers() {
        let attachment = json!({
            "standIn": "7f3a",
            "original": {"app": "orders"},
            "attached": {"app": "orders-bridge-7f3a"},
            "control": 7390,
            "ports": {"80": 80},
            "sessions": [{"id": "1", "user": "anna", "installation": "i", "since": 1, "routes": [
                {"port": 80, "anyOf": ["x-bridge: anna", "baggage: bridge=anna"]}
            ]}],
        });
        let annotations = json!({crate::state::ATTACHMENT: attachment.to_string()});
        let entry = world().entry(service("orders-bridge-7f3a", annotations), None);
        assert_eq!(entry.workloads, ["Deployment orders"]);
        let matches = vec!["80: x-bridge: anna or baggage: bridge=anna".to_owned()];
        let (id, installation, user) = ("1".to_owned(), "i".to_owned(), "anna".to_owned());
        assert_eq!(entry.sessions, [Session { id, installation, user, matches }]);
    }

    #[test]
    fn a_stand_in_without_a_ready_agent_is_distinguished_from_one_that_serves() {
        let attachment = |led_back: Option<&str>| {
            let attachment = json!({
                "standIn": "7f3a", "original": {"app": "orders"}, "attached": {"app": "orders-bridge-7f3a"},
                "control": 7390, "ports": {}, "ledBack": led_back, "sessions": [],
            });
            json!({crate::state::ATTACHMENT: attachment.to_string()})
        };
        let labels = |id: &str| -> BTreeMap<String, String> {
            [(SERVICE_LABEL, "orders"), (STAND_IN_LABEL, id)]
                .map(|(k, v)| (k.to_owned(), v.to_owned()))
                .into()
        };
        let mut world = world();
        world.pods[1].metadata.labels.as_mut().unwrap().extend(labels("7f3a"));
        let stand_in = |ready, in_place, led_back| {
            Some(StandIn { name: "orders-bridge-7f3a".to_owned(), ready, in_place, led_back })
        };
        let served = world.entry(service("orders-bridge-7f3a", attachment(None)), None);
        assert_eq!(served.stand_in, stand_in(1, true, false));
        assert_eq!(served.unused, [""; 0]);

        world.pods[1].status = None;
        let down = world.entry(service("orders-bridge-7f3a", attachment(None)), None);
        assert_eq!(down.stand_in, stand_in(0, true, false));
        assert!(down.stand_in.is_some_and(|stand_in| stand_in.keeps_down()));
        let led_back = world.entry(service("orders", attachment(Some("no agent was ready"))), None);
        assert_eq!(led_back.stand_in, stand_in(0, false, true));

        let deployment = world.owners.get_mut(&(Kind::Deployment, "orders-bridge-7f3a".to_owned())).unwrap();
        deployment.metadata.labels = Some(labels("0000"));
        let left = world.entry(service("orders", json!({})), None);
        assert_eq!((left.stand_in, left.unused), (None, vec!["orders-bridge-7f3a".to_owned()]));
    }
}
