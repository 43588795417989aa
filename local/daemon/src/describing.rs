//! One Service in detail, for a command.

use bridge_cluster::catalog::Session;
use bridge_cluster::choose::Asked;
use bridge_cluster::client::Cluster;
use bridge_cluster::description::{Description, Front, Volume, describe};
use bridge_cluster::obstacles::Obstacle;
use bridge_cluster::{snapshot, target};
use bridge_deploy::ListenPort;
use bridge_proto::v1;

use super::failure::Failure;
use super::meant;
use super::program;
use super::sharing::access;

pub(super) async fn described(request: v1::DescribeRequest) -> Result<v1::DescribeReply, Failure> {
    let cluster = Cluster::of(&access(request.cluster.unwrap_or_default())).await?;
    let target = meant::target(&request.target)?;
    let service = match target.is_service() {
        true => target.name,
        false => target::resolve(&cluster, &target).await?,
    };
    let snapshot = snapshot::read(&cluster, &service).await?;
    let asked = Asked { mode: None, carried: program::architecture() };
    Ok(to_message(describe(&snapshot, asked), cluster, service))
}

fn to_message(described: Description, cluster: Cluster, service: String) -> v1::DescribeReply {
    let (mode, against) = match described.mode {
        Ok(choice) => (choice.mode.to_string(), choice.instead_of),
        Err(against) => (String::new(), against),
    };
    let mut reasons: Vec<Obstacle> = against.into_iter().flat_map(|mode| mode.reasons).collect();
    reasons.dedup();
    let obstacle = |obstacle: Obstacle| v1::Obstacle {
        short: obstacle.short().to_owned(),
        detail: obstacle.to_string(),
    };
    let port = |port: ListenPort| v1::DescribedPort {
        port: port.service_port.into(),
        name: port.name.unwrap_or_default(),
        target: port.listen.into(),
    };
    let claimant = |session: Session| v1::Claimant { user: session.user, matches: session.matches };
    let front = |Front { url, service, port, exact }: Front| v1::Front {
        url,
        service,
        port: port.unwrap_or_default(),
        exact,
    };
    let volume = |Volume { path, source }: Volume| v1::DescribedVolume { path, source };
    let (container, image) = described.container.unwrap_or_default();
    v1::DescribeReply {
        context: cluster.context,
        namespace: cluster.namespace,
        service,
        ports: described.ports.into_iter().map(port).collect(),
        workloads: described.workloads,
        container,
        image,
        mode,
        obstacles: reasons.into_iter().map(obstacle).collect(),
        variables: described.variables,
        variables_of: described.variables_of,
        volumes: described.volumes.into_iter().map(volume).collect(),
        urls: described.urls,
        claimants: described.sessions.into_iter().map(claimant).collect(),
        failed: None,
        fronts: described.fronts.into_iter().map(front).collect(),
    }
}
