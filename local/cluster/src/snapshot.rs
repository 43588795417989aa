//! The facts about a Service on which connect decides, read in few calls, and the conclusions from them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use bridge_deploy::{
    AgentSource, ListenPort, Restore, ServiceFacts, SidecarPorts, StandIn, main_container, own_ports,
    replicas_for, resolve_ports, sidecar_ports,
};
use bridge_proto::target::{Kind, Target};
use futures::future::try_join_all;
use k8s_openapi::api::{
    core::v1::{LimitRange, Namespace, Pod, ResourceQuota, Service},
    networking::v1::NetworkPolicy,
};
use kube::{
    Api, ResourceExt,
    api::{DynamicObject, ListParams},
};

use crate::{
    access::{self, Right, sidecar_rights},
    account::{self, Account},
    app::AppKind,
    client::{Cluster, list, unless_forbidden},
    error::{Call, ClusterError},
    fronts::{self, Fronts},
    kind,
    mode::Mode,
    objects,
    obstacle::{Against, Obstacle},
    spec::selector,
    state::Attachment,
    target,
    workload::{Labels, Owner, Workload, pod_labels, selects},
};

/// The agent's CPU limit if a quota demands one: more than passing on traffic needs on one core.
const CPU_LIMIT_UNDER_QUOTA: &str = "500m";
/// Enough nodes with the image; each costs the scheduler a term.
const MOST_PREFERRED_NODES: usize = 10;

/// A Service and everything behind it. `None`: the user may not read it.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    pub service: Service,
    /// The Service's own selector, even while a stand-in has replaced it.
    pub selector: Labels,
    /// The pods that the selector matches, without those that have ended or are ending.
    pub pods: Vec<Pod>,
    /// The workloads of these pods.
    pub workloads: Vec<Workload>,
    pub policies: Option<Vec<NetworkPolicy>>,
    pub fronts: Fronts,
    pub namespace: Option<Namespace>,
    pub quotas: Option<Vec<ResourceQuota>>,
    pub limits: Option<Vec<LimitRange>>,
    /// By which agents restore the Service if no laptop is left; `None` also if there is none.
    pub account: Option<Account>,
    /// Those of the [`sidecar_rights`] for the workloads that the user does not have.
    pub lacking: Vec<Right>,
}

/// Reads a Service and what is behind it, even while a stand-in is in front.
///
/// # Errors
///
/// [`ClusterError::NoSuchTarget`] without such a Service; where it, its pods or their workloads cannot be read, or its
/// attachment. Other objects that cannot be read stay unknown.
pub async fn read(cluster: &Cluster, service: &str) -> Result<Snapshot, ClusterError> {
    let service = match objects::read(cluster, service).await {
        Err(error) if error.is_not_found() => {
            let target = Target { kind: Kind::Service, name: service.to_owned() };
            return Err(Box::pin(target::not_there(cluster, &target)).await);
        }
        service => service?,
    };
    let original = own_selector(&service)?;
    let snapshot = behind(cluster, service, original).await?;
    let kinds: BTreeSet<_> = snapshot.workloads.iter().filter_map(Workload::app_kind).collect();
    Ok(Snapshot { lacking: lacking(cluster, kinds).await?, ..snapshot })
}

/// A Service's own selector, even while a stand-in has replaced it.
///
/// # Errors
///
/// If its attachment cannot be read.
pub(crate) fn own_selector(service: &Service) -> Result<Labels, ClusterError> {
    let attachment = Attachment::of(service)?
        .filter(|there| there.is_in_place(service) || there.original == selector(service));
    Ok(attachment.map_or_else(|| selector(service), |there| there.original))
}

/// The rights that the user does not have for sidecars in workloads of these kinds.
pub(crate) async fn lacking(
    cluster: &Cluster,
    kinds: impl IntoIterator<Item = AppKind>,
) -> Result<Vec<Right>, ClusterError> {
    let needed: Vec<Right> = kinds.into_iter().flat_map(sidecar_rights).collect();
    access::missing(cluster, &needed).await
}

