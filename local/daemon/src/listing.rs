//! The Services of a namespace as commands list them: which can be connected, and who is connected.

use bridge_cluster::aside::{self, clean::Found};
use bridge_cluster::catalog::{self, Entry};
use bridge_cluster::client::Cluster;
use bridge_cluster::namespaces::namespaces;
use bridge_cluster::obstacles::Obstacle;
use bridge_cluster::services;
use bridge_proto::v1;

use super::failure::Failure;
use super::program;
use super::sharing::access;

pub(super) async fn list(request: v1::ListRequest) -> Result<v1::ListReply, Failure> {
    let cluster = Cluster::of(&access(request.cluster.unwrap_or_default())).await?;
    let (entries, asides) =
        tokio::try_join!(catalog::catalog(&cluster, program::architecture()), aside::clean::all(&cluster))?;
    let aside = |Found { deployment, record }: Found| v1::ListedAside {
        target: record.target,
        user: record.session.user,
        deployment,
    };
    Ok(v1::ListReply {
        context: cluster.context,
        namespace: cluster.namespace,
        services: entries.into_iter().map(to_message).collect(),
        asides: asides.into_iter().map(aside).collect(),
        failed: None,
    })
}

/// Where the user can go.
pub(super) async fn places(request: v1::PlacesRequest) -> Result<v1::PlacesReply, Failure> {
    let access = access(request.cluster.unwrap_or_default());
    let (context, namespace) = access.place()?;
    let named = |(name, namespace)| v1::KubeContext { name, namespace };
    let namespaces = match request.namespaces {
        true => namespaces(&Cluster::of(&access).await?).await?,
        false => Vec::new(),
    };
    Ok(v1::PlacesReply {
        context,
        namespace,
        contexts: access.contexts()?.into_iter().map(named).collect(),
        namespaces,
        failed: None,
    })
}

/// The Services of a namespace that have an address.
pub(super) async fn reachable(cluster: &Cluster) -> Result<v1::ServicesReply, Failure> {
    let found = services::reachable(cluster).await?.into_iter().map(|service| v1::ReachableService {
        name: service.name,
        address: service.address.to_string(),
        ports: service
            .ports
            .into_iter()
            .map(|port| v1::NamedPort { number: port.number.into(), name: port.name })
            .collect(),
    });
    Ok(v1::ServicesReply { services: found.collect(), failed: None })
}

fn to_message(entry: Entry) -> v1::ListedService {
    let obstacle = |obstacle: &Obstacle| v1::Obstacle {
        short: obstacle.short().to_owned(),
        detail: obstacle.to_string(),
    };
    let claimant = |session: catalog::Session| v1::Claimant { user: session.user, matches: session.matches };
    let stand_in = |stand_in: catalog::StandIn| v1::StandInStatus {
        name: stand_in.name,
        ready: u32::try_from(stand_in.ready).unwrap_or(u32::MAX),
        in_place: stand_in.in_place,
        led_back: stand_in.led_back,
    };
    v1::ListedService {
        name: entry.service,
        ports: entry.ports,
        workloads: entry.workloads,
        mode: entry.mode.map(|mode| mode.to_string()).unwrap_or_default(),
        obstacles: entry.obstacles.iter().map(obstacle).collect(),
        claimants: entry.sessions.into_iter().map(claimant).collect(),
        stand_in: entry.stand_in.map(stand_in),
        unused_stand_ins: entry.unused,
    }
}
