//! The logs of a Service's agents.

use bridge_deploy::{SERVICE_LABEL, is_stand_in_id, names};
use futures::{AsyncBufReadExt, Stream, StreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api,
    api::{ListParams, LogParams},
};

use crate::{
    client::Cluster,
    error::{Call, ClusterError},
    ours::{is_of_deployment, labelled},
    target::name_of,
};

/// The part of a log to read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Part {
    /// Continue with new lines, until the pod ends.
    pub follow: bool,
    /// Only this number of the last lines.
    pub tail: Option<usize>,
}

/// The agent pods of a Service, by name, including draining ones of former stand-ins.
///
/// # Errors
///
/// The errors of the call.
pub async fn agents(cluster: &Cluster, service: &str) -> Result<Vec<String>, ClusterError> {
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let call = Call::all("list", "pods", &cluster.namespace);
    let ours = ListParams::default().labels(&format!("{SERVICE_LABEL}={service}"));
    // A foreign pod with these labels may log anything.
    let is_agent = |pod: &&Pod| {
        let stand_in = labelled(&pod.metadata).filter(|(_, id)| is_stand_in_id(id));
        stand_in.is_some_and(|(_, id)| is_of_deployment(&names(service, id).stand_in, &pod.metadata))
    };
    let found = cluster.call(call, pods.list(&ours)).await?;
    let mut names: Vec<String> = found.iter().filter(is_agent).map(name_of).collect();
    names.sort();
    Ok(names)
}

/// The lines of one pod's log, as they come.
///
/// # Errors
///
/// The errors of the call; an item, if the connection is lost.
pub async fn lines(
    cluster: &Cluster,
    pod: &str,
    part: Part,
) -> Result<impl Stream<Item = Result<String, ClusterError>> + use<>, ClusterError> {
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let params = LogParams {
        follow: part.follow,
        tail_lines: part.tail.map(|lines| i64::try_from(lines).unwrap_or(i64::MAX)),
        ..LogParams::default()
    };
    let call = Call::new("get", "pods/log", &cluster.namespace, pod);
    let reader = cluster.call(call.clone(), pods.log_stream(pod, &params)).await?;
    Ok(reader.lines().map(move |line| {
        line.map_err(|error| ClusterError::Api { call: call.clone(), code: 0, reason: error.to_string() })
    }))
}
