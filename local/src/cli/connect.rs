//! `bridge connect`: has the daemon open the session, and shows each step.

use bridge_proto::v1;

use super::{
    args::{ConnectArgs, Format},
    daemon::{self, Place},
    error::Failed,
    exit::Exit,
    output::{self, Progress},
    request::{self, Surroundings},
    sessions::Session,
};
use bridge_inside::network::DaemonClient;

pub(crate) async fn run(args: ConnectArgs, format: Format) -> Result<(), Failed> {
    let session = Session::from(connect(request(&args)?).await?);
    output::print_as(format, &session, || session.connected(args.everything, &program()))
}

/// What the daemon is asked for.
pub(crate) fn request(args: &ConnectArgs) -> Result<v1::ConnectRequest, Failed> {
    let config = request::config()?;
    let mut request = request::connect(args, &config, &Surroundings::of_this_process())?;
    request.cluster = Some(request::cluster(&args.cluster, &config)?);
    Ok(request)
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
    let show = |said: &Said| match said {
        Said::Step(step) => progress.step(step),
        Said::Warning(warning) => progress.warn(warning),
    };
    let mut daemon = daemon::started(&Place::find()?).await?;
    tokio::select! {
        connected = connected(&mut daemon.client, request, show) => connected,
        // Dropping the call is what tells the daemon.
        _ = tokio::signal::ctrl_c() => {
            let message = format!("interrupted: undoing what was started for {target}");
            Err(Failed::new(Exit::Interrupted, message, ""))
        }
    }
}

/// What the daemon says meanwhile.
pub(crate) enum Said {
    Step(String),
    Warning(String),
}

/// Asks the daemon, and passes on what it says until the session is there.
async fn connected(
    daemon: &mut DaemonClient,
    request: v1::ConnectRequest,
    show: impl Fn(&Said),
) -> Result<v1::SessionStatus, Failed> {
    let call = daemon.connect(request).await;
    let mut events = call.map_err(|status| Failed::call(&status))?.into_inner();
    loop {
        let event = events.message().await.map_err(|status| Failed::call(&status))?;
        let Some(v1::ConnectEvent { kind, .. }) = event else {
            return Err(Failed::internal("the daemon ended the call without a result"));
        };
        match kind {
            Some(v1::connect_event::Kind::Step(step)) => show(&Said::Step(step)),
            Some(v1::connect_event::Kind::Warning(warning)) => show(&Said::Warning(warning)),
            Some(v1::connect_event::Kind::Connected(session)) => return Ok(session),
            Some(v1::connect_event::Kind::Failed(failure)) => return Err(failure.into()),
            // Something that a newer daemon has to say.
            None => {}
        }
    }
}

/// How this command was called.
pub(crate) fn program() -> String {
    let program = std::env::args_os().next().unwrap_or_default();
    super::command_called(Some(&program)).get_bin_name().unwrap_or("bridge").to_owned()
}
