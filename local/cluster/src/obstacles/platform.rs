//! The platforms on which the origin's pods can run, as far as their template shows: developers may not read nodes.

use serde_json::Value;

use crate::obstacle::Obstacle;

/// An operating system other than Linux, or, if this bridge has the agent, an architecture other than the agent's.
pub(super) fn other(template: &Value, carried: Option<&str>) -> Option<Obstacle> {
    let named_os = template.pointer("/spec/os/name").and_then(Value::as_str).map(|name| vec![name]);
    let os = named_os.or_else(|| asked(template, "kubernetes.io/os"));
    let architecture = asked(template, "kubernetes.io/arch");
    let other_os = os.filter(|names| !names.contains(&"linux"));
    let other_architecture =
        architecture.filter(|names| carried.is_some_and(|carried| !names.contains(&carried)));
    let wanted = other_os.or(other_architecture)?.join(" or ");
    Some(Obstacle::Platform { wanted, carried: format!("linux/{}", carried.unwrap_or("any")) })
}

/// The values of a node's label that the template asks for.
fn asked<'a>(template: &'a Value, label: &str) -> Option<Vec<&'a str>> {
    let selected =
        template.pointer("/spec/nodeSelector").and_then(|nodes| nodes.get(label)).and_then(Value::as_str);
    if let Some(value) = selected {
        return Some(vec![value]);
    }
    let terms = template
        .pointer(
            "/spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms",
        )?
        .as_array()?;
    // Terms are alternatives: only values that each of them asks for count.
    let mut values = Vec::new();
    for term in terms {
        let expressions = term.get("matchExpressions")?.as_array()?;
        let expression = expressions.iter().find(|e| e["key"] == label && e["operator"] == "In")?;
        values.extend(expression.get("values")?.as_array()?.iter().filter_map(Value::as_str));
    }
    (!values.is_empty()).then_some(values)
}

/// Runtimes whose pods have a network stack of their own.
pub(super) fn sandbox(template: &Value) -> Option<Obstacle> {
    let class = template.pointer("/spec/runtimeClassName").and_then(Value::as_str)?;
    let named = class.to_ascii_lowercase();
    ["gvisor", "runsc", "kata"]
        .iter()
        .any(|name| named.contains(name))
        .then(|| Obstacle::Sandbox(class.to_owned()))
}
