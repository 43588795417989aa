//! The mode `sidecar`: an agent in each of the origin's own pods, in front of the container's port. The crate
//! `bridge-deploy` describes the changes of the pod template, and how they are undone.

mod change;
mod leaving;
mod progress;
mod refusals;
mod remove;
mod rollout;
mod stuck;

use std::collections::{BTreeMap, BTreeSet};

use bridge_deploy::{
    NodeAddresses, Restore, Sidecar, SidecarObjects, SidecarPorts, WorkloadOwner, is_stand_in_id,
    with_sidecar,
};
use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service};
use kube::api::ApiResource;
use serde_json::Value;

use super::claim::claim;
use super::selector::lead_back;
use super::stand_in::key;
use super::step::{Step, Waiter, unless_given_up};
use super::wanted::{Prepared, Wanted};
use crate::agents::AgentsOf;
use crate::app::{App, AppKind};
use crate::error::ClusterError;
use crate::mode::Mode;
use crate::objects::{First, ensure};
use crate::ours::{self, Of};
use crate::snapshot::Snapshot;
use crate::spec::{selector, target, tcp_ports};
use crate::state::{Attachment, Targets, VERSION};
use crate::workload::Workload;
use crate::write::write;

pub(super) use self::leaving::other_ports_are_known;
pub(super) use self::remove::{remove, remove_abandoned};

/// Claims, creates missing objects, and adds the sidecar to the workloads that lack it.
pub(super) async fn prepare<W: Waiter>(wanted: &Wanted, waiter: &W) -> Result<Prepared, W::Error> {
    let snapshot = &wanted.snapshot;
    let ports = snapshot.sidecar_ports()?;
    let attachment = claimed(wanted, &ports).await?;
    let key = created(wanted, &attachment).await?;
    let apps = apps(snapshot);
    let mut restore = restore(snapshot);
    for app in &apps {
        if add(wanted, &attachment, &ports, app).await? {
            restore = snapshot.restore();
            waiter.step(Step::AddingSidecar { workload: app.to_string() }).await?;
        }
    }
    for left in left_by_others(snapshot, &attachment) {
        remove(&wanted.cluster, &left).await?;
    }
    let agents = AgentsOf::Workloads { apps, labels: snapshot.selector.clone() };
    Ok(Prepared {
        stand_in: attachment.stand_in,
        agents,
        control_port: attachment.control,
        key,
        original: attachment.original,
        restore,
        stale: false,
    })
}

/// Waits until all pods of the workloads have the sidecar, and connections reach no others.
pub(super) async fn until_ready<W: Waiter>(
    wanted: &Wanted,
    prepared: &Prepared,
    waiter: &W,
) -> Result<(), W::Error> {
    let Wanted { cluster, snapshot, .. } = wanted;
    let progress = |reason: &str| waiter.hint(Step::WaitingForAgents(reason.to_owned()));
    let rolled_out = async {
        for app in apps(snapshot) {
            rollout::rolled_out(cluster, &app, progress).await?;
        }
        Ok(leaving::left(cluster, &snapshot.selector, &prepared.stand_in, progress).await?)
    };
    unless_given_up(waiter, rolled_out).await
}

/// The sidecars in the workloads that an interrupted disconnect has left.
fn left_by_others(snapshot: &Snapshot, attachment: &Attachment) -> BTreeSet<Of> {
    let records = snapshot.workloads.iter().filter_map(|workload| workload.sidecar.as_ref().ok()?.clone());
    let left = records.filter(|record| record.id != attachment.stand_in && is_stand_in_id(&record.id));
    left.map(|record| Of { service: record.service, uid: record.service_uid, id: record.id }).collect()
}

/// When the sidecars that are there restore the Service without a laptop.
fn restore(snapshot: &Snapshot) -> Option<Restore> {
    snapshot.workloads.iter().find_map(|workload| Restore::of(&workload.template))
}

fn apps(snapshot: &Snapshot) -> BTreeSet<App> {
    snapshot.workloads.iter().filter_map(Workload::app).collect()
}