/// Reads what is behind a Service, except for the user's rights; `original`: its own selector.
pub(crate) async fn behind(
    cluster: &Cluster,
    service: Service,
    original: Labels,
) -> Result<Snapshot, ClusterError> {
    let namespace = &cluster.namespace;
    let selector = original;
    let namespaces: Api<Namespace> = Api::all(cluster.client.clone());
    let (behind, fronts, policies, quotas, limits, account, known) = tokio::join!(
        pods_and_workloads(cluster, &selector),
        fronts::read(cluster),
        list::<NetworkPolicy>(cluster, "networkpolicies"),
        list::<ResourceQuota>(cluster, "resourcequotas"),
        list::<LimitRange>(cluster, "limitranges"),
        account::read(cluster),
        cluster.call(Call::new("get", "namespaces", namespace, namespace), namespaces.get(namespace)),
    );
    let (pods, mut workloads) = behind?;
    if workloads.is_empty() {
        workloads.extend(replaced(cluster, &service, &selector).await?);
    }
    Ok(Snapshot {
        service,
        selector,
        pods,
        workloads,
        policies: unless_forbidden(policies)?,
        fronts: fronts?,
        namespace: unless_forbidden(known)?,
        quotas: unless_forbidden(quotas)?,
        limits: unless_forbidden(limits)?,
        account: account?,
        lacking: Vec::new(),
    })
}

/// The workload that a session at the Service replaces: it has no pods by which it could be found.
async fn replaced(
    cluster: &Cluster,
    service: &Service,
    selector: &Labels,
) -> Result<Option<Workload>, ClusterError> {
    let target = Attachment::of(service)?.and_then(|there| there.replaced());
    let Some(Target { kind, name }) = target else { return Ok(None) };
    match get(cluster, kind, &name).await {
        Err(error) if error.is_not_found() => Ok(None),
        object => {
            let workload = Workload::of(kind, &object?);
            Ok(Some(workload).filter(|it| selects(selector, &pod_labels(&it.template))))
        }
    }
}

pub(crate) async fn pods_and_workloads(
    cluster: &Cluster,
    selector: &Labels,
) -> Result<(Vec<Pod>, Vec<Workload>), ClusterError> {
    // An empty selector would mean all pods, but a Service without one selects none.
    if selector.is_empty() {
        return Ok((Vec::new(), Vec::new()));
    }
    let namespace = &cluster.namespace;
    let api: Api<Pod> = Api::namespaced(cluster.client.clone(), namespace);
    let equal: Vec<String> = selector.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let params = ListParams::default().labels(&equal.join(","));
    let pods = cluster.call(Call::all("list", "pods", namespace), api.list(&params)).await?.items;
    let pods: Vec<Pod> = pods.into_iter().filter(is_serving).collect();

    let owners = pods.iter().map(Owner::of).collect::<BTreeSet<_>>();
    let workloads = owners.into_iter().map(|owner| workload(cluster, owner, &pods));
    let workloads = try_join_all(workloads).await?;
    Ok((pods, merged(workloads)))
}

/// The workload at the top of a chain of owners.
async fn workload(cluster: &Cluster, owner: Option<Owner>, pods: &[Pod]) -> Result<Workload, ClusterError> {
    let Some((kind, name)) = owner.as_ref().and_then(|owner| Some((owner.known()?, &owner.name))) else {
        let pod = example(owner.as_ref(), pods).map(|pod| pod.name_any()).unwrap_or_default();
        let pod = get(cluster, Kind::Pod, &pod).await?;
        let spec = pod.data.get("spec").cloned().unwrap_or_default();
        return Ok(Workload::of_pod(&pod.metadata, spec, owner));
    };
    let object = get(cluster, kind, name).await?;
    let workload = Workload::of(kind, &object);
    match Owner::of(&object) {
        None => Ok(workload),
        Some(above) => match above.known() {
            Some(Kind::Rollout) => Ok(match get(cluster, Kind::Rollout, &above.name).await {
                Ok(rollout) => Some(Workload::of(Kind::Rollout, &rollout)).filter(Workload::has_template),
                Err(error) if error.is_forbidden() || error.is_not_found() => None,
                Err(error) => return Err(error),
            }
            .unwrap_or_else(|| workload.under(above))),
            Some(kind) => Ok(Workload::of(kind, &get(cluster, kind, &above.name).await?)),
            None => Ok(workload.under(above)),
        },
    }
}

