//! `bridge connect`: has the daemon open the session, and shows each step.

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

/// What to restart once it is connected.
pub(crate) struct Restarts {
    pub(crate) origin: bool,
    pub(crate) callers: Vec<Target>,
}

pub(crate) async fn run(args: ConnectArgs, restarts: Restarts, format: Format) -> Result<(), Failed> {
    let request = v1::ConnectRequest {
        restart_origin: restarts.origin,
        restart_callers: restarts.callers.iter().map(Target::with_kind).collect(),
        ..request::complete(&args)?
    };
    let session = Session::from(connect(request).await?);
    output::print_as(format, &session, || session.connected(args.everything, &program::name()))
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
