//! bridge-agent: the cluster side of bridge, one process per agent pod.

use anyhow::Context as _;
use bridge_agent::{Agent, DrainTimes, args::Args, log};
use clap::Parser as _;
use nix::sys::signal::{SigSet, Signal};
use tokio::signal::unix::{SignalKind, signal};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The exit code that a shell reports for a program ended by SIGINT.
const INTERRUPTED: i32 = 130;

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    log::init(args.log_format, &args.log_level);
    let beside_origin = args.beside_origin;
    let config = args.into_config()?;
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?
        .block_on(run(config, beside_origin))
}

async fn run(config: bridge_agent::Config, beside_origin: bool) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    // The loader blocks SIGTERM until this handler exists; one that arrived in between is delivered now.
    SigSet::from(Signal::SIGTERM).thread_unblock().context("cannot unblock SIGTERM")?;
    let agent = Agent::start(config).await?;
    let drained = async {
        terminate.recv().await;
        let times = DrainTimes::default();
        match beside_origin {
            true => agent.drain_with_origin(times.at_most).await,
            false => agent.drain(times).await,
        }
    };
    tokio::select! {
        drained = drained => {
            tracing::info!(cut = drained.cut, "drained");
            Ok(())
        }
        _ = interrupt.recv() => std::process::exit(INTERRUPTED),
    }
}
