//! Finds stand-ins that keep a Service down: it leads to them, and no agent is ready. A daemon with a session there
//! would lead the Service back to the origin within seconds; if that does not happen, no daemon is left.

use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::{Api, ResourceExt, api::ListParams};

use crate::{
    client::Cluster,
    error::{Call, ClusterError},
    mode::Mode,
    objects, ours,
    snapshot::{is_ready, is_serving},
    standing::Standing,
    state::Attachment,
    watch,
};

/// Longer than any live daemon takes.
const GIVEN_BACK_WITHIN: Duration = Duration::from_secs(6);

/// Whether a Service leads to a stand-in without a ready agent, although the origin is ready, and no daemon changes
/// that: the machines of all its sessions are gone.
///
/// # Errors
///
/// The errors of the calls.
pub(crate) async fn is_abandoned(cluster: &Cluster, service: &Service) -> Result<bool, ClusterError> {
    let Some(attachment) =
        Attachment::of(service)?.filter(|there| there.mode == Mode::StandIn && there.is_in_place(service))
    else {
        return Ok(false);
    };
    let name = service.name_any();
    if !keeps_down(cluster, &name, &attachment).await? {
        return Ok(false);
    }
    let stand_in = &attachment.stand_in;
    let led_elsewhere = async {
        let mut standings = std::pin::pin!(watch::service(cluster, &name, stand_in));
        while let Some(standing) = standings.next().await {
            if standing? != Standing::InPlace {
                break;
            }
        }
        Ok::<_, ClusterError>(false)
    };
    match tokio::time::timeout(GIVEN_BACK_WITHIN, led_elsewhere).await {
        Ok(answer) => answer,
        Err(_) => keeps_down(cluster, &name, &attachment).await,
    }
}

async fn keeps_down(cluster: &Cluster, service: &str, attachment: &Attachment) -> Result<bool, ClusterError> {
    let original: Vec<String> =
        attachment.original.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let original = original.join(",");
    let agents = objects::labelled(service, &attachment.stand_in);
    let stand_in = bridge_deploy::names(service, &attachment.stand_in).stand_in;
    let (agents, origin) = tokio::try_join!(
        any_ready(cluster, &agents, |pod| ours::is_of_deployment(&stand_in, &pod.metadata)),
        any_ready(cluster, &original, |_| true),
    )?;
    Ok(!agents && origin)
}

async fn any_ready(
    cluster: &Cluster,
    labels: &str,
    counts: impl Fn(&Pod) -> bool,
) -> Result<bool, ClusterError> {
    let api: Api<Pod> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let call = Call::all("list", "pods", &cluster.namespace);
    let pods = cluster.call(call, api.list(&ListParams::default().labels(labels))).await?;
    Ok(pods.iter().any(|pod| counts(pod) && is_serving(pod) && is_ready(pod)))
}
