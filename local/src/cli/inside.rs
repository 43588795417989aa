//! Turns the options for the environment and the network of a local command into the types of `bridge_inside`.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::IpAddr;
use std::os::unix::ffi::OsStringExt;

use bridge_client::Attached;
use bridge_inside::environment::{self, LeftOut, Variables, of_the_target};
use bridge_inside::network::{Choice, Network, Part};
use hickory_proto::rr::Name;

use super::args::{Egress, InsideArgs, ScopeArgs};
use super::error::Failed;
use super::exit::Exit;

/// The means to run a local command as if it ran in the target's pod.
pub(crate) struct Inside {
    pub(crate) network: Network,
    /// The target's variables, and those that the user adds.
    pub(crate) environment: BTreeMap<OsString, OsString>,
    pub(crate) left_out: LeftOut,
}

impl Inside {
    pub(crate) async fn of(attached: &mut Attached, args: &InsideArgs) -> Result<Self, Failed> {
        let choice = choice(&args.scope)?;
        let added = added(args)?;
        let surroundings = attached.surroundings().await?;
        let network = Network::of(attached, &surroundings, choice);
        let inside = surroundings.inside.unwrap_or_default();
        let mut chosen = of_the_target(&inside, &args.variables.choice());
        chosen.variables.extend(added);
        let os = OsString::from_vec;
        let environment = chosen.variables.into_iter().map(|(name, value)| (os(name), os(value))).collect();
        Ok(Self { network, environment, left_out: chosen.left_out })
    }
}

/// The networks and names that count as the cluster's, by the options.
pub(crate) fn choice(args: &ScopeArgs) -> Result<Choice, Failed> {
    let (also, not) = (part(&args.also_cluster)?, part(&args.not_cluster)?);
    Ok(Choice { also, not, everything: args.egress == Egress::Cluster })
}

/// The user's variables; the later ones win.
fn added(args: &InsideArgs) -> Result<Variables, Failed> {
    let mut all = Vec::new();
    for file in &args.env_file {
        let wrong = |why: String| Failed::new(Exit::Usage, format!("{}: {why}", file.display()), "");
        let text = std::fs::read_to_string(file).map_err(|error| wrong(error.to_string()))?;
        all.extend(environment::read_file(&text).map_err(wrong)?);
    }
    all.extend(args.env.iter().cloned());
    Ok(all.into_iter().map(|variable| (variable.name.into_bytes(), variable.value.into_bytes())).collect())
}

fn part(all: &[String]) -> Result<Part, Failed> {
    let mut part = Part::default();
    for text in all {
        if let Ok(network) = text.parse() {
            part.networks.push(network);
        } else if let Ok(address) = text.parse::<IpAddr>() {
            part.networks.push(address.into());
        } else {
            let mut name = Name::from_utf8(text).map_err(|_| {
                let message = format!("{text:?} is not a network, address or name");
                Failed::new(Exit::Usage, message, "examples: 10.8.0.0/16, 10.8.0.1, corp.example")
            })?;
            name.set_fqdn(true);
            part.names.push(name);
        }
    }
    Ok(part)
}
