//! The command line. Arguments and no environment, because the pod's environment is the origin's.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use ipnet::IpNet;

use crate::log::LogFormat;
use crate::{Config, Forward, Outward, Restore};

/// Stands in front of a Service and routes each request, to its origin or to a laptop.
#[derive(Debug, Parser)]
#[command(name = "bridge-agent", version)]
pub struct Args {
    /// Listen on this port for traffic to this address of the origin (repeatable; none: there is no traffic)
    #[arg(long = "forward", value_name = "PORT=ADDRESS:PORT", value_parser = parse_forward)]
    pub forward: Vec<Forward>,
    /// The origin is in this pod: stop when it does
    #[arg(long)]
    pub beside_origin: bool,
    /// Port for daemons, on loopback only
    #[arg(long, value_name = "PORT")]
    pub control: u16,
    /// Port for readiness probes
    #[arg(long, value_name = "PORT")]
    pub readiness: u16,
    /// Port for Prometheus, on loopback only
    #[arg(long, value_name = "PORT")]
    pub metrics: Option<u16>,
    /// File with the key that daemons must know; it may appear later
    #[arg(long, value_name = "PATH")]
    pub key_file: PathBuf,
    /// Name of this pod
    #[arg(long, value_name = "POD", env = "HOSTNAME", default_value = "bridge-agent")]
    pub name: String,
    /// Addresses of a node, which laptops may not reach through this agent (repeatable)
    #[arg(long = "node", value_name = "ADDRESS,...", value_delimiter = ',')]
    pub nodes: Vec<IpAddr>,
    /// Network that laptops may reach although it is otherwise forbidden (repeatable)
    #[arg(long, value_name = "CIDR")]
    pub also_allow: Vec<IpNet>,
    /// Environment variable that is the agent's own and not the container's (repeatable)
    #[arg(long = "own-variable", value_name = "NAME")]
    pub own_variables: Vec<String>,
    /// Mount path of a volume of the container (repeatable)
    #[arg(long = "volume", value_name = "PATH")]
    pub volumes: Vec<PathBuf>,
    /// Restore what this agent is part of when it has had no session for this time
    #[arg(long, value_name = "SECONDS", requires = "restorer")]
    pub restore_after: Option<u64>,
    /// Program that restores it, and its arguments (one each; repeatable)
    #[arg(long, value_name = "WORD", requires = "restore_after")]
    pub restorer: Vec<String>,
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
    /// error, warn, info, debug, trace, or a filter like `info,bridge_agent=debug`
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    pub log_level: String,
}

/// Arguments that contradict each other.
#[derive(Debug, thiserror::Error)]
#[error("port {0} is given more than once: each port has one use")]
pub struct PortGivenTwice(u16);

impl Args {
    /// The agent's settings.
    pub fn into_config(self) -> Result<Config, PortGivenTwice> {
        let mut ports: Vec<u16> = self.forward.iter().map(|forward| forward.listen).collect();
        ports.extend([self.control, self.readiness]);
        ports.extend(self.metrics);
        ports.sort_unstable();
        if let Some(pair) = ports.windows(2).find(|pair| pair[0] == pair[1] && pair[0] != 0) {
            return Err(PortGivenTwice(pair[0]));
        }
        Ok(Config {
            forward: self.forward,
            control: self.control,
            readiness: self.readiness,
            metrics: self.metrics,
            key_file: self.key_file,
            name: self.name,
            restore: self
                .restore_after
                .map(|seconds| Restore { after: Duration::from_secs(seconds), command: self.restorer }),
            memory: None,
            outward: Outward {
                nodes: self.nodes.into_iter().map(|address| address.to_canonical()).collect(),
                also_allowed: self.also_allow,
                own_variables: self.own_variables,
                volumes: self.volumes,
                ..Outward::default()
            },
        })
    }
}

fn parse_forward(text: &str) -> Result<Forward, String> {
    let shape = || format!("`{text}` is not of the form PORT=ADDRESS:PORT, for example 8080=10.96.0.7:80");
    let (listen, origin) = text.split_once('=').ok_or_else(shape)?;
    let listen = listen.parse().map_err(|_| shape())?;
    let origin: SocketAddr = origin.parse().map_err(|_| shape())?;
    Ok(Forward { listen, origin: normal(origin) })
}

/// Turns an IPv4-mapped IPv6 address into the IPv4 address.
fn normal(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V6(v6) => SocketAddr::new(v6.to_canonical(), address.port()),
        IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Args, clap::Error> {
        Args::try_parse_from(line.split_whitespace())
    }

    #[test]
    fn forwards_are_addresses_of_either_family() {
        let args = parse(
            "bridge-agent --forward 8080=10.96.0.7:80 --forward 9090=[fd00::7]:90 --control 1 --readiness 2 --key-file k",
        )
        .expect("a good command line");
        let origins: Vec<String> = args.forward.iter().map(|forward| forward.origin.to_string()).collect();
        assert_eq!(origins, ["10.96.0.7:80", "[fd00::7]:90"]);
    }

    #[test]
    fn an_agent_may_have_no_traffic() {
        let args = parse("bridge-agent --control 1 --readiness 2 --key-file k").expect("a good command line");
        assert!(args.forward.is_empty());
    }

    #[test]
    fn a_node_has_addresses_of_both_families() {
        let line = "bridge-agent --forward 1=10.96.0.7:80 --control 2 --readiness 3 --key-file k --node ";
        let args =
            parse(&format!("{line}192.168.7.2,::ffff:192.168.7.3,fd00::7")).expect("a good command line");
        let nodes = args.into_config().expect("each port has one use").outward.nodes;
        let nodes: Vec<String> = nodes.iter().map(IpAddr::to_string).collect();
        assert_eq!(nodes, ["192.168.7.2", "192.168.7.3", "fd00::7"]);
    }

    #[test]
    fn a_restorer_is_a_command_with_arguments_of_its_own() {
        let line = "bridge-agent --control 1 --readiness 2 --key-file k --restore-after 600 --restorer=/loader \
                    --restorer=-- --restorer=--id --restorer=7f3a";
        let restore = parse(line).expect("a good command line").into_config().expect("ports").restore;
        let restore = restore.expect("it restores");
        assert_eq!(restore.after, Duration::from_secs(600));
        assert_eq!(restore.command, ["/loader", "--", "--id", "7f3a"]);
        assert!(parse("bridge-agent --control 1 --readiness 2 --key-file k --restore-after 600").is_err());
    }

    #[test]
    fn names_are_no_addresses() {
        let error = parse("bridge-agent --forward 8080=orders:80 --control 1 --readiness 2 --key-file k");
        assert!(error.expect_err("a name").to_string().contains("PORT=ADDRESS:PORT"));
    }

    #[test]
    fn a_port_has_one_use() {
        let args =
            parse("bridge-agent --forward 8080=10.96.0.7:80 --control 8080 --readiness 2 --key-file k");
        let error = args.expect("each argument is good").into_config().expect_err("8080 twice");
        assert!(error.to_string().contains("8080"));
    }
}
