//! Named ports that move to the agent: the origin's get another name, and probes and hooks that used theirs its number.

use serde_json::{Value, json};

use super::{edit::Edit, place::Place};
use crate::pod::{list, text};

/// The longest name that a port may have.
const LONGEST: usize = 15;

/// Gives each TCP port with this name another one, so that the name is free for the agent's.
pub(super) fn free(edit: &mut Edit, template: &Value, name: &str) {
    for containers in ["containers", "initContainers"] {
        for container in list(template, &format!("/spec/{containers}")) {
            let Some(own) = text(container, "/name") else { continue };
            let place = Place::of(&["spec", containers]).element([("name", json!(own))]);
            free_in(edit, &place, container, name);
        }
    }
}

fn free_in(edit: &mut Edit, place: &Place, container: &Value, name: &str) {
    let ports = list(container, "/ports");
    let is_it = |port: &&Value| {
        text(port, "/name") == Some(name) && text(port, "/protocol").unwrap_or("TCP") == "TCP"
    };
    let Some(number) = ports.iter().find(is_it).and_then(|port| port.get("containerPort")) else { return };
    let taken: Vec<&str> = ports.iter().filter_map(|port| text(port, "/name")).collect();
    let known = [("containerPort", number.clone()), ("protocol", json!("TCP")), ("name", json!(name))];
    edit.set(&place.field("ports").element(known).field("name"), json!(other_name(name, &taken)));
    for at in users(place, container, name) {
        edit.set(&at, number.clone());
    }
}

/// The probes and hooks of a container that name the port.
fn users(place: &Place, container: &Value, name: &str) -> Vec<Place> {
    const HANDLERS: [&[&str]; 5] = [
        &["livenessProbe"],
        &["readinessProbe"],
        &["startupProbe"],
        &["lifecycle", "postStart"],
        &["lifecycle", "preStop"],
    ];
    let actions =
        HANDLERS.iter().flat_map(|handler| ["httpGet", "tcpSocket"].map(move |action| (handler, action)));
    let names_it = |(handler, action): &(&&[&str], &str)| {
        let pointer = format!("/{}/{action}/port", handler.join("/"));
        text(container, &pointer) == Some(name)
    };
    let at = |(handler, action): (&&[&str], &str)| {
        handler.iter().fold(place.clone(), |place, field| place.field(field)).field(action).field("port")
    };
    actions.filter(names_it).map(at).collect()
}

/// A valid name that the container has not.
fn other_name(name: &str, taken: &[&str]) -> String {
    let cut = |end: &str| {
        let wanted = format!("app-{name}");
        let kept = wanted.get(..LONGEST - end.len()).unwrap_or(&wanted).trim_end_matches('-');
        format!("{kept}{end}")
    };
    let numbered = (2..100).map(|number| cut(&format!("-{number}")));
    let is_free = |name: &String| !taken.contains(&name.as_str());
    std::iter::once(cut("")).chain(numbered).find(is_free).unwrap_or_else(|| cut(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_other_name_is_valid_and_free() {
        for (name, taken, expected) in [
            ("http", vec!["http"], "app-http"),
            ("http", vec!["app-http", "app-http-2"], "app-http-3"),
            ("a-long-name-for", vec![], "app-a-long-name"),
            ("a-long-nam-port", vec!["app-a-long-nam"], "app-a-long-na-2"),
            ("eleven-char-x", vec![], "app-eleven-char"),
        ] {
            let other = other_name(name, &taken);
            assert_eq!(other, expected);
            assert!(other.len() <= LONGEST);
        }
    }
}
