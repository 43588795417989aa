//! `bridge connect`: has the daemon open the session, and shows each step.

use std::time::Duration;

use bridge_client::{RuntimeDir, started};
use bridge_proto::target::Target;
use bridge_proto::v1;

use super::{
    args::ConnectArgs,
    error::Failed,
    exit::Exit,
    interrupt,
    output::{self, Format, Progress},
    program, request,
    sessions::Session,
};

/// What becomes of pods once it is connected.
pub(crate) struct Pods {
    /// The target's end, until a disconnect;
    pub(crate) replace: bool,
    /// or are restarted,
    pub(crate) restart: bool,
    /// and so are those of callers.
    pub(crate) restart_callers: Vec<Target>,
}

pub(crate) async fn run(
    args: ConnectArgs,
    pods: Pods,
    lasts: Option<Duration>,
    format: Format,
) -> Result<(), Failed> {
    let request = if pods.replace { request::in_place(&args)? } else { request::complete(&args)? };
    let everything = request.everything;
    let request = v1::ConnectRequest {
        restart_origin: pods.restart,
        restart_callers: pods.restart_callers.iter().map(Target::with_kind).collect(),
        lasts_ms: lasts.map_or(0, request::millis),
        ..request
    };
    let session = Session::from(connect(request).await?);
    output::print_as(format, &session, || session.connected(everything, lasts, &program::name()))
}

/// Connects, showing each step.
async fn connect(request: v1::ConnectRequest) -> Result<v1::SessionStatus, Failed> {
    if bridge_daemon::program::carried().is_none() && request.agent_image.is_empty() {
        return Err(Failed::new(
            Exit::Internal,
            "this bridge was built without the agent",
            "build it with `make build` (then run target/release/bridge), or pass --agent-image with an image \
             that contains the agent",
        ));
    }
    let target = request.target.clone();
    let progress = Progress::new();
    let mut daemon = started(&RuntimeDir::find()?).await?;
    tokio::select! {
        connected = bridge_client::connect(&mut daemon, request, |said| progress.say(said)) => Ok(connected?),
        interrupted = interrupt::interrupted(&target) => Err(interrupted),
    }
}
