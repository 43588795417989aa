//! Names and labels of our objects: after the Service and the stand-in's short random id, in 63 characters.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// On every object of a stand-in or of sidecars; its value is their id.
pub const STAND_IN_LABEL: &str = "bridge.dev/stand-in";
/// On every object of a stand-in or of sidecars; its value is the Service's name.
pub const SERVICE_LABEL: &str = "bridge.dev/service";
/// On every object of an agent aside, in the place of the two above; its value is the agent's id.
pub const ASIDE_LABEL: &str = "bridge.dev/aside";
/// On the Deployment of an agent aside: the session that it is for.
pub const SESSION_ANNOTATION: &str = "bridge.dev/session";
/// On every object of ours; its value is `bridge`.
pub const MANAGED_BY_LABEL: &str = "app.kubernetes.io/managed-by";
/// On every object of ours: its creator, its purpose, and how to remove it.
pub const ABOUT_ANNOTATION: &str = "bridge.dev/about";

/// The longest name that a Service, and a label's value, may have.
const LONGEST: usize = 63;
/// Room for the suffix of a Service's name, which has this limit. Names of ConfigMaps may be longer.
const LONGEST_SUFFIX: usize = "-program-9".len();

const LONGEST_ID: usize = 16;

/// The names of the objects of one stand-in, of sidecars, or of an agent aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    /// The Deployment; of a stand-in, also the value of all keys of the attached selector.
    pub stand_in: String,
    /// The Service in front of the origin.
    pub origin: String,
    /// The Secret with the key.
    pub secret: String,
}

impl Names {
    /// The ConfigMap with the given part of the agent program of that identity ([`crate::Program::identity`]): another
    /// developer's bridge may bring another program.
    #[must_use]
    pub fn program(&self, identity: &str, part: usize) -> String {
        format!("{}-program-{identity}-{part}", self.stand_in)
    }

    /// Whether this is the name of a ConfigMap with a part of a program, whatever its identity.
    #[must_use]
    pub fn is_program(&self, name: &str) -> bool {
        let program = format!("{}-program-", self.stand_in);
        let Some(rest) = name.strip_prefix(program.as_str()) else { return false };
        let (identity, part) = rest.rsplit_once('-').unwrap_or(("0", rest));
        is_stand_in_id(identity) && part.len() == 1 && part.bytes().all(|b| b.is_ascii_digit())
    }
}

/// Whether this can be a stand-in's id: anyone can write labels and annotations, and names are made from the id.
#[must_use]
pub fn is_stand_in_id(id: &str) -> bool {
    (1..=LONGEST_ID).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
}

/// The names for a Service and the id of its stand-in (a few characters of `a-z0-9`). A Service's name that is too long
/// is cut, and made unique by a hash.
#[must_use]
pub fn names(service: &str, id: &str) -> Names {
    let tail = format!("-bridge-{id}");
    let room = LONGEST - LONGEST_SUFFIX - tail.len();
    let stand_in = if service.len() <= room {
        format!("{service}{tail}")
    } else {
        format!("{}{tail}", cut(service, room))
    };
    Names { origin: format!("{stand_in}-origin"), secret: format!("{stand_in}-key"), stand_in }
}

fn cut(name: &str, room: usize) -> String {
    let digest = Sha256::digest(name.as_bytes());
    let hash: String = digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    let kept = name.get(..room - hash.len() - 1).unwrap_or_default().trim_end_matches('-');
    format!("{kept}-{hash}")
}

/// The selector that leads to the stand-in: exactly the original's keys, each with the stand-in's name. Any merge of it
/// and the original by a later `apply` is the original, never one that matches nothing.
#[must_use]
pub fn attached_selector(original: &BTreeMap<String, String>, stand_in: &str) -> BTreeMap<String, String> {
    original.keys().map(|key| (key.clone(), stand_in.to_owned())).collect()
}

/// The labels of every object of one stand-in.
pub(crate) fn labels(service: &str, id: &str) -> Value {
    json!({ MANAGED_BY_LABEL: "bridge", SERVICE_LABEL: service, STAND_IN_LABEL: id })
}

/// The labels by which a stand-in's Deployment knows its pods. Both, because the id is short, and another Service's
/// stand-in may have the same one.
pub(crate) fn agents(service: &str, id: &str) -> Value {
    json!({ SERVICE_LABEL: service, STAND_IN_LABEL: id })
}

/// The labels of the stand-in's pods: ours, and those in the attached selector.
pub(crate) fn pod_labels(service: &str, id: &str, attached: &BTreeMap<String, String>) -> Value {
    let mut labels = labels(service, id);
    for (key, value) in attached {
        if key != SERVICE_LABEL && key != STAND_IN_LABEL {
            labels[key] = json!(value);
        }
    }
    labels
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_tell_service_and_stand_in() {
        let names = names("orders", "7f3a");
        assert_eq!(names.stand_in, "orders-bridge-7f3a");
        assert_eq!(names.origin, "orders-bridge-7f3a-origin");
        assert_eq!(names.secret, "orders-bridge-7f3a-key");
        assert_eq!(names.program("0a1b2c3d", 1), "orders-bridge-7f3a-program-0a1b2c3d-1");
        assert!(names.is_program("orders-bridge-7f3a-program-0a1b2c3d-9"));
        assert!(names.is_program("orders-bridge-7f3a-program-0"), "of an earlier bridge");
        for other in ["program-0a1b2c3d-10", "program-0a1b2c3d", "program--1", "program-a-b-1", "key"] {
            assert!(!names.is_program(&format!("orders-bridge-7f3a-{other}")), "{other}");
        }
    }

    #[test]
    fn long_names_are_cut_and_stay_apart() {
        let (one, two) = (format!("{}-a", "x".repeat(60)), format!("{}-b", "x".repeat(60)));
        assert_ne!(names(&one, "7f3a"), names(&two, "7f3a"));
    }

    fn service_name() -> impl Strategy<Value = String> {
        "[a-z]([-a-z0-9]{0,61}[a-z0-9])?"
    }

    /// Whether it is an RFC 1035 label, as the name of a Service must be.
    fn is_label(name: &str) -> bool {
        name.len() <= 63
            && name.starts_with(|c: char| c.is_ascii_lowercase())
            && name.ends_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
            && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
    }

    proptest! {
        #[test]
        fn every_name_is_valid(service in service_name(), id in "[a-z0-9]{4,8}") {
            let names = names(&service, &id);
            for name in [&names.stand_in, &names.origin, &names.secret] {
                prop_assert!(is_label(name), "{}", name);
                prop_assert!(name.contains(&id));
            }
        }

        #[test]
        fn different_services_have_different_names(one in service_name(), two in service_name()) {
            prop_assume!(one != two);
            prop_assert_ne!(names(&one, "7f3a").stand_in, names(&two, "7f3a").stand_in);
        }

        #[test]
        fn the_attached_selector_has_the_originals_keys(
            original in prop::collection::btree_map("[a-z./]{1,20}", "[a-z]{0,20}", 1..5)
        ) {
            let attached = attached_selector(&original, "orders-bridge-7f3a");
            prop_assert!(attached.keys().eq(original.keys()));
            prop_assert!(attached.values().all(|value| value == "orders-bridge-7f3a"));
        }
    }
}
