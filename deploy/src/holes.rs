//! Templates: YAML in which a scalar such as `${name}` is a hole. A hole is filled with a JSON value of any type, in
//! the parsed tree and never in its text, so that no content can change the structure around it.

use serde_json::{Map, Value};

use crate::error::DeployError;

/// A YAML document with holes, part of the program.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Template {
    /// File name, for errors.
    pub(crate) name: &'static str,
    pub(crate) text: &'static str,
}

/// The values for the holes, by name. `Value::Null` removes the key, or the element of a list, whose value the hole is.
#[derive(Debug, Default)]
pub(crate) struct Filling(Vec<(&'static str, Value)>);

impl Filling {
    pub(crate) fn with(mut self, hole: &'static str, value: impl Into<Value>) -> Self {
        self.0.push((hole, value.into()));
        self
    }

    /// With all values of the other one.
    pub(crate) fn and(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    fn get(&self, hole: &str) -> Option<&Value> {
        self.0.iter().find(|(name, _)| *name == hole).map(|(_, value)| value)
    }
}

impl Template {
    /// Fills all holes.
    ///
    /// # Errors
    ///
    /// A hole without a value, a value without a hole, and a hole that is only a part of its scalar.
    pub(crate) fn fill(&self, filling: &Filling) -> Result<Value, DeployError> {
        let tree: Value = serde_saphyr::from_str(self.text)
            .map_err(|error| DeployError::Template { template: self.name, reason: error.to_string() })?;
        let mut used = Vec::new();
        let filled = self.walk(tree, filling, &mut used)?.unwrap_or(Value::Null);
        match filling.0.iter().find(|(hole, _)| !used.iter().any(|name| name == hole)) {
            Some((hole, _)) => {
                Err(DeployError::UnknownHole { template: self.name, hole: (*hole).to_owned() })
            }
            None => Ok(filled),
        }
    }

    /// `None`: the value is omitted. Filled-in values are not searched for holes.
    fn walk(
        &self,
        value: Value,
        filling: &Filling,
        used: &mut Vec<String>,
    ) -> Result<Option<Value>, DeployError> {
        Ok(match value {
            Value::String(text) => match hole(&text) {
                Some(name) => {
                    let value = filling.get(name).ok_or_else(|| DeployError::UnfilledHole {
                        template: self.name,
                        hole: name.to_owned(),
                    })?;
                    used.push(name.to_owned());
                    (!value.is_null()).then(|| value.clone())
                }
                None if text.contains("${") => {
                    return Err(DeployError::EmbeddedHole { template: self.name, text });
                }
                None => Some(Value::String(text)),
            },
            Value::Array(items) => {
                let mut filled = Vec::with_capacity(items.len());
                for item in items {
                    filled.extend(self.walk(item, filling, used)?);
                }
                Some(Value::Array(filled))
            }
            Value::Object(fields) => {
                let mut filled = Map::new();
                for (key, field) in fields {
                    if let Some(field) = self.walk(field, filling, used)? {
                        filled.insert(key, field);
                    }
                }
                Some(Value::Object(filled))
            }
            scalar => Some(scalar),
        })
    }
}

fn hole(text: &str) -> Option<&str> {
    let name = text.strip_prefix("${")?.strip_suffix('}')?;
    let is_name = !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    is_name.then_some(name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn template(text: &'static str) -> Template {
        Template { name: "test.yaml", text }
    }

    #[test]
    fn holes_take_values_of_any_type() {
        let template = template("a: ${text}\nb: [1, {c: x}]\nd:\n  - ${list}\n  - ${object}\ne: ${number}\n");
        let filling = Filling::default()
            .with("text", "on")
            .with("list", json!([1, 2]))
            .with("object", json!({"k": true}))
            .with("number", 8080);
        assert_eq!(
            template.fill(&filling),
            Ok(json!({"a": "on", "b": [1, {"c": "x"}], "d": [[1, 2], {"k": true}], "e": 8080}))
        );
    }

    #[test]
    fn null_leaves_out_the_key_or_the_element() {
        let template = template("a: ${x}\nb:\n  - ${x}\n  - 1\n");
        assert_eq!(template.fill(&Filling::default().with("x", Value::Null)), Ok(json!({"b": [1]})));
    }

    #[test]
    fn holes_and_values_must_match() {
        let none = Filling::default();
        for (text, filling, expected) in [
            (
                "a: ${x}",
                Filling::default(),
                DeployError::UnfilledHole { template: "test.yaml", hole: "x".into() },
            ),
            (
                "a: 1",
                Filling::default().with("x", 1),
                DeployError::UnknownHole { template: "test.yaml", hole: "x".into() },
            ),
            (
                "a: b-${x}",
                Filling::default().with("x", 1),
                DeployError::EmbeddedHole { template: "test.yaml", text: "b-${x}".into() },
            ),
        ] {
            assert_eq!(template(text).fill(&filling), Err(expected));
        }
        assert!(matches!(template("a: [").fill(&none), Err(DeployError::Template { .. })));
    }

    proptest! {
        #[test]
        fn no_content_changes_the_structure(text in any::<String>()) {
            let filled = template("a: ${x}\nb: 1").fill(&Filling::default().with("x", text.clone()));
            prop_assert_eq!(filled, Ok(json!({"a": text, "b": 1})));
        }
    }
}
