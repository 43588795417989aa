//! NetworkPolicies that tell the origin's pods from a stand-in's: by whom they are for, or by whom they let through.
//! A policy that selects both or neither changes nothing.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::networking::v1::{NetworkPolicy, NetworkPolicyPeer},
    apimachinery::pkg::apis::meta::v1::LabelSelector,
};
use kube::{
    ResourceExt,
    core::{Selector, SelectorExt},
};

use crate::{snapshot::Snapshot, target::name_of, workload::Labels};

/// The names of the policies, in order.
pub(super) fn naming_the_origin(snapshot: &Snapshot) -> Vec<String> {
    let world = World::of(snapshot);
    let mut names: Vec<String> =
        snapshot.policies.iter().flatten().filter(|policy| world.tells_apart(policy)).map(name_of).collect();
    names.sort_unstable();
    names
}

/// The labels that a policy can see.
struct World {
    origin: Vec<Labels>,
    stand_in: Labels,
    /// `None`: not known.
    namespace: Option<Labels>,
}

impl World {
    fn of(snapshot: &Snapshot) -> Self {
        // What the stand-in's pods will be labelled; its name stands for any that no policy knows.
        let mut stand_in = bridge_deploy::attached_selector(&snapshot.selector, "bridge-stand-in");
        for (key, value) in [
            (bridge_deploy::SERVICE_LABEL, name_of(&snapshot.service)),
            (bridge_deploy::STAND_IN_LABEL, "bridge-stand-in".to_owned()),
            (bridge_deploy::MANAGED_BY_LABEL, "bridge".to_owned()),
        ] {
            stand_in.entry(key.to_owned()).or_insert(value);
        }
        Self {
            origin: snapshot.pods.iter().map(|pod| pod.labels().clone()).collect(),
            stand_in,
            namespace: snapshot.namespace.as_ref().map(|namespace| namespace.labels().clone()),
        }
    }

    fn tells_apart(&self, policy: &NetworkPolicy) -> bool {
        let Some(spec) = &policy.spec else { return false };
        let subject = spec.pod_selector.as_ref().is_some_and(|selector| self.differ(selector));
        let sources = spec.ingress.iter().flatten().flat_map(|rule| rule.from.iter().flatten());
        let destinations = spec.egress.iter().flatten().flat_map(|rule| rule.to.iter().flatten());
        subject || sources.chain(destinations).any(|peer| self.peer_tells_apart(peer))
    }

    fn peer_tells_apart(&self, peer: &NetworkPolicyPeer) -> bool {
        // Not known whether it is about this namespace: as if it were.
        let about_us = match (&peer.namespace_selector, &self.namespace) {
            (Some(selector), Some(labels)) => selects(selector, labels),
            _ => true,
        };
        about_us && peer.pod_selector.as_ref().is_some_and(|selector| self.differ(selector))
    }

    fn differ(&self, selector: &LabelSelector) -> bool {
        let stand_in = selects(selector, &self.stand_in);
        self.origin.iter().any(|pod| selects(selector, pod) != stand_in)
    }
}

/// An invalid selector, which the API server does not let through, selects nothing.
fn selects(selector: &LabelSelector, labels: &BTreeMap<String, String>) -> bool {
    Selector::try_from(selector.clone()).is_ok_and(|selector| selector.matches(labels))
}
