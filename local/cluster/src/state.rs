//! The annotation on a connected Service. It is changed only under the Service's resourceVersion, so that two
//! developers who connect at once see each other.
//!
//! Pure: the annotation's JSON, and how claims and releases change it; `service` compares it with the Service. Fields
//! that this version does not know are kept, and an annotation of a newer version is left alone.

mod service;

use std::collections::BTreeMap;

use bridge_deploy::TargetPort;
use bridge_proto::matching;
use bridge_proto::target::Target;
use k8s_openapi::api::core::v1::Service;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::{error::ClusterError, mode::Mode, unquoted};

/// The annotation of the Service.
pub const ATTACHMENT: &str = "bridge.dev/attachment";
/// The version of the annotation that this program writes. A greater one is left alone.
pub(crate) const VERSION: u64 = 1;
/// Longer annotations are not read: this is enough for some hundred sessions.
const MOST_BYTES: usize = 128 * 1024;
/// Limit on the text of an unknown mode to show, in characters.
const MOST_OF_MODE: usize = 40;

/// The agents in front of a Service, and the sessions that use them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attachment {
    /// 0: written before there were versions.
    #[serde(default)]
    pub version: u64,
    #[serde(default)]
    pub mode: Mode,
    /// The id of the stand-in, or of the sidecars: "7f3a".
    pub stand_in: String,
    /// The uid of the stand-in's Deployment, once it exists: only its pods are agents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment: Option<String>,
    /// The Service's own selector, to be restored.
    pub original: BTreeMap<String, String>,
    /// The Service's selector while it leads to the stand-in.
    pub attached: BTreeMap<String, String>,
    /// The owners of the selector, to be restored as well.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub selector_owners: Vec<FieldOwner>,
    /// The agents' port for daemons.
    pub control: u16,
    /// The Service's TCP ports, and the agents' port for each.
    pub ports: BTreeMap<u16, u16>,
    /// Of sidecars: where the Service's TCP ports lead, each by its number.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub targets: BTreeMap<u16, Targets>,
    /// Set while the Service is led back to the origin, until agents are ready again: the reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub led_back: Option<String>,
    pub sessions: Vec<Claim>,
    /// Other fields, of newer programs.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

/// The targetPorts of one port of a Service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Targets {
    /// The Service's own, to be restored.
    pub theirs: TargetPort,
    /// The one that leads to the agents.
    pub ours: TargetPort,
}

/// One entry of `metadata.managedFields` that owned parts of the selector, or the replicas.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldOwner {
    pub manager: String,
    pub operation: String,
    /// "scale"
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subresource: Option<String>,
    /// The parts, as in `fieldsV1`, `f:spec`, `f:selector`.
    pub fields: Value,
    /// The whole entry, if it owned nothing else: it vanishes with the field, and has to be restored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entry: Option<Value>,
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

/// One developer's part of an attachment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Claim {
    /// The session's id; new with each connect.
    pub id: String,
    pub user: String,
    /// The laptop's id: random, the same each time.
    pub installation: String,
    /// In ms since the epoch.
    pub since: u64,
    pub routes: Vec<ClaimedRoute>,
    /// The workload that the session replaces, "deploy/orders": it has no pods, so nobody else can be attached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<String>,
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

/// The requests that a session takes at one port of the Service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClaimedRoute {
    /// The Service's port.
    pub port: u16,
    /// The alternatives of the match, each as its text ("x-bridge: alice"); none means everything.
    pub any_of: Vec<String>,
    /// The origin answers them, and the session's laptop gets copies.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub copy: bool,
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

impl ClaimedRoute {
    fn collides(&self, other: &Self) -> bool {
        self.port == other.port && matching::collide(&self.any_of, &other.any_of)
    }

    /// The match for people.
    #[must_use]
    pub fn match_text(&self) -> String {
        matching::sentence(&self.any_of)
    }
}

/// Why a claim is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// Another session has this match.
    Held { by: Box<Claim>, what: String },
    /// One of the two replaces this workload, and so has to be alone.
    NotAlone { with: Box<Claim>, replaced: String },
}

