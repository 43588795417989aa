//! A place in a JSON document that stays right when others edit lists: elements are known by their fields, never by
//! their index.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The steps from the root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Place(Vec<Step>);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
enum Step {
    /// A field of an object.
    Field(String),
    /// The first element of a list that has these fields.
    Element(BTreeMap<String, Value>),
}

impl Place {
    /// Fields, one in another.
    pub(super) fn of(fields: &[&str]) -> Self {
        Self(fields.iter().map(|field| Step::Field((*field).to_owned())).collect())
    }

    pub(super) fn field(&self, name: &str) -> Self {
        self.then(Step::Field(name.to_owned()))
    }

    pub(super) fn element<const N: usize>(&self, fields: [(&str, Value); N]) -> Self {
        let fields = fields.into_iter().map(|(name, value)| (name.to_owned(), value));
        self.then(Step::Element(fields.collect()))
    }

    fn then(&self, step: Step) -> Self {
        Self(self.0.iter().cloned().chain([step]).collect())
    }

    /// The same place once its field has another value, by which its element may be known.
    pub(super) fn once_it_has(&self, value: &Value) -> Self {
        let mut place = self.clone();
        if let [.., Step::Element(known), Step::Field(field)] = place.0.as_mut_slice()
            && let Some(known) = known.get_mut(field)
        {
            *known = value.clone();
        }
        place
    }

    pub(super) fn find<'a>(&self, root: &'a Value) -> Option<&'a Value> {
        self.0.iter().try_fold(root, |value, step| match step {
            Step::Field(name) => value.get(name),
            Step::Element(known) => value.as_array()?.iter().find(|element| has(element, known)),
        })
    }

    fn find_mut<'a>(steps: &[Step], root: &'a mut Value) -> Option<&'a mut Value> {
        steps.iter().try_fold(root, |value, step| match step {
            Step::Field(name) => value.get_mut(name),
            Step::Element(known) => value.as_array_mut()?.iter_mut().find(|element| has(element, known)),
        })
    }

    /// The object whose field this is.
    fn parent<'a>(&self, root: &'a mut Value) -> Option<(&'a mut Map<String, Value>, &str)> {
        let (Step::Field(field), parents) = self.0.split_last()? else { return None };
        Some((Self::find_mut(parents, root)?.as_object_mut()?, field))
    }

    /// Sets a field of an object that exists.
    pub(super) fn set(&self, root: &mut Value, value: Value) {
        if let Some((parent, field)) = self.parent(root) {
            parent.insert(field.to_owned(), value);
        }
    }

    /// Appends to a list, which is made if there is none.
    pub(super) fn push(&self, root: &mut Value, item: Value) {
        let Some((parent, field)) = self.parent(root) else { return };
        let list = parent.entry(field).or_insert_with(|| Value::Array(Vec::new()));
        if let Some(list) = list.as_array_mut() {
            list.push(item);
        }
    }

    /// Removes the elements of a list for which `goes` returns true, and the list with its last element.
    pub(super) fn remove(&self, root: &mut Value, goes: impl Fn(&Value) -> bool) {
        let Some((parent, field)) = self.parent(root) else { return };
        let Some(list) = parent.get_mut(field).and_then(Value::as_array_mut) else { return };
        let before = list.len();
        list.retain(|element| !goes(element));
        if list.is_empty() && before > 0 {
            parent.remove(field);
        }
    }
}

/// Whether an object has these fields. A port without a protocol is one of TCP.
fn has(element: &Value, fields: &BTreeMap<String, Value>) -> bool {
    fields.iter().all(|(name, value)| match element.get(name) {
        Some(there) => there == value,
        None => name == "protocol" && value == "TCP",
    })
}
