//! `bridge connect`: has the daemon make the session, and shows each step.

use bridge_proto::v1;

use super::{
    args::{ConnectArgs, Format},
    daemon::{self, Place},
    error::{Exit, Failed},
    output::{self, Progress},
    request::{self, Surroundings},
    sessions::Session,
};

pub(crate) async fn run(args: ConnectArgs, format: Format) -> Result<(), Failed> {
    let session = Session::from(connect(&args).await?);
    output::print_as(format, &session, || session.connected(args.everything, &program()))
}

/// Connects, showing each step.
pub(crate) async fn connect(args: &ConnectArgs) -> Result<v1::SessionStatus, Failed> {
    let config = request::config()?;
    let mut request = request::connect(args, &config, &Surroundings::of_this_process())?;
    request.cluster = Some(request::cluster(&args.cluster, &config)?);
    if crate::program::carried().is_none() && request.agent_image.is_empty() {
        return Err(Failed::new(
            Exit::Internal,
            "this bridge was built without the agent that it carries to the cluster",
            "make build (the command is then target/release/bridge), or name an image: --agent-image",
        ));
    }
    tokio::select! {
        connected = connected(request) => connected,
        // Dropping the call is what tells the daemon.
        _ = tokio::signal::ctrl_c() => {
            let message = format!("interrupted: what was begun for {} is being undone", args.target);
            Err(Failed::new(Exit::Interrupted, message, ""))
        }
    }
}

async fn connected(request: v1::ConnectRequest) -> Result<v1::SessionStatus, Failed> {
    let progress = Progress::new();
    let mut daemon = daemon::started(&Place::find()?).await?;
    let call = daemon.client.connect(request).await;
    let mut events = call.map_err(|status| Failed::call(&status))?.into_inner();
    loop {
        let event = events.message().await.map_err(|status| Failed::call(&status))?;
        match event.map(|event| event.kind) {
            Some(Some(v1::connect_event::Kind::Step(step))) => progress.step(&step),
            Some(Some(v1::connect_event::Kind::Warning(warning))) => progress.warn(&warning),
            Some(Some(v1::connect_event::Kind::Connected(status))) => return Ok(status),
            Some(Some(v1::connect_event::Kind::Failed(failure))) => return Err(failure.into()),
            // Something that a newer daemon has to say.
            Some(None) => {}
            None => return Err(Failed::internal("the daemon ended the call without a result")),
        }
    }
}

/// How this command was called.
pub(crate) fn program() -> String {
    let program = std::env::args_os().next().unwrap_or_default();
    super::command_called(Some(&program)).get_bin_name().unwrap_or("bridge").to_owned()
}