impl Attachment {
    /// Reads the attachment of a Service, if there is one.
    ///
    /// # Errors
    ///
    /// [`ClusterError::NewerAttachment`] or [`ClusterError::UnknownMode`] if a newer program wrote it,
    /// [`ClusterError::Annotation`] if it cannot be read.
    pub fn of(service: &Service) -> Result<Option<Self>, ClusterError> {
        let Some(text) = service.metadata.annotations.as_ref().and_then(|all| all.get(ATTACHMENT)) else {
            return Ok(None);
        };
        let name = || service.metadata.name.clone().unwrap_or_default();
        let unreadable =
            |reason| ClusterError::Annotation { service: name(), annotation: ATTACHMENT, reason };
        if text.len() > MOST_BYTES {
            return Err(unreadable(format!("it has more than {} KiB", MOST_BYTES / 1024)));
        }
        // Of a newer version's content, only the version is known.
        let written: Written =
            serde_json::from_str(text).map_err(|error| unreadable(unquoted::json(&error)))?;
        if written.version > VERSION {
            return Err(ClusterError::NewerAttachment { service: name(), version: written.version });
        }
        // A newer mode needs no newer version: programs that know the rest of the attachment may still read it.
        if let Some(mode) = written.mode.filter(|mode| Mode::deserialize(mode).is_err()) {
            let mode = mode.as_str().map_or_else(|| mode.to_string(), str::to_owned);
            let mode = mode.chars().take(MOST_OF_MODE).collect();
            return Err(ClusterError::UnknownMode { service: name(), mode });
        }
        let there: Self = serde_json::from_str(text).map_err(|error| unreadable(unquoted::json(&error)))?;
        if !bridge_deploy::is_stand_in_id(&there.stand_in) {
            return Err(unreadable(format!("{:?} is not a stand-in id", there.stand_in)));
        }
        Ok(Some(there))
    }

    /// Whether the agents listen for each of these ports of the Service on the given port.
    #[must_use]
    pub fn listens_as(&self, ports: &BTreeMap<u16, u16>) -> bool {
        ports.iter().all(|(port, listen)| self.ports.get(port) == Some(listen))
    }

    /// Whether its agents do what those of a new attachment would.
    #[must_use]
    pub fn fits(&self, fresh: &Self) -> bool {
        self.mode == fresh.mode
            && self.listens_as(&fresh.ports)
            && (self.mode == Mode::StandIn || self.control == fresh.control)
    }

    /// The workload that a session replaces.
    #[must_use]
    pub fn replaced(&self) -> Option<Target> {
        self.sessions.iter().find_map(|claim| claim.replaces.as_ref()?.parse().ok())
    }

    /// Whether it leads a port of the Service to another targetPort.
    #[must_use]
    pub fn retargets(&self) -> bool {
        self.targets.values().any(|known| known.theirs != known.ours)
    }

    /// The annotation's value.
    #[must_use]
    pub fn to_annotation(&self) -> String {
        json!(Self { version: VERSION, ..self.clone() }).to_string()
    }

    /// The merge patch that writes the annotation.
    pub(crate) fn to_change(&self) -> Value {
        json!({"metadata": {"annotations": {ATTACHMENT: self.to_annotation()}}})
    }

    /// Adds a claim, replacing that of the same user on the same installation.
    ///
    /// # Errors
    ///
    /// [`Refused`] if another user's session has one of its matches, or one of the two has to be alone.
    pub fn claim(&mut self, claim: Claim) -> Result<(), Refused> {
        let ours = |other: &Claim| other.user == claim.user && other.installation == claim.installation;
        for other in self.sessions.iter().filter(|other| !ours(other)) {
            if let Some(replaced) = claim.replaces.as_ref().or(other.replaces.as_ref()) {
                return Err(Refused::NotAlone { with: Box::new(other.clone()), replaced: replaced.clone() });
            }
            let collision =
                claim.routes.iter().find(|route| other.routes.iter().any(|held| held.collides(route)));
            if let Some(route) = collision {
                return Err(Refused::Held { by: Box::new(other.clone()), what: route.match_text() });
            }
        }
        self.sessions.retain(|other| !ours(other));
        self.sessions.push(claim);
        Ok(())
    }