/// Writes the claim: into the existing attachment, if its sidecars have these ports.
async fn claimed(wanted: &Wanted, ports: &SidecarPorts) -> Result<Attachment, ClusterError> {
    let Wanted { cluster, service, snapshot, .. } = wanted;
    let id = format!("{:04x}", rand::random::<u16>());
    let fresh = |now: &Service| fresh(now, &id, ports);
    let there = Attachment::of(&snapshot.service)?;
    if let Some(there) = there.filter(|there| !there.fits(&fresh(&snapshot.service))) {
        // Its agents must not get requests any more.
        lead_back(cluster, service, &there.stand_in, None).await?;
    }
    claim(cluster, snapshot.service.clone(), &snapshot.selector, fresh, &wanted.claim).await
}

/// A new attachment: the Service as it is now, and the future sidecars.
fn fresh(service: &Service, id: &str, ports: &SidecarPorts) -> Attachment {
    let targets = tcp_ports(service).map(|(number, port)| {
        let theirs = target(number, port);
        let ours = ports.repointed.get(&number).cloned().unwrap_or_else(|| theirs.clone());
        (number, Targets { theirs, ours })
    });
    Attachment {
        version: VERSION,
        mode: Mode::Sidecar,
        stand_in: id.to_owned(),
        original: selector(service),
        attached: selector(service),
        control: ports.own.control,
        ports: ports.listen.iter().map(|port| (port.service_port, port.agent)).collect(),
        targets: targets.collect::<BTreeMap<u16, Targets>>(),
        ..Attachment::default()
    }
}

/// Creates the objects that bring the key and the program; returns the key.
async fn created(wanted: &Wanted, attachment: &Attachment) -> Result<Vec<u8>, ClusterError> {
    let Wanted { cluster, snapshot, claim, agent, .. } = wanted;
    let facts = snapshot.facts()?;
    let apps: Vec<_> = apps(snapshot).into_iter().map(|app| (app.kind.api_resource(), app)).collect();
    let objects = SidecarObjects {
        service: &facts,
        id: &attachment.stand_in,
        user: &claim.user,
        agent,
        workloads: apps.iter().map(|(resource, app)| owner(resource, app)).collect(),
    };
    let of = Of { service: facts.name.clone(), uid: facts.uid.clone(), id: attachment.stand_in.clone() };
    let secret = objects.secret(&rand::random::<[u8; 32]>())?;
    let programs = [objects.program()?, objects.restorer(snapshot.restore())?].concat();
    // If others are connected, they exist.
    let first = if attachment.sessions.len() > 1 { First::Read } else { First::Create };
    let programs = programs.iter().map(|program| {
        ensure::<ConfigMap>(cluster, &of, first, "configmaps", program, ours::is_another_program)
    });
    let (secret, _) = tokio::try_join!(
        ensure(cluster, &of, first, "secrets", &secret, |_: &Secret, _| None),
        futures::future::try_join_all(programs),
    )?;
    key(secret, &objects.names().secret, cluster)
}

fn owner<'a>(resource: &'a ApiResource, app: &'a App) -> WorkloadOwner<'a> {
    let ApiResource { api_version, kind, .. } = resource;
    WorkloadOwner { api_version, kind, name: &app.name, uid: &app.uid }
}

/// Adds the sidecar to a workload's template. False: it has it.
async fn add(
    wanted: &Wanted,
    attachment: &Attachment,
    ports: &SidecarPorts,
    app: &App,
) -> Result<bool, ClusterError> {
    let Wanted { cluster, snapshot, agent, .. } = wanted;
    let Some(of) = Of::new(&snapshot.service, &attachment.stand_in) else { return Ok(false) };
    let (cpu_limit, ipv6) = (snapshot.cpu_limit(), snapshot.ipv6());
    let make = |template: &Value| {
        let sidecar = Sidecar {
            service: &of.service,
            id: &of.id,
            pod_template: template,
            ports,
            agent,
            ipv6,
            openshift: snapshot.openshift(),
            cpu_limit: cpu_limit.as_deref(),
            restore: snapshot.restore(),
            node_addresses: match app.kind {
                AppKind::Rollout => NodeAddresses::First,
                AppKind::Deployment | AppKind::StatefulSet | AppKind::DaemonSet => NodeAddresses::All,
            },
        };
        Ok(with_sidecar(&sidecar)?)
    };
    let workload = app.to_string();
    write(cluster, app, |now| change::with(&workload, now, &of, make)).await
}
