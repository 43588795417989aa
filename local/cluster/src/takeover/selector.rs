//! Where a Service with agents leads, by its selector and its targetPorts: switched, led back, switched again, and the
//! owners of these fields.

use bridge_deploy::TargetPort;
use k8s_openapi::api::core::v1::{Service, ServicePort};
use kube::ResourceExt;
use serde_json::{Value, json};

use crate::change::{Decision, change, change_read};
use crate::client::Cluster;
use crate::error::ClusterError;
use crate::mode::Mode;
use crate::objects::managed_fields;
use crate::ownership;
use crate::spec::{selector, target};
use crate::state::{Attachment, Targets};

/// Switches the Service to the agents, in one patch, if its selector is still the original, and records the selector's
/// owners. Returns the Service, and whether that has changed targetPorts. To be followed by [`disown`].
///
/// # Errors
///
/// [`ClusterError::SelectorChanged`] if it is neither, and those of the calls.
pub(super) async fn switch(
    cluster: &Cluster,
    service: &str,
    stand_in: &str,
    deployment: Option<&str>,
) -> Result<(Service, bool), ClusterError> {
    change(cluster, service, |now| {
        let decision = to_stand_in(now, stand_in, deployment)?;
        let changes = matches!(decision, Decision::Write(..));
        let retargets = changes && Attachment::of(now)?.is_some_and(|there| there.retargets());
        Ok(decision.then(retargets))
    })
    .await
}

/// `deployment`: the uid of the stand-in's Deployment, if the attachment is to name another one.
fn to_stand_in(
    now: &Service,
    stand_in: &str,
    deployment: Option<&str>,
) -> Result<Decision<()>, ClusterError> {
    let changed = || ClusterError::SelectorChanged { service: now.name_any() };
    let mut attachment =
        Attachment::of(now)?.filter(|there| there.stand_in == stand_in).ok_or_else(changed)?;
    if attachment.is_in_place(now) {
        return Ok(Decision::Leave(()));
    }
    if attachment.original != selector(now) {
        return Err(changed());
    }
    attachment.led_back = None;
    if let Some(deployment) = deployment {
        attachment.deployment = Some(deployment.to_owned());
    }
    let owners = ownership::selector_owners(&managed_fields(now));
    if attachment.mode == Mode::StandIn && !owners.is_empty() {
        attachment.selector_owners = owners;
    }
    Ok(Decision::Write(to_agents(now, &attachment), ()))
}

/// Writes the attachment, and what leads to its agents.
fn to_agents(now: &Service, attachment: &Attachment) -> Value {
    let mut change = attachment.to_change();
    change["spec"] = match attachment.mode {
        Mode::StandIn => json!({"selector": attachment.attached}),
        Mode::Sidecar => retargeted(now, attachment, |known| &known.ours),
    };
    change
}

/// The Service's ports, each with this one of its targets if it has the other.
fn retargeted(now: &Service, attachment: &Attachment, wanted: fn(&Targets) -> &TargetPort) -> Value {
    let mut ports = json!(now.spec.as_ref().and_then(|spec| spec.ports.as_ref()));
    for port in ports.as_array_mut().into_iter().flatten() {
        let Ok(typed) = serde_json::from_value::<ServicePort>(port.clone()) else { continue };
        let is_tcp = typed.protocol.as_deref().is_none_or(|protocol| protocol == "TCP");
        let number = u16::try_from(typed.port).ok().filter(|_| is_tcp);
        let Some((number, known)) = number.and_then(|n| Some((n, attachment.targets.get(&n)?))) else {
            continue;
        };
        let there = target(number, &typed);
        if there == known.theirs || there == known.ours {
            port["targetPort"] = json!(wanted(known));
        }
    }
    json!({"ports": ports})
}

