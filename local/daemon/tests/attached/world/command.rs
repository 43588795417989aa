//! A command that uses a session, as `bridge run` does.

use bridge_proto::v1::{self, use_event, use_request};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use super::{Laptop, SOON};

/// Killed when dropped.
pub(crate) struct Command {
    /// `None` when it has ended.
    requests_tx: Option<mpsc::Sender<v1::UseRequest>>,
    events: Streaming<v1::UseEvent>,
}

impl Laptop {
    /// Begins to use a session, with the ports of `connect`.
    pub(crate) async fn uses(&self, kind: v1::WishKind) -> Command {
        self.uses_with(kind, self.request()).await
    }

    pub(crate) async fn uses_with(&self, kind: v1::WishKind, request: v1::ConnectRequest) -> Command {
        let wish = v1::Wish { request: Some(request), kind: kind.into(), ..v1::Wish::default() };
        let (requests_tx, requests_rx) = mpsc::channel(8);
        requests_tx.send(v1::UseRequest { kind: Some(use_request::Kind::Wish(wish)) }).await.unwrap();
        let using = self.daemon().await.client.r#use(ReceiverStream::new(requests_rx)).await;
        Command { requests_tx: Some(requests_tx), events: using.unwrap().into_inner() }
    }
}

impl Command {
    /// The next event, without steps and warnings.
    pub(crate) async fn next(&mut self) -> use_event::Kind {
        let telling = async {
            loop {
                let event = self.events.message().await.unwrap().expect("the daemon has more to say");
                match event.kind {
                    None | Some(use_event::Kind::Step(_) | use_event::Kind::Warning(_)) => {}
                    Some(kind) => return kind,
                }
            }
        };
        tokio::time::timeout(SOON, telling).await.expect("an event")
    }

    /// The next state of its session.
    pub(crate) async fn using(&mut self) -> v1::Using {
        match self.next().await {
            use_event::Kind::Using(using) => using,
            other => panic!("expected a session, instead: {other:?}"),
        }
    }

    /// Routes its requests to another port.
    pub(crate) async fn leads_to(&self, local: u16) {
        let ports = vec![v1::PortMapping { local: local.into(), remote: String::new() }];
        self.asks(use_request::Kind::Ports(v1::Ports { ports })).await;
    }

    /// Reports that it listens there for connections into the cluster.
    pub(crate) async fn listens_on(&self, port: u32) {
        let listeners = v1::Listeners { ports: vec![port], what: "bridge forward".into() };
        self.asks(use_request::Kind::Listeners(listeners)).await;
    }

    async fn asks(&self, kind: use_request::Kind) {
        let requests_tx = self.requests_tx.as_ref().unwrap();
        requests_tx.send(v1::UseRequest { kind: Some(kind) }).await.unwrap();
    }

    /// Ends it while others use its session; returns once the daemon has noticed.
    pub(crate) async fn leaves(mut self) {
        self.requests_tx = None;
        let noticing = async { while self.events.message().await.unwrap().is_some() {} };
        tokio::time::timeout(SOON, noticing).await.expect("the end of the call");
    }

    /// Ends it; returns the last event.
    pub(crate) async fn ends(mut self) -> use_event::Kind {
        self.requests_tx = None;
        loop {
            match self.next().await {
                // States from before.
                use_event::Kind::Using(_) => {}
                last => return last,
            }
        }
    }
}
