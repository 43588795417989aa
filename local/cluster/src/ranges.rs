//! The cluster's own addresses: connections of a supervised process to these lead into the cluster.
//!
//! Developers may not read cluster-scoped objects (ServiceCIDRs, nodes). So the Services' range is taken from the API
//! server's answer when a Service asks for an address outside of it (a dry run: nothing is created), and the pods'
//! ranges are the neighbourhoods of the visible pods.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::Api;
use kube::api::{ListParams, PostParams};
use serde_json::json;

use crate::client::Cluster;
use crate::error::{Call, ClusterError};

/// For documentation only (RFC 5737, RFC 3849): no cluster's Services have them.
const ELSEWHERE: [&str; 2] = ["192.0.2.1", "2001:db8::1"];
/// The size of the pod network that Kubernetes gives to a node by default: a node's pods are neighbours.
const NEIGHBOURS_V4: u8 = 24;
const NEIGHBOURS_V6: u8 = 64;

/// The networks of Services and pods, as far as the developer's rights show them. Failures are logged.
pub async fn known(cluster: &Cluster) -> BTreeSet<IpNet> {
    let (services, pods) = tokio::join!(of_services(cluster), of_pods(cluster));
    let pods = pods.unwrap_or_else(|error| {
        tracing::info!(%error, "the pods' networks are unknown at first");
        BTreeSet::new()
    });
    services.into_iter().chain(pods).collect()
}

async fn of_services(cluster: &Cluster) -> BTreeSet<IpNet> {
    let mut found = BTreeSet::new();
    for address in ELSEWHERE {
        match ask(cluster, address).await {
            Ok(()) => {}
            Err(ClusterError::Refused { reason, .. }) => found.extend(named_in(&reason)),
            Err(error) => tracing::info!(%error, "the Services' network is unknown at first"),
        }
    }
    found
}

async fn ask(cluster: &Cluster, address: &str) -> Result<(), ClusterError> {
    let namespace = &cluster.namespace;
    let family = if address.contains(':') { "IPv6" } else { "IPv4" };
    let wish = json!({
        "metadata": {"generateName": "bridge-range-"},
        "spec": {"clusterIP": address, "ipFamilies": [family], "ports": [{"port": 1}]},
    });
    let call = || Call::all("create", "services", namespace);
    let wish: Service = serde_json::from_value(wish)
        .map_err(|error| ClusterError::Refused { call: call(), reason: error.to_string() })?;
    let params = PostParams { dry_run: true, ..PostParams::default() };
    let api: Api<Service> = Api::namespaced(cluster.client.clone(), namespace);
    cluster.call(call(), api.create(&params, &wish)).await.map(drop)
}

/// The networks at the end of "The range of valid IPs is 10.96.0.0/16".
fn named_in(reason: &str) -> Vec<IpNet> {
    let Some((_, named)) = reason.split_once("range of valid IPs is ") else { return Vec::new() };
    let words = named.split([' ', ',', ';', '"']);
    words.filter_map(|word| word.trim_end_matches('.').parse().ok()).collect()
}

async fn of_pods(cluster: &Cluster) -> Result<BTreeSet<IpNet>, ClusterError> {
    let namespace = &cluster.namespace;
    let api: Api<Pod> = Api::namespaced(cluster.client.clone(), namespace);
    let pods = cluster.call(Call::all("list", "pods", namespace), api.list(&ListParams::default())).await?;
    Ok(pods.iter().flat_map(addresses).filter_map(neighbours).collect())
}

/// The addresses of a pod, if it has a network of its own.
fn addresses(pod: &Pod) -> Vec<IpAddr> {
    let on_the_node = pod.spec.as_ref().and_then(|spec| spec.host_network).unwrap_or_default();
    let status = pod.status.as_ref().filter(|_| !on_the_node);
    let all = status.and_then(|status| status.pod_ips.as_deref()).unwrap_or_default();
    all.iter().filter_map(|address| address.ip.parse().ok()).collect()
}

fn neighbours(address: IpAddr) -> Option<IpNet> {
    let bits = if address.is_ipv4() { NEIGHBOURS_V4 } else { NEIGHBOURS_V6 };
    IpNet::new(address, bits).ok().map(|net| net.trunc())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_api_server_names_its_range() {
        let reason = "Service \"x\" is invalid: spec.clusterIPs: Invalid value: [\"192.0.2.1\"]: failed to allocate IP \
            192.0.2.1: the provided IP (192.0.2.1) is not in the valid range. The range of valid IPs is 10.96.0.0/16";
        assert_eq!(named_in(reason), ["10.96.0.0/16".parse::<IpNet>().unwrap()]);
        assert_eq!(named_in("exceeded quota"), []);
    }

    #[test]
    fn a_pod_says_where_its_neighbours_are() {
        let pod = |host_network: bool| -> Pod {
            serde_json::from_value(json!({
                "spec": {"hostNetwork": host_network, "containers": []},
                "status": {"podIPs": [{"ip": "10.244.3.7"}, {"ip": "fd00:10:244:3::7"}]},
            }))
            .unwrap()
        };
        let nets = |pod: &Pod| {
            addresses(pod).into_iter().filter_map(neighbours).map(|n| n.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(nets(&pod(false)), ["10.244.3.0/24", "fd00:10:244:3::/64"]);
        assert_eq!(nets(&pod(true)), Vec::<String>::new());
    }
}
