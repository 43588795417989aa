//! The log lines of a target's agents, for commands.

use bridge_cluster::client::Cluster;
use bridge_cluster::logs::{self, Part};
use bridge_proto::v1::{self, logs_event};
use futures::{StreamExt, TryStreamExt, stream};
use tokio::sync::mpsc;

use super::failure::Failure;
use super::meant;
use super::sharing::access;

/// Sends the lines one by one, as long as the caller listens.
pub(super) async fn tell(request: v1::LogsRequest, events_tx: mpsc::Sender<v1::LogsEvent>) {
    let ended = tokio::select! {
        ended = lines(request, &events_tx) => ended,
        () = events_tx.closed() => return,
    };
    if let Err(failure) = ended {
        say(&events_tx, logs_event::Kind::Failed(failure.to_message())).await;
    }
}

async fn say(events_tx: &mpsc::Sender<v1::LogsEvent>, kind: logs_event::Kind) {
    // If it cannot be sent, the caller has gone.
    let _ = events_tx.send(v1::LogsEvent { kind: Some(kind) }).await;
}

async fn lines(request: v1::LogsRequest, events_tx: &mpsc::Sender<v1::LogsEvent>) -> Result<(), Failure> {
    let v1::LogsRequest { cluster, target, follow, tail } = request;
    let cluster = Cluster::of(&access(cluster.unwrap_or_default())).await?;
    let at = meant::at(&cluster, &target).await?;
    let of_service = async {
        match &at.service {
            Some(service) => logs::agents(&cluster, service).await,
            None => Ok(Vec::new()),
        }
    };
    let (of_service, aside) = tokio::try_join!(of_service, logs::aside(&cluster, &at.aside))?;
    let agents = [of_service, aside].concat();
    if agents.is_empty() {
        let target = meant::target(&target)?;
        return Err(Failure::NoAgents { target, namespace: cluster.namespace });
    }
    let part = Part { follow, tail: tail.map(|lines| usize::try_from(lines).unwrap_or(usize::MAX)) };
    let mut all = Vec::new();
    for agent in &agents {
        // With one pod, its name distinguishes nothing.
        let pod = if agents.len() > 1 { agent.pod.clone() } else { String::new() };
        let lines = logs::lines(&cluster, agent, part).await?;
        all.push(lines.map_ok(move |text| v1::LogLine { pod: pod.clone(), text }).boxed());
    }
    // Followed logs come as they are written; the others pod after pod.
    let mut lines = match follow {
        true => stream::select_all(all).boxed(),
        false => stream::iter(all).flatten().boxed(),
    };
    while let Some(line) = lines.try_next().await? {
        say(events_tx, logs_event::Kind::Line(line)).await;
    }
    Ok(())
}
