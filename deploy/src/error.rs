//! Errors in the input from which an object is made.

/// Why an object could not be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeployError {
    #[error("the template {template} is not YAML: {reason}")]
    Template { template: &'static str, reason: String },
    #[error("nothing was given for the hole ${{{hole}}} of {template}")]
    UnfilledHole { template: &'static str, hole: String },
    #[error("{template} has no hole ${{{hole}}}")]
    UnknownHole { template: &'static str, hole: String },
    #[error("a hole must be the whole value, in {template}: {text:?}")]
    EmbeddedHole { template: &'static str, text: String },
    #[error("the origin's pods have no container {container:?}")]
    NoContainer { container: String },
    #[error("the origin's container {container:?} names no image")]
    NoImage { container: String },
    #[error(
        "port {port} of the Service leads to a port named {name:?}, which no container of the origin has"
    )]
    NoSuchPort { port: u16, name: String },
    #[error("not a Service as bridge knows it: {reason}")]
    Service { reason: String },
}
