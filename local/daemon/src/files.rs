//! The volumes of a target's container, read through any agent of the session that is reached; if that agent goes,
//! through the next. Only volumes that the Deployment with the agents mounts pass, at the paths that it states.

use std::collections::BTreeSet;
use std::time::Duration;

use bridge_cluster::mounts;
use bridge_cluster::watch::AgentsOf;
use bridge_proto::files::MAX_PATH;
use bridge_proto::v1::{self, files_reply::Kind};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::session::{Facts, Live, Session};
use super::tunnel::Client;

pub(super) type Replies = ReceiverStream<Result<v1::FilesReply, Status>>;
type ToCommand = mpsc::Sender<Result<v1::FilesReply, Status>>;

/// How long to wait for an agent at first.
const REACHED_WITHIN: Duration = Duration::from_secs(10);
/// A command that does not read (it may be stopped) takes room in the tunnel from others: after this time its call
/// ends.
const TAKEN_WITHIN: Duration = Duration::from_secs(3);
/// Pause before the next call, after an agent's call has ended.
const PAUSE: Duration = Duration::from_millis(500);
/// Pieces of files that may wait for the command.
const QUEUE: usize = 4;

/// Streams all volumes and, if `follow`, their changes, as long as the session lives.
pub(super) fn files(session: &Session, follow: bool) -> Replies {
    let (replies_tx, replies_rx) = mpsc::channel(QUEUE);
    let (live, service) = (session.watch(), session.facts.service.clone());
    let facts = session.facts.clone();
    // Read again for each agent: a stand-in may get other volumes.
    let declared = async move || {
        let Facts { cluster, service, stand_in, agents, .. } = &facts;
        let declared = match agents {
            AgentsOf::Workloads { .. } => mounts::of_sidecars(cluster, stand_in).await,
            AgentsOf::StandIn { .. } | AgentsOf::Aside { .. } => {
                mounts::of_deployment(cluster, &agents.deployment_name(service, stand_in)).await
            }
        };
        declared.map_err(|error| Status::unavailable(format!("cannot read the agents' volumes: {error}")))
    };
    tokio::spawn(async move {
        if let Err(status) = pass_on(live, &service, follow, declared, &replies_tx).await {
            // If it cannot be sent, nobody listens.
            let _ = replies_tx.send(Err(status)).await;
        }
    });
    ReceiverStream::new(replies_rx)
}

async fn pass_on(
    mut live: watch::Receiver<Live>,
    service: &str,
    follow: bool,
    declared: impl AsyncFn() -> Result<BTreeSet<String>, Status>,
    replies_tx: &ToCommand,
) -> Result<(), Status> {
    let away = |_| Status::unavailable(format!("cannot reach an agent of {service}"));
    let mut agent = tokio::time::timeout(REACHED_WITHIN, next(&mut live)).await.map_err(away)??;
    loop {
        let mut declared = Declared::new(declared().await?);
        match pass(&mut agent, follow, &mut declared, replies_tx).await {
            Passed::All => return Ok(()),
            Passed::Refused(status) => return Err(status),
            Passed::CutOff => {}
        }
        tokio::time::sleep(PAUSE).await;
        agent = tokio::select! {
            agent = next(&mut live) => agent?,
            () = replies_tx.closed() => return Ok(()),
        };
    }
}

async fn next(live: &mut watch::Receiver<Live>) -> Result<Client, Status> {
    let over = || Status::not_found("the session has ended");
    let reached = live.wait_for(|live| live.tunnel().is_some()).await.map_err(|_| over())?;
    reached.tunnel().map(|attended| attended.client.clone()).ok_or_else(over)
}

/// The outcome with one agent.
enum Passed {
    /// Nothing more is to be sent, or nobody listens.
    All,
    Refused(Status),
    CutOff,
}

/// The volumes that the Deployment has; only these pass.
#[derive(Debug)]
struct Declared {
    paths: BTreeSet<String>,
    /// Inside a volume that it does not have.
    skips: bool,
}

impl Declared {
    fn new(paths: BTreeSet<String>) -> Self {
        Self { paths, skips: false }
    }

