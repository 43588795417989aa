//! Reports the steps of a connect to the command that waits for it.

use bridge_cluster::obstacles::Warning;
use bridge_cluster::takeover::{Step, Waiter};
use bridge_proto::v1::{self, StepKind};
use tokio::sync::mpsc;

use super::failure::Failure;

#[derive(Clone)]
pub(crate) enum Teller {
    Connect(mpsc::Sender<v1::ConnectEvent>),
    Use(mpsc::Sender<v1::UseEvent>),
}

/// One event for the command.
enum Event {
    Step(Step),
    Warning(String),
}

impl Event {
    fn step_kind(&self) -> StepKind {
        let Self::Step(step) = self else { return StepKind::Unspecified };
        match step {
            Step::WaitingForTurn { .. } => StepKind::WaitingForTurn,
            Step::Chose { .. } => StepKind::ChoseMode,
            Step::StartingAgents { .. } | Step::AddingSidecar { .. } | Step::StartingAside { .. } => {
                StepKind::StartingAgents
            }
            Step::ScalingToZero { .. } => StepKind::ScalingToZero,
            Step::WaitingForPods { .. } => StepKind::WaitingForPods,
            Step::FollowingOrigin => StepKind::FollowingOrigin,
            Step::WaitingForAgents(_) => StepKind::WaitingForAgents,
            Step::OpeningTunnel => StepKind::OpeningTunnel,
            Step::Switching { .. } => StepKind::Switching,
            Step::RestartingOrigin => StepKind::RestartingOrigin,
            Step::RestartingCaller { .. } => StepKind::RestartingCaller,
        }
    }
}

impl From<Event> for v1::ConnectEvent {
    fn from(event: Event) -> Self {
        let step_kind = event.step_kind().into();
        let kind = match event {
            Event::Step(step) => v1::connect_event::Kind::Step(step.to_string()),
            Event::Warning(text) => v1::connect_event::Kind::Warning(text),
        };
        Self { kind: Some(kind), step_kind, ..Self::default() }
    }
}

impl From<Event> for v1::UseEvent {
    fn from(event: Event) -> Self {
        let step_kind = event.step_kind().into();
        let kind = match event {
            Event::Step(step) => v1::use_event::Kind::Step(step.to_string()),
            Event::Warning(text) => v1::use_event::Kind::Warning(text),
        };
        Self { kind: Some(kind), step_kind }
    }
}

impl Teller {
    /// Sends a warning. [`Failure::GivenUp`] if nobody listens any more.
    pub(crate) async fn warn(&self, text: impl Into<String>) -> Result<(), Failure> {
        self.tell(Event::Warning(text.into())).await
    }

    async fn tell(&self, event: Event) -> Result<(), Failure> {
        match self {
            Self::Connect(events_tx) => events_tx.send(event.into()).await.map_err(|_| Failure::GivenUp),
            Self::Use(events_tx) => events_tx.send(event.into()).await.map_err(|_| Failure::GivenUp),
        }
    }
}

/// Nobody listens any more if the user pressed Ctrl-C.
impl Waiter for Teller {
    type Error = Failure;

    async fn step(&self, step: Step) -> Result<(), Failure> {
        tracing::info!("{step}");
        self.tell(Event::Step(step)).await
    }

    fn hint(&self, step: Step) {
        let step = Event::Step(step);
        // A full channel or a user who has gone: the next step detects it.
        let _ = match self {
            Self::Connect(events_tx) => events_tx.try_send(step.into()).is_ok(),
            Self::Use(events_tx) => events_tx.try_send(step.into()).is_ok(),
        };
    }

    async fn warn(&self, warning: Warning) -> Result<(), Failure> {
        self.tell(Event::Warning(warning.to_string())).await
    }

    async fn given_up(&self) -> Failure {
        match self {
            Self::Connect(events_tx) => events_tx.closed().await,
            Self::Use(events_tx) => events_tx.closed().await,
        }
        Failure::GivenUp
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_step_is_a_sentence_for_people_and_a_kind_for_programs() {
        let (events_tx, mut events_rx) = mpsc::channel(8);
        let tell = Teller::Use(events_tx);
        tell.step(Step::OpeningTunnel).await.unwrap();
        tell.hint(Step::WaitingForAgents("0 of 1 agents ready".into()));
        tell.warn("nothing listens on port 3000 of your laptop yet").await.unwrap();
        let mut heard = Vec::new();
        while let Ok(event) = events_rx.try_recv() {
            heard.push((event.step_kind(), event.kind));
        }
        let step = |text: &str| Some(v1::use_event::Kind::Step(text.to_owned()));
        let warning = "nothing listens on port 3000 of your laptop yet".to_owned();
        assert_eq!(
            heard,
            [
                (StepKind::OpeningTunnel, step("opening the tunnel")),
                (StepKind::WaitingForAgents, step("0 of 1 agents ready")),
                (StepKind::Unspecified, Some(v1::use_event::Kind::Warning(warning))),
            ]
        );
    }

    #[tokio::test]
    async fn a_command_that_has_gone_has_given_up() {
        let (events_tx, events_rx) = mpsc::channel(8);
        let tell = Teller::Connect(events_tx);
        drop(events_rx);
        assert!(matches!(tell.step(Step::OpeningTunnel).await, Err(Failure::GivenUp)));
        assert!(matches!(tell.given_up().await, Failure::GivenUp));
    }
}
