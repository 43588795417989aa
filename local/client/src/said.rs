//! What happens while a caller waits, or while a session is kept for it.

use std::sync::Arc;

use bridge_proto::v1::StepKind;

/// Who hears it.
pub type Say = Arc<dyn Fn(&Said) + Send + Sync>;

/// One sentence for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// A step that begins now. Programs go by its kind, where it has one.
    Step { kind: StepKind, text: String },
    /// Something the user should know, and may have to act on.
    Warning(String),
    /// Something that has changed.
    Note(String),
}
