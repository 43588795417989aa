//! Messages while a caller waits, or while a session is kept for it.

use std::sync::Arc;

use bridge_proto::v1::StepKind;

/// The receiver of messages.
pub type Say = Arc<dyn Fn(&Said) + Send + Sync>;

/// One sentence for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// A step that begins now. Programs decide by its kind, if it has one.
    Step { kind: StepKind, text: String },
    /// A warning: the user may have to act.
    Warning(String),
    /// A change.
    Note(String),
}
