//! The Services that a session reaches by an address of their own.

use std::net::IpAddr;

use bridge_proto::v1;

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

/// Invalid addresses and ports are omitted.
pub(crate) fn of_messages(services: Vec<v1::ReachableService>) -> Vec<Reachable> {
    let port = |port: v1::NamedPort| Some(Port { number: u16::try_from(port.number).ok()?, name: port.name });
    let service = |service: v1::ReachableService| {
        let address = service.address.parse().ok()?;
        let ports = service.ports.into_iter().filter_map(port).collect();
        Some(Reachable { name: service.name, address, ports })
    };
    services.into_iter().filter_map(service).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unreachable_services_are_omitted() {
        let service = |address: &str| v1::ReachableService {
            name: "db".to_owned(),
            address: address.to_owned(),
            ports: [5432, 70_000].map(|number| v1::NamedPort { number, name: "sql".to_owned() }).into(),
        };
        let found = of_messages(vec![service("None"), service("10.96.0.9")]);
        let ports = vec![Port { number: 5432, name: "sql".to_owned() }];
        let address = "10.96.0.9".parse().unwrap();
        assert_eq!(found, [Reachable { name: "db".to_owned(), address, ports }]);
    }
}