    fn filter(&mut self, mut reply: v1::FilesReply) -> Option<v1::FilesReply> {
        match &mut reply.kind {
            Some(Kind::Begins(begins)) => {
                self.skips = !self.paths.iter().any(|path| path.as_bytes() == begins.path);
                if self.skips {
                    let mut path = std::mem::take(&mut begins.path);
                    path.truncate(MAX_PATH);
                    let reason = v1::LeftOutReason::Undeclared.into();
                    reply.kind = Some(Kind::LeftOut(v1::LeftOut { path, reason, more: 0 }));
                }
                Some(reply)
            }
            Some(Kind::Ends(_)) if self.skips => {
                self.skips = false;
                None
            }
            Some(Kind::AllThere(_)) => Some(reply),
            _ if self.skips => None,
            _ => Some(reply),
        }
    }
}

async fn pass(agent: &mut Client, follow: bool, declared: &mut Declared, replies_tx: &ToCommand) -> Passed {
    let mut replies = match agent.files(v1::FilesRequest { follow }).await {
        Ok(replies) => replies.into_inner(),
        Err(status) if matches!(status.code(), tonic::Code::Unimplemented) => return Passed::Refused(status),
        Err(_) => return Passed::CutOff,
    };
    loop {
        let message = tokio::select! {
            message = replies.message() => message,
            () = replies_tx.closed() => return Passed::All,
        };
        match message {
            Ok(Some(reply)) => {
                let Some(reply) = declared.filter(reply) else { continue };
                match tokio::time::timeout(TAKEN_WITHIN, replies_tx.send(Ok(reply))).await {
                    Ok(Ok(())) => {}
                    Ok(Err(_)) => return Passed::All,
                    Err(_) => {
                        return Passed::Refused(Status::aborted("the command did not read for too long"));
                    }
                }
            }
            Ok(None) if !follow => return Passed::All,
            Ok(None) | Err(_) => return Passed::CutOff,
        }
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    async fn none() -> Result<BTreeSet<String>, Status> {
        Ok(BTreeSet::new())
    }

    #[test]
    fn only_volumes_that_the_deployment_mounts_pass() {
        let said = |kind| v1::FilesReply { kind: Some(kind) };
        let begins = |path: &str| Kind::Begins(v1::VolumeBegins { path: path.into() });
        let file = || Kind::Entry(v1::FileEntry::default());
        let content = || Kind::Content("x".into());
        let ends = || Kind::Ends(v1::VolumeEnds {});
        let left_out = |reason: v1::LeftOutReason| {
            Kind::LeftOut(v1::LeftOut {
                path: b"/etc/ld.so.preload".to_vec(),
                reason: reason.into(),
                more: 0,
            })
        };
        let mut declared = Declared::new(["/etc/shop".to_owned()].into());
        let mut pass = |kinds: Vec<Kind>| -> Vec<Kind> {
            kinds.into_iter().filter_map(|kind| declared.filter(said(kind))?.kind).collect()
        };
        let whole = vec![begins("/etc/shop"), file(), content(), ends()];
        assert_eq!(pass(whole.clone()), whole);
        let foreign = vec![
            begins("/etc/ld.so.preload"),
            file(),
            content(),
            left_out(v1::LeftOutReason::Special),
            ends(),
        ];
        assert_eq!(pass(foreign), [left_out(v1::LeftOutReason::Undeclared)]);
        assert_eq!(pass(whole.clone()), whole, "the next one passes");
        for spelled in ["/etc/shop/", "/etc/../etc/shop", "etc/shop", "/etc/shop/within", "/etc"] {
            assert_eq!(pass(vec![begins(spelled), file(), ends()]).len(), 1, "{spelled}");
        }
        let unfinished = vec![begins("/"), file(), Kind::AllThere(v1::AllThere {})];
        assert_eq!(pass(unfinished).len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn an_agent_is_waited_for_but_not_for_ever() {
        let (_live_tx, live) = watch::channel(Live::default());
        let (replies_tx, _replies_rx) = mpsc::channel(1);
        let refused = pass_on(live, "orders", true, none, &replies_tx).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unavailable);
        assert_eq!(refused.message(), "cannot reach an agent of orders");
    }

    #[tokio::test]
    async fn a_session_that_has_ended_is_not_waited_for() {
        let (live_tx, live) = watch::channel(Live::default());
        let (replies_tx, _replies_rx) = mpsc::channel(1);
        drop(live_tx);
        let refused = pass_on(live, "orders", true, none, &replies_tx).await.unwrap_err();
        assert_eq!(refused.code(), Code::NotFound);
    }
}