async fn get(cluster: &Cluster, kind: Kind, name: &str) -> Result<DynamicObject, ClusterError> {
    let api: Api<DynamicObject> =
        Api::namespaced_with(cluster.client.clone(), &cluster.namespace, &kind::api(kind));
    cluster.call(Call::new("get", kind.resource(), &cluster.namespace, name), api.get(name)).await
}

/// The workload of pods whose owner cannot be read, as far as the pods show it.
pub(crate) fn of_pods(owner: Option<Owner>, pods: &[Pod]) -> Workload {
    let pod = example(owner.as_ref(), pods).cloned().unwrap_or_default();
    Workload::of_pod(&pod.metadata, serde_json::json!(pod.spec), owner)
}

/// One of the owner's pods, a ready one if there is any.
fn example<'a>(owner: Option<&Owner>, pods: &'a [Pod]) -> Option<&'a Pod> {
    let theirs = || pods.iter().filter(|pod| Owner::of(*pod).as_ref() == owner);
    theirs().find(|pod| is_ready(pod)).or_else(|| theirs().next())
}

/// Several ReplicaSets of one Deployment are one workload.
pub(crate) fn merged(workloads: Vec<Workload>) -> Vec<Workload> {
    let mut by_title = BTreeMap::new();
    for workload in workloads {
        by_title.entry(workload.title()).or_insert(workload);
    }
    by_title.into_values().collect()
}

/// Whether it has not ended and is not ending.
pub(crate) fn is_serving(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_none() && !has_ended(pod)
}

