//! Small changes of a pod template, each with its inverse. An inverse looks at what stands there: what others have
//! changed since stays as it is.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::place::Place;

/// The inverse of one change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
enum Inverse {
    /// Removes the element with this name that mentions `mark` somewhere.
    Remove { from: Place, name: String, mark: String },
    /// Restores a value, if the place has the one that we set.
    Restore { at: Place, ours: Value, theirs: Value },
}

/// The inverses of the changes that were made to a pod template, in the order of the changes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Undo(Vec<Inverse>);

/// A pod template while it is changed.
pub(super) struct Edit {
    template: Value,
    undo: Vec<Inverse>,
}

impl Edit {
    pub(super) fn of(template: &Value) -> Self {
        Self { template: template.clone(), undo: Vec::new() }
    }

    /// Appends a named element, which mentions `mark`, to a list.
    pub(super) fn add(&mut self, to: Place, item: Value, mark: &str) {
        let name = item.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
        to.push(&mut self.template, item);
        self.undo.push(Inverse::Remove { from: to, name, mark: mark.to_owned() });
    }

    /// Sets a field that has a value.
    pub(super) fn set(&mut self, at: &Place, value: Value) {
        let Some(theirs) = at.find(&self.template).cloned() else { return };
        at.set(&mut self.template, value.clone());
        self.undo.push(Inverse::Restore { at: at.once_it_has(&value), ours: value, theirs });
    }

    /// The changed template, and the way back.
    pub(super) fn done(self) -> (Value, Undo) {
        (self.template, Undo(self.undo))
    }
}

impl Undo {
    /// Undoes each change that stands in the template, the last one first.
    #[must_use]
    pub fn undone(&self, template: &Value) -> Value {
        let mut template = template.clone();
        for inverse in self.0.iter().rev() {
            inverse.undo(&mut template);
        }
        template
    }

    /// Whether all changes stand in the template.
    #[must_use]
    pub fn stands_in(&self, template: &Value) -> bool {
        let mut template = template.clone();
        self.0.iter().rev().all(|inverse| {
            let stands = inverse.stands_in(&template);
            inverse.undo(&mut template);
            stands
        })
    }
}

impl Inverse {
    fn stands_in(&self, template: &Value) -> bool {
        match self {
            Self::Remove { from, name, mark } => {
                let list = from.find(template).and_then(Value::as_array);
                list.is_some_and(|list| list.iter().any(|element| is_ours(element, name, mark)))
            }
            Self::Restore { at, ours, .. } => at.find(template) == Some(ours),
        }
    }

    fn undo(&self, template: &mut Value) {
        if !self.stands_in(template) {
            return;
        }
        match self {
            Self::Remove { from, name, mark } => {
                from.remove(template, |element| is_ours(element, name, mark));
            }
            Self::Restore { at, theirs, .. } => at.set(template, theirs.clone()),
        }
    }
}

fn is_ours(element: &Value, name: &str, mark: &str) -> bool {
    element.get("name").and_then(Value::as_str) == Some(name) && mentions(element, mark)
}

/// Whether a text somewhere in the value is exactly this one.
fn mentions(value: &Value, text: &str) -> bool {
    match value {
        Value::String(there) => there == text,
        Value::Array(items) => items.iter().any(|item| mentions(item, text)),
        Value::Object(fields) => fields.values().any(|field| mentions(field, text)),
        _ => false,
    }
}
