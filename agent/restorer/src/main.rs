//! bridge-restorer: restores what agents are part of when no laptop is left, by an account that the namespace's admin has
//! made for that (`deploy/rbac-restore.yaml`). An agent runs it once it has had no session for the time.
//!
//! It looks twice. First: which sessions does the cluster have on record? Then, a while later: has none of these agents had
//! a session for the time? Only then does it what `bridge clean` does, for these sessions alone. A laptop that has
//! claimed its session just before the first look has it on an agent by the second.

mod ask;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use bridge_cluster::Cluster;
use bridge_cluster::restore::{self, Agent, Part};
use clap::Parser;
use nix::sys::signal::{SigSet, Signal};

/// The time between the looks: longer than a connect may take from its claim to its session on an agent.
const BETWEEN_LOOKS: Duration = Duration::from_secs(75);
/// Agents to ask at a time.
const AT_A_TIME: usize = 16;

/// Restores what agents are part of when no laptop is left.
#[derive(Debug, Parser)]
#[command(name = "bridge-restorer", version)]
struct Args {
    /// Folder with the account's token, certificate and namespace
    #[arg(long, value_name = "PATH")]
    account: PathBuf,
    /// Restore nothing unless all agents have had no session for this time
    #[arg(long, value_name = "SECONDS")]
    after: u64,
    /// The agents' port for readiness probes
    #[arg(long, value_name = "PORT")]
    readiness: u16,
    /// The Service of the agents
    #[arg(long, value_name = "NAME", requires = "id", required_unless_present = "aside")]
    service: Option<String>,
    /// Id of the stand-in or of the sidecars
    #[arg(long, value_name = "ID", requires = "service")]
    id: Option<String>,
    /// The Deployment of an agent aside
    #[arg(long, value_name = "NAME", conflicts_with = "service")]
    aside: Option<String>,
    /// The API server's address
    #[arg(long, value_name = "ADDRESS", env = "KUBERNETES_SERVICE_HOST")]
    host: String,
    /// The API server's port
    #[arg(long, value_name = "PORT", env = "KUBERNETES_SERVICE_PORT", default_value_t = 443)]
    port: u16,
}

impl Args {
    fn part(&self) -> Part {
        match (&self.service, &self.id, &self.aside) {
            (Some(name), Some(id), _) => Part::Service { name: name.clone(), id: id.clone() },
            (_, _, aside) => Part::Aside { deployment: aside.clone().unwrap_or_default() },
        }
    }

    /// "https://10.96.0.1:443"
    fn server(&self) -> String {
        match self.host.parse() {
            Ok(address) => format!("https://{}", SocketAddr::new(address, self.port)),
            Err(_) => format!("https://{}:{}", self.host, self.port),
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let args = Args::parse();
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).init();
    // The loader blocks it for the agent.
    let _ = SigSet::from(Signal::SIGTERM).thread_unblock();
    match run(&args).await {
        Ok(done) => {
            for sentence in done {
                tracing::info!("{sentence}");
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// What was done, a sentence each.
async fn run(args: &Args) -> anyhow::Result<Vec<String>> {
    let part = args.part();
    let folder = args.account.display();
    let cluster = Cluster::with_account(&args.server(), &args.account)
        .await
        .with_context(|| format!("the account in {folder} cannot be used"))?;
    let after = Duration::from_secs(args.after);
    let gone = restore::sessions(&cluster, &part).await?;
    tokio::time::sleep(BETWEEN_LOOKS.min(after)).await;
    let agents = restore::agents(&cluster, &part).await?;
    all_alone(&agents, args.readiness, after).await?;
    Ok(restore::restore(&cluster, &part, gone).await?)
}

/// Fails unless each of these agents says that it has had no session for this time.
async fn all_alone(agents: &[Agent], readiness: u16, after: Duration) -> anyhow::Result<()> {
    for some in agents.chunks(AT_A_TIME) {
        let asked = some.iter().map(|agent| ask::alone_for(SocketAddr::new(agent.address, readiness)));
        for (Agent { address, ready }, alone) in some.iter().zip(futures::future::join_all(asked).await) {
            let alone = alone
                .and_then(|alone| match alone {
                    // A policy of the network may refuse connections in its name.
                    None if *ready => anyhow::bail!("connection refused"),
                    alone => Ok(alone.is_none_or(|alone| alone >= after)),
                })
                .with_context(|| format!("the agent at {address} cannot be asked for its sessions"))?;
            anyhow::ensure!(alone, "the agent at {address} has a session, or had one a short time ago");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(line: &str) -> Result<Args, clap::Error> {
        let common = "bridge-restorer --account /a --after 600 --readiness 7391 --host 10.96.0.1";
        Args::try_parse_from(common.split(' ').chain(line.split(' ').filter(|word| !word.is_empty())))
    }

    #[tokio::test]
    async fn an_agent_that_is_ready_and_refuses_is_not_taken_for_none() {
        let refusing = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let agent = |ready| [Agent { address: refusing.ip(), ready }];
        let after = Duration::from_secs(1);
        all_alone(&agent(false), refusing.port(), after).await.expect("no agent runs there yet");
        let error = all_alone(&agent(true), refusing.port(), after).await.unwrap_err();
        assert_eq!(
            format!("{error:#}"),
            "the agent at 127.0.0.1 cannot be asked for its sessions: connection refused"
        );
    }

    #[test]
    fn it_is_for_the_agents_of_a_service_or_for_one_aside() {
        let service = args("--service orders --id 7f3a").expect("a good command line");
        assert_eq!(service.part(), Part::Service { name: "orders".into(), id: "7f3a".into() });
        let aside = args("--aside worker-bridge-7f3a").expect("a good command line");
        assert_eq!(aside.part(), Part::Aside { deployment: "worker-bridge-7f3a".into() });
        for bad in ["", "--service orders", "--id 7f3a", "--service orders --id 7f3a --aside worker"] {
            assert!(args(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn addresses_of_both_families_are_urls() {
        for (host, url) in [
            ("10.96.0.1", "https://10.96.0.1:443"),
            ("fd00::1", "https://[fd00::1]:443"),
            ("kubernetes.default", "https://kubernetes.default:443"),
        ] {
            let mut args = args("--aside w").expect("a good command line");
            args.host = host.to_owned();
            assert_eq!(args.server(), url);
        }
    }
}