/// Whether none of its containers runs any more, or ever will.
pub(crate) fn has_ended(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

/// Whether the pod takes traffic.
#[must_use]
pub fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// Whether OpenShift assigns the users of this namespace.
pub(crate) fn is_openshift(namespace: Option<&Namespace>) -> bool {
    namespace.is_some_and(|namespace| namespace.annotations().contains_key("openshift.io/sa.scc.uid-range"))
}

/// See [`Snapshot::cpu_limit`].
pub(crate) fn cpu_limit(quotas: Option<&[ResourceQuota]>, limits: Option<&[LimitRange]>) -> Option<String> {
    let counted = quotas.into_iter().flatten().any(|quota| {
        let hard = quota.spec.as_ref().and_then(|spec| spec.hard.as_ref());
        hard.is_some_and(|hard| hard.contains_key("limits.cpu"))
    });
    let mut limits = limits.into_iter().flatten().filter_map(|range| range.spec.as_ref());
    let defaulted = limits.any(|spec| {
        spec.limits.iter().filter(|item| item.type_ == "Container").any(|item| {
            let sets = |values: &Option<BTreeMap<String, _>>| {
                values.as_ref().is_some_and(|values| values.contains_key("cpu"))
            };
            sets(&item.default) || sets(&item.max)
        })
    });
    (counted && !defaulted).then(|| CPU_LIMIT_UNDER_QUOTA.to_owned())
}

impl Snapshot {
    /// The facts for [`bridge_deploy`], with the Service's own selector and targetPorts.
    ///
    /// # Errors
    ///
    /// [`ClusterError::Deploy`] for a Service as no API server returns it.
    pub fn facts(&self) -> Result<ServiceFacts, ClusterError> {
        let json = serde_json::json!(self.service);
        let mut facts = ServiceFacts { selector: self.selector.clone(), ..ServiceFacts::of(&json)? };
        let attachment = Attachment::of(&self.service).ok().flatten();
        let targets = attachment.map(|there| there.targets).unwrap_or_default();
        for port in facts.ports.iter_mut().filter(|port| port.is_tcp()) {
            let known =
                targets.get(&port.port).filter(|known| port.target_port.as_ref() == Some(&known.ours));
            if let Some(known) = known {
                port.target_port = Some(known.theirs.clone());
            }
        }
        Ok(facts)
    }

    /// The ports of sidecars in all workloads behind the Service.
    ///
    /// # Errors
    ///
    /// If a port leads nowhere.
    pub fn sidecar_ports(&self) -> Result<SidecarPorts, ClusterError> {
        let templates: Vec<_> = self.workloads.iter().map(|workload| &workload.template).collect();
        Ok(sidecar_ports(&self.facts()?.ports, &templates)?)
    }

    /// The workload whose template the stand-in copies.
    #[must_use]
    pub fn origin(&self) -> Option<&Workload> {
        self.workloads.first()
    }

    /// The TCP ports of the Service, as the pods and the agents have them in this mode.
    ///
    /// # Errors
    ///
    /// As [`Snapshot::listen_ports`].
    pub fn ports(&self, mode: Mode) -> Result<Vec<ListenPort>, ClusterError> {
        match mode {
            Mode::StandIn => self.listen_ports(),
            Mode::Sidecar => Ok(self.sidecar_ports()?.listen),
        }
    }

    /// The container ports of the Service's TCP ports.
    ///
    /// # Errors
    ///
    /// If a port leads nowhere, or there are no pods.
    pub fn listen_ports(&self) -> Result<Vec<ListenPort>, ClusterError> {
        let template = self.origin().map(|origin| origin.template.clone()).unwrap_or_default();
        Ok(resolve_ports(&self.facts()?.ports, &template)?)
    }

    /// The address of the Service, at its first TCP port; `None` if it has no address or no such port.
    ///
    /// # Errors
    ///
    /// As [`Snapshot::listen_ports`].
    pub fn address(&self) -> Result<Option<SocketAddr>, ClusterError> {
        let spec = self.service.spec.as_ref();
        let ip: Option<IpAddr> = spec.and_then(|spec| spec.cluster_ip.as_deref()?.parse().ok());
        let port = self.listen_ports()?.first().map(|port| port.service_port);
        Ok(ip.zip(port).map(SocketAddr::from))
    }

    /// The nodes on which the origin runs.
    #[must_use]
    pub fn nodes(&self) -> Vec<String> {
        let nodes = self.pods.iter().filter_map(|pod| pod.spec.as_ref()?.node_name.clone());
        nodes.collect::<BTreeSet<_>>().into_iter().take(MOST_PREFERRED_NODES).collect()
    }

    /// Whether the pods' first address is one of IPv6.
    #[must_use]
    pub fn ipv6(&self) -> bool {
        let mut addresses = self.pods.iter().filter_map(|pod| pod.status.as_ref()?.pod_ip.as_ref());
        addresses.next().is_some_and(|address| address.contains(':'))
    }

    /// Whether OpenShift assigns the namespace's users.
    #[must_use]
    pub fn openshift(&self) -> bool {
        is_openshift(self.namespace.as_ref())
    }

    /// When agents restore the Service without a laptop; `None`: they do not.
    #[must_use]
    pub fn restore(&self) -> Option<Restore> {
        self.account.as_ref().map(|account| account.restore)
    }

    /// The CPU limit that a quota demands of the agents: none unless a quota counts limits and no LimitRange sets one.
    #[must_use]
    pub fn cpu_limit(&self) -> Option<String> {
        cpu_limit(self.quotas.as_deref(), self.limits.as_deref())
    }

    /// The stand-in for this Service, with as many replicas as the origin has unless a number is given.
    ///
    /// # Errors
    ///
    /// If there are no pods, or a port leads nowhere: [`crate::obstacles`] reports these before.
    pub fn stand_in(
        &self,
        id: &str,
        user: &str,
        replicas: Option<u32>,
        agent: AgentSource,
    ) -> Result<StandIn, ClusterError> {
        let listen = self.listen_ports()?;
        let origin = self.origin().ok_or_else(|| ClusterError::Obstacles {
            service: self.service.name_any(),
            against: Against::stand_in(Obstacle::NoPods { selector: self.selector.clone() }),
        })?;
        let pods = u32::try_from(self.pods.len()).unwrap_or(u32::MAX);
        Ok(StandIn {
            id: id.to_owned(),
            user: user.to_owned(),
            service: self.facts()?,
            container: main_container(&origin.template, &listen).unwrap_or_default().to_owned(),
            own_ports: own_ports(&origin.template, &listen),
            pod_template: origin.template.clone(),
            replicas: replicas.unwrap_or_else(|| replicas_for(origin.replicas.unwrap_or(pods))),
            agent,
            preferred_nodes: self.nodes(),
            openshift: self.openshift(),
            cpu_limit: self.cpu_limit(),
            restore: self.restore(),
        })
    }
}

#[cfg(test)]
#[path = "snapshot_tests.rs"]
pub(crate) mod tests;