/// Switches a Service again that was led back because no agent was ready ([`lead_back`]), and no other: a selector that
/// another user has reset stays. Returns whether it did; false if another daemon has.
///
/// # Errors
///
/// The errors of the calls.
pub async fn switch_again(cluster: &Cluster, service: &str, stand_in: &str) -> Result<bool, ClusterError> {
    let (switched, again) = change(cluster, service, |now| to_stand_in_again(now, stand_in)).await?;
    if again {
        disown(cluster, switched).await?;
    }
    Ok(again)
}

fn to_stand_in_again(now: &Service, stand_in: &str) -> Result<Decision<bool>, ClusterError> {
    let led_back = Attachment::of(now)?.filter(|a| a.stand_in == stand_in && a.is_led_back(now));
    match led_back {
        Some(_) => to_stand_in(now, stand_in, None).map(|decision| decision.then(true)),
        None => Ok(Decision::Leave(false)),
    }
}

/// Gives up our ownership of the selector, so that applying the Service causes no conflict. The API server makes us the
/// owner with each change, so this is a change of its own; the next connect, or `clean`, finishes an interrupted one.
///
/// # Errors
///
/// The errors of the calls.
pub(super) async fn disown(cluster: &Cluster, switched: Service) -> Result<(), ClusterError> {
    change_read(cluster, switched, |now| Ok(owned_by_nobody(now))).await.map(drop)
}

fn owned_by_nobody(now: &Service) -> Decision<()> {
    let owners = managed_fields(now);
    let wanted = ownership::disowned(&owners);
    if wanted == owners {
        return Decision::Leave(());
    }
    Decision::Write(json!({"metadata": {"managedFields": wanted}}), ())
}

/// Restores the selector and its owners, and nothing else: for a Service that has got ports which the stand-in does not
/// know, or of which no agent is ready for now; then the attachment records `why`. Returns whether the Service led to
/// the stand-in.
///
/// # Errors
///
/// The errors of the calls.
pub async fn lead_back(
    cluster: &Cluster,
    service: &str,
    stand_in: &str,
    why: Option<&str>,
) -> Result<bool, ClusterError> {
    let (led_back, attachment) = change(cluster, service, |now| to_origin(now, stand_in, why)).await?;
    let Some(attachment) = attachment else { return Ok(false) };
    change_read(cluster, led_back, |now| Ok(owned_as_before(now, &attachment))).await?;
    Ok(true)
}

/// The change and the attachment after it, if the Service leads to the stand-in.
fn to_origin(
    now: &Service,
    stand_in: &str,
    why: Option<&str>,
) -> Result<Decision<Option<Attachment>>, ClusterError> {
    let in_place = Attachment::of(now)?.filter(|a| a.stand_in == stand_in && a.is_led_to_agents(now));
    let Some(mut attachment) = in_place else { return Ok(Decision::Leave(None)) };
    attachment.led_back = why.map(str::to_owned);
    Ok(Decision::Write(to_original(now, &attachment), Some(attachment)))
}

/// Writes the attachment, and what led to the origin.
pub(super) fn to_original(now: &Service, attachment: &Attachment) -> Value {
    let mut change = attachment.to_change();
    change["spec"] = match attachment.mode {
        Mode::StandIn => json!({"selector": attachment.original}),
        Mode::Sidecar => retargeted(now, attachment, |known| &known.theirs),
    };
    change
}

/// Restores the owners of the selector, if it is the original again.
fn owned_as_before(now: &Service, attachment: &Attachment) -> Decision<()> {
    let wanted = owners_given_back(now, attachment);
    if managed_fields(now) == wanted {
        return Decision::Leave(());
    }
    Decision::Write(json!({"metadata": {"managedFields": wanted}}), ())
}

/// The Service's `managedFields` without us, and with the previous owners of the selector, if it is the original again.
pub(super) fn owners_given_back(now: &Service, attachment: &Attachment) -> Value {
    let owners =
        if selector(now) == attachment.original { attachment.selector_owners.as_slice() } else { &[] };
    ownership::given_back(&managed_fields(now), owners)
}

#[cfg(test)]
#[path = "selector_tests.rs"]
mod tests;
