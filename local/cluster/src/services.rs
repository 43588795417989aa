//! The Services of a namespace and their addresses.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::Service;

use crate::client::Cluster;
use crate::client::list;
use crate::error::ClusterError;
use crate::target::{is_ours, name_of};

/// A Service with an address of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reachable {
    pub name: String,
    pub address: IpAddr,
    pub ports: Vec<Port>,
}

/// One of its TCP ports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    pub number: u16,
    /// Empty if it has none.
    pub name: String,
}

/// Lists the Services of the cluster's namespace, by name, without our own and without headless ones.
///
/// # Errors
///
/// If Services cannot be listed.
pub async fn reachable(cluster: &Cluster) -> Result<Vec<Reachable>, ClusterError> {
    let services = list::<Service>(cluster, "services").await?;
    let mut found: Vec<_> =
        services.iter().filter(|service| !is_ours(&service.metadata)).filter_map(of).collect();
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

fn of(service: &Service) -> Option<Reachable> {
    let spec = service.spec.as_ref()?;
    let address = spec.cluster_ip.as_deref()?.parse().ok()?;
    let tcp = spec.ports.iter().flatten().filter(|port| port.protocol.as_deref().is_none_or(|p| p == "TCP"));
    let ports = tcp.filter_map(|port| {
        Some(Port { number: u16::try_from(port.port).ok()?, name: port.name.clone().unwrap_or_default() })
    });
    Some(Reachable { name: name_of(service), address, ports: ports.collect() })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_headless_service_has_no_address_to_reach() {
        let service = |address: &str| -> Service {
            serde_json::from_value(json!({
                "metadata": {"name": "db"},
                "spec": {"clusterIP": address, "ports": [
                    {"port": 5432, "name": "sql"}, {"port": 53, "protocol": "UDP"}]},
            }))
            .unwrap()
        };
        assert_eq!(of(&service("None")), None);
        let found = of(&service("10.96.0.9")).unwrap();
        assert_eq!(found.ports, [Port { number: 5432, name: "sql".into() }]);
    }
}
