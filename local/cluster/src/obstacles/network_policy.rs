//! NetworkPolicies that tell the origin's pods from a stand-in's: by the pods they select, or by the pods they admit. A
//! policy that selects both or neither changes nothing. One that names one of our labels was written for stand-ins, and
//! is taken as deliberate.

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

const OUR_PREFIX: &str = "bridge.dev/";

/// The names of the policies, in order.
pub(super) fn naming_the_origin(snapshot: &Snapshot) -> Vec<String> {
    let world = World::of(snapshot);
    let policies = || snapshot.policies.iter().flatten();
    let subjects = || policies().filter_map(|policy| policy.spec.as_ref()?.pod_selector.as_ref());
    let for_stand_ins = subjects().any(|selector| world.is_for_stand_ins(selector));
    let mut names: Vec<String> =
        policies().filter(|policy| world.tells_apart(policy, for_stand_ins)).map(name_of).collect();
    names.sort_unstable();
    names
}

/// The labels that a policy can match.
struct World {
    origin: Vec<Labels>,
    stand_in: Labels,
    /// `None` if unknown.
    namespace: Option<Labels>,
}

impl World {
    fn of(snapshot: &Snapshot) -> Self {
        // The labels of the stand-in's pods; this name stands for any that no policy knows.
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

    fn tells_apart(&self, policy: &NetworkPolicy, for_stand_ins: bool) -> bool {
        let Some(spec) = &policy.spec else { return false };
        let subject = spec.pod_selector.as_ref().is_some_and(|selector| self.differ(selector));
        let sources = spec.ingress.iter().flatten().map(|rule| rule.from.as_deref().unwrap_or_default());
        let destinations = spec.egress.iter().flatten().map(|rule| rule.to.as_deref().unwrap_or_default());
        (subject && !for_stand_ins) || sources.chain(destinations).any(|peers| self.peers_tell_apart(peers))
    }

    /// The peers of one rule are alternatives.
    fn peers_tell_apart(&self, peers: &[NetworkPolicyPeer]) -> bool {
        let here = || {
            peers.iter().filter(|peer| self.is_about_us(peer)).filter_map(|peer| peer.pod_selector.as_ref())
        };
        !here().any(|selector| self.is_for_stand_ins(selector))
            && here().any(|selector| self.differ(selector))
    }

    /// Whether the peer's pods are in our namespace; if that is unknown, yes.
    fn is_about_us(&self, peer: &NetworkPolicyPeer) -> bool {
        match (&peer.namespace_selector, &self.namespace) {
            (Some(selector), Some(labels)) => selects(selector, labels),
            _ => true,
        }
    }

    fn is_for_stand_ins(&self, selector: &LabelSelector) -> bool {
        let labels = selector.match_labels.iter().flat_map(BTreeMap::keys);
        let expressions = selector.match_expressions.iter().flatten().map(|expression| &expression.key);
        labels.chain(expressions).any(|key| key.starts_with(OUR_PREFIX)) && selects(selector, &self.stand_in)
    }

    fn differ(&self, selector: &LabelSelector) -> bool {
        let stand_in = selects(selector, &self.stand_in);
        !self.is_for_stand_ins(selector) && self.origin.iter().any(|pod| selects(selector, pod) != stand_in)
    }
}

/// An invalid selector selects nothing; the API server accepts none.
pub(crate) fn selects(selector: &LabelSelector, labels: &BTreeMap<String, String>) -> bool {
    Selector::try_from(selector.clone()).is_ok_and(|selector| selector.matches(labels))
}
