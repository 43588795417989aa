//! The query of a list or a watch of a pretended API server.

use serde_json::Value;

/// The objects of a kind that a query selects.
#[derive(Clone, Default)]
pub(super) struct Query {
    /// "app=orders,tier"
    labels: String,
    name: Option<String>,
    pub(super) watches: bool,
    pub(super) follows: bool,
    /// The version after which a watch begins.
    pub(super) version: u64,
}

impl Query {
    pub(super) fn of(query: &str) -> Self {
        let value = |key: &str| {
            let text = query.split('&').find_map(|pair| pair.strip_prefix(key)?.strip_prefix('='))?;
            // The characters that occur in selectors.
            let decoded = [("%2F", "/"), ("%2C", ","), ("%3D", "=")].iter();
            Some(decoded.fold(text.to_owned(), |text, (from, to)| text.replace(from, to)))
        };
        let fields = value("fieldSelector");
        Self {
            labels: value("labelSelector").unwrap_or_default(),
            name: fields.and_then(|fields| fields.strip_prefix("metadata.name=").map(str::to_owned)),
            watches: value("watch").is_some(),
            follows: value("follow").is_some_and(|follow| follow == "true"),
            version: value("resourceVersion").and_then(|text| text.parse().ok()).unwrap_or_default(),
        }
    }

    pub(super) fn selects(&self, object: &Value) -> bool {
        let metadata = &object["metadata"];
        let label = |key: &str| metadata["labels"].get(key).and_then(Value::as_str);
        let has = |wanted: &str| match wanted.split_once('=') {
            Some((key, value)) => label(key) == Some(value),
            None => label(wanted).is_some(),
        };
        let is_named = self.name.as_ref().is_none_or(|name| metadata["name"] == **name);
        is_named && self.labels.split(',').filter(|one| !one.is_empty()).all(has)
    }
}
