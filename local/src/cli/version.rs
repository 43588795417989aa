//! `bridge version`: the versions of the command, the running daemon and the built-in agent.

use bridge_client::{RuntimeDir, running};
use bridge_proto::version;
use serde::Serialize;

use super::{
    error::Failed,
    output::{self, Format},
};

/// The output of `version -o json`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Versions {
    version: String,
    /// The revision of bridge.v1 that this command speaks.
    protocol_revision: u32,
    /// The architecture of the agent inside; None if there is none.
    agent_architecture: Option<&'static str>,
    /// None if no daemon runs.
    daemon: Option<String>,
}

pub(crate) async fn run(short: bool, format: Format) -> Result<(), Failed> {
    let ours = version::ours();
    if short {
        return output::print(&format!("{}\n", ours.program));
    }
    // An unreachable daemon has no version; `doctor` shows why it cannot be reached.
    let daemon = match RuntimeDir::find() {
        Ok(runtime_dir) => running(&runtime_dir).await.ok().flatten(),
        Err(_) => None,
    };
    let versions = Versions {
        version: ours.program,
        protocol_revision: ours.revision,
        agent_architecture: bridge_daemon::program::carried().map(|program| program.architecture),
        daemon: daemon.map(|daemon| daemon.hello.version.unwrap_or_default().program),
    };
    output::print_as(format, &versions, || text(&versions))
}

fn text(versions: &Versions) -> String {
    let agent = match versions.agent_architecture {
        Some(architecture) => format!("built in, for linux/{architecture}"),
        None => "not built in: make build".to_owned(),
    };
    format!(
        "bridge  {} (bridge.v1 revision {})\ndaemon  {}\nagent   {agent}\n",
        versions.version,
        versions.protocol_revision,
        versions.daemon.as_deref().unwrap_or("not running"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_programs() {
        let mut versions = Versions {
            version: "0.1.0".to_owned(),
            protocol_revision: 1,
            agent_architecture: Some("amd64"),
            daemon: Some("0.1.0".to_owned()),
        };
        assert_eq!(
            text(&versions),
            "bridge  0.1.0 (bridge.v1 revision 1)\ndaemon  0.1.0\nagent   built in, for linux/amd64\n"
        );
        (versions.agent_architecture, versions.daemon) = (None, None);
        assert!(text(&versions).ends_with("daemon  not running\nagent   not built in: make build\n"));
    }
}