    /// Removes the claim of a session. Returns whether it existed.
    pub fn release(&mut self, session: &str) -> bool {
        let before = self.sessions.len();
        self.sessions.retain(|claim| claim.id != session);
        self.sessions.len() < before
    }
}

/// The part that every version of the annotation has.
#[derive(Deserialize)]
struct Written {
    #[serde(default)]
    version: u64,
    mode: Option<Value>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(id: &str, user: &str, any_of: &[&str]) -> Claim {
        let any_of = any_of.iter().map(ToString::to_string).collect();
        Claim {
            id: id.into(),
            user: user.into(),
            installation: format!("laptop-of-{user}"),
            since: 1,
            routes: vec![ClaimedRoute { port: 80, any_of, ..ClaimedRoute::default() }],
            replaces: None,
            more: Map::new(),
        }
    }

    pub(super) fn attachment(sessions: Vec<Claim>) -> Attachment {
        let map = |value: &str| BTreeMap::from([("app".to_owned(), value.to_owned())]);
        Attachment {
            version: VERSION,
            stand_in: "7f3a".into(),
            original: map("orders"),
            attached: map("orders-bridge-7f3a"),
            control: 7390,
            ports: BTreeMap::from([(80, 8080)]),
            led_back: None,
            sessions,
            ..Attachment::default()
        }
    }

    #[test]
    fn different_matches_share_a_stand_in() {
        let mut attachment = attachment(vec![claim("1", "alice", &["x-bridge: alice"])]);
        assert_eq!(attachment.claim(claim("2", "bob", &["x-bridge: bob"])), Ok(()));
        assert_eq!(attachment.claim(claim("3", "carol", &[])), Ok(()), "everything that no other took");
        assert_eq!(attachment.sessions.len(), 3);
    }

    #[test]
    fn an_equal_match_is_refused_and_names_the_holder() {
        let alice = claim("1", "alice", &["x-bridge: alice", "baggage: bridge=alice"]);
        let mut shared = attachment(vec![alice.clone()]);
        let held = shared.claim(claim("2", "bob", &["x-bridge: alice"])).expect_err("held");
        assert_eq!(held, Refused::Held { by: Box::new(alice.clone()), what: "x-bridge: alice".into() });
        let mut other_laptop = alice;
        other_laptop.installation = "another".into();
        assert!(shared.claim(other_laptop).is_err(), "the same name on another laptop is another user");
        let mut everything = attachment(vec![claim("1", "alice", &[])]);
        assert!(everything.claim(claim("2", "bob", &[])).is_err(), "everything is exclusive");
    }

    #[test]
    fn who_replaces_the_pods_is_alone() {
        let replacing =
            |user: &str| Claim { replaces: Some("deploy/orders".into()), ..claim(user, user, &[]) };
        let with =
            |with: Claim| Err(Refused::NotAlone { with: Box::new(with), replaced: "deploy/orders".into() });
        let bob = claim("bob", "bob", &["x-bridge: bob"]);
        assert_eq!(attachment(vec![bob.clone()]).claim(replacing("alice")), with(bob.clone()));
        assert_eq!(attachment(vec![replacing("alice")]).claim(bob), with(replacing("alice")));
        let mut own = attachment(vec![claim("alice", "alice", &["x-bridge: alice"])]);
        assert_eq!(own.claim(replacing("alice")), Ok(()), "her own earlier session gives way");
    }

    #[test]
    fn the_same_laptop_takes_its_own_claim_over() {
        let mut attachment = attachment(vec![claim("1", "alice", &["x-bridge: alice"])]);
        assert_eq!(attachment.claim(claim("2", "alice", &["x-bridge: alice"])), Ok(()));
        assert_eq!(attachment.sessions, vec![claim("2", "alice", &["x-bridge: alice"])]);
        assert!(!attachment.release("1"));
        assert!(attachment.release("2"));
        assert!(attachment.sessions.is_empty());
    }

    fn annotated(text: &str) -> Service {
        let mut service = Service::default();
        service.metadata.name = Some("orders".into());
        service.metadata.annotations = Some(BTreeMap::from([(ATTACHMENT.to_owned(), text.to_owned())]));
        service
    }

