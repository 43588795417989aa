//! The call by which a command uses a session, held open until the command ends.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bridge_proto::v1::{self, failure::Cause, use_event, use_request};
use futures::StreamExt;
use futures::stream::BoxStream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::calls::DaemonClient;
use crate::error::ClientError;
use crate::said::Said;

/// Requests of a command that the daemon has not read yet.
const REQUESTS: usize = 8;

/// The call ends as well if it is dropped without [`Call::end`]; then its result is lost.
pub(super) struct Call {
    pub(super) requests_tx: mpsc::Sender<v1::UseRequest>,
    pub(super) events: BoxStream<'static, v1::UseEvent>,
}

impl Call {
    /// Asks for a session, and reports each step until it exists.
    pub(super) async fn begin(
        daemon: &mut DaemonClient,
        wish: v1::Wish,
        say: impl Fn(&Said),
    ) -> Result<(Self, v1::Using), ClientError> {
        let (requests_tx, requests_rx) = mpsc::channel(REQUESTS);
        let first = v1::UseRequest { kind: Some(use_request::Kind::Wish(wish)) };
        // There is room for it, and its receiver is here.
        let _ = requests_tx.try_send(first);
        let events = daemon.r#use(ReceiverStream::new(requests_rx)).await;
        let mut events = events?.into_inner();
        loop {
            let Some(event) = events.message().await? else {
                return Err(ClientError::internal("the daemon ended the call without a result"));
            };
            let step_kind = event.step_kind();
            match event.kind {
                Some(use_event::Kind::Step(text)) => say(&Said::Step { kind: step_kind, text }),
                Some(use_event::Kind::Warning(warning)) => say(&Said::Warning(warning)),
                Some(use_event::Kind::Failed(failure)) => return Err(failure.into()),
                Some(use_event::Kind::Using(using)) => {
                    let events = events.scan((), |(), event| std::future::ready(event.ok())).boxed();
                    return Ok((Self { requests_tx, events }, using));
                }
                // An event that only a newer daemon knows.
                _ => {}
            }
        }
    }

    /// The next event; `None`: the daemon is gone.
    pub(super) async fn next(&mut self) -> Option<use_event::Kind> {
        loop {
            if let Some(kind) = self.events.next().await?.kind {
                return Some(kind);
            }
        }
    }

    /// Waits for the answer to a report of listeners.
    pub(super) async fn may_listen(&mut self) -> Result<(), ClientError> {
        loop {
            match self.next().await {
                Some(use_event::Kind::Listening(_)) => return Ok(()),
                Some(use_event::Kind::Refused(failure)) => return Err(failure.into()),
                Some(use_event::Kind::Ended(why)) => return Err(ClientError::new(Cause::Ended, why, "")),
                Some(_) => {}
                None => return Err(ClientError::internal("the daemon is gone")),
            }
        }
    }

    /// Stops using the session. If nobody else uses it, the target is restored.
    pub(super) async fn end(self, say: impl Fn(&Said)) -> Result<(), ClientError> {
        let Self { requests_tx, mut events } = self;
        drop(requests_tx);
        say(&step("ending".to_owned()));
        let mut ended = Ok(());
        while let Some(event) = events.next().await {
            match event.kind {
                Some(use_event::Kind::Step(text)) => say(&step(text)),
                Some(use_event::Kind::Failed(failure)) => {
                    // The daemon's further steps are not waited for.
                    ended = Err(failure.into());
                    break;
                }
                _ => {}
            }
        }
        ended
    }
}

/// A step of the end, which has no kind.
fn step(text: String) -> Said {
    Said::Step { kind: v1::StepKind::Unspecified, text }
}

/// A command's requests to its session, for the present daemon and any later one. A clone is a handle to the same.
#[derive(Debug, Clone)]
pub struct Asked(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    wish: v1::Wish,
    listeners: Option<v1::Listeners>,
    /// The present call's requests, if it is open: this does not keep it open, as the daemon goes by its end.
    requests_tx: mpsc::WeakSender<v1::UseRequest>,
}

impl Asked {
    pub(super) fn by(call: &Call, wish: v1::Wish) -> Self {
        let requests_tx = call.requests_tx.downgrade();
        Self(Arc::new(Mutex::new(Inner { wish, listeners: None, requests_tx })))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Each holder of this lock changes one field.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All requests, for a daemon that knows none yet.
    pub(super) fn wish(&self) -> v1::Wish {
        self.lock().wish.clone()
    }

    /// Whether the user did not choose the local ports.
    #[must_use]
    pub fn is_free(&self) -> bool {
        self.lock().wish.request.as_ref().is_some_and(|request| request.ports.is_empty())
    }

    /// Routes this command's requests to other local ports from now on.
    pub fn lead(&self, ports: Vec<v1::PortMapping>) {
        let mut inner = self.lock();
        if let Some(request) = &mut inner.wish.request {
            request.ports.clone_from(&ports);
        }
        inner.say(use_request::Kind::Ports(v1::Ports { ports }));
    }

    /// Reports the ports on which this command listens for connections into the cluster.
    pub fn listen(&self, listeners: v1::Listeners) {
        let mut inner = self.lock();
        inner.listeners = Some(listeners.clone());
        inner.say(use_request::Kind::Listeners(listeners));
    }

    /// Sends the rest to another daemon, which has the wish.
    pub(super) fn goes_on(&self, call: &Call) {
        let mut inner = self.lock();
        inner.requests_tx = call.requests_tx.downgrade();
        if let Some(listeners) = inner.listeners.clone() {
            inner.say(use_request::Kind::Listeners(listeners));
        }
    }
}

impl Inner {
    fn say(&self, kind: use_request::Kind) {
        // If the daemon is gone, the next one gets it with the wish; one that does not read is as good as gone.
        let Some(requests_tx) = self.requests_tx.upgrade() else { return };
        let _ = requests_tx.try_send(v1::UseRequest { kind: Some(kind) });
    }
}