    #[test]
    fn the_annotation_reads_back_as_it_was_written() {
        let mut alice = claim("1", "alice", &["x-bridge: alice"]);
        alice.routes[0].copy = true;
        let attachment = attachment(vec![alice]);
        assert_eq!(Attachment::of(&annotated(&attachment.to_annotation())).expect("valid"), Some(attachment));
        assert!(Attachment::of(&annotated("{")).is_err(), "what cannot be read is not taken for none");
    }

    #[test]
    fn unknown_fields_are_kept() {
        let route = json!({"port": 80, "anyOf": ["x-bridge: alice"], "weight": 2});
        let claim = json!({
            "id": "1", "user": "alice", "installation": "i", "since": 1, "routes": [route], "users": ["run"],
        });
        let owner = json!({"manager": "kubectl", "operation": "Apply", "fields": {}, "time": "now"});
        let written = json!({
            "version": 1, "mode": "stand-in", "standIn": "7f3a", "original": {"app": "orders"},
            "attached": {"app": "orders-bridge-7f3a"}, "selectorOwners": [owner], "control": 7390,
            "ports": {"80": 8080}, "sessions": [claim], "linger": {"until": 5},
        });
        let read = Attachment::of(&annotated(&written.to_string())).expect("valid").expect("it is there");
        let again: Value = serde_json::from_str(&read.to_annotation()).expect("JSON");
        assert_eq!(again, written, "expected each field to be written again");
    }

    #[test]
    fn one_without_a_version_is_read_and_written_with_one() {
        let old = json!({"standIn": "7f3a", "original": {}, "attached": {}, "control": 1, "ports": {}, "sessions": []});
        let read = Attachment::of(&annotated(&old.to_string())).expect("valid").expect("it is there");
        assert_eq!((read.version, read.mode), (0, Mode::StandIn));
        let again: Value = serde_json::from_str(&read.to_annotation()).expect("JSON");
        assert_eq!((&again["version"], &again["mode"]), (&json!(1), &json!("stand-in")));
    }

    #[test]
    fn one_of_a_newer_version_is_named_whatever_else_it_says() {
        let error = Attachment::of(&annotated(r#"{"version": 7, "modes": ["mirror"]}"#)).expect_err("newer");
        let expected = "the attachment of Service orders was written by a newer bridge (version 7)";
        assert_eq!(error.to_string(), expected);
        assert_eq!(error.advice().as_deref(), Some("upgrade bridge"));
    }

    #[test]
    fn an_annotation_that_is_too_long_or_names_no_stand_in_is_not_read() {
        let long = format!("{{\"version\": 1, \"standIn\": \"{}\"}}", "a".repeat(MOST_BYTES));
        assert!(Attachment::of(&annotated(&long)).expect_err("too long").to_string().contains("128 KiB"));
        let mut other = attachment(Vec::new());
        for id in ["", "../x", "payments-key", "7F3A", &"a".repeat(17)] {
            other.stand_in = id.to_owned();
            let error = Attachment::of(&annotated(&other.to_annotation())).expect_err(id).to_string();
            assert!(error.contains("is not a stand-in id"), "{id}: {error}");
        }
    }

    #[test]
    fn one_of_a_mode_that_is_not_known_is_not_taken_for_ours() {
        let of_mode = |mode: Value| {
            let mut written: Value = serde_json::from_str(&attachment(Vec::new()).to_annotation()).unwrap();
            written["mode"] = mode;
            Attachment::of(&annotated(&written.to_string())).expect_err("not known")
        };
        let error = of_mode(json!("mirror"));
        let expected = "Service orders is connected in the mode \"mirror\", which this bridge does not know";
        assert_eq!(
            (error.to_string().as_str(), error.advice().as_deref()),
            (expected, Some("upgrade bridge"))
        );
        for mode in [json!({"mirror": {"percent": 5}}), json!("m".repeat(5000))] {
            assert!(of_mode(mode).to_string().len() < 200, "it is named, and not quoted at length");
        }
    }
}
