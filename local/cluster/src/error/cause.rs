//! Maps each error to the cause that the daemon sends: editors and scripts decide by it.

use bridge_proto::v1::failure::Cause;

use super::ClusterError;

impl ClusterError {
    /// The cause, for programs.
    #[must_use]
    pub fn cause(&self) -> Cause {
        match self {
            Self::NoKubeconfig { .. } => Cause::NoKubeconfig,
            Self::Kubeconfig { .. } => Cause::BadKubeconfig,
            Self::NoContext { .. } | Self::UnknownContext { .. } => Cause::NoContext,
            Self::Unreachable { .. } | Self::NoAnswer { .. } => Cause::Unreachable,
            Self::Credentials { .. } | Self::CredentialPlugin { .. } => Cause::Credentials,
            Self::Forbidden { .. } => Cause::Forbidden,
            Self::NotFound { .. } => Cause::NotFound,
            Self::Conflict { .. } | Self::Exists { .. } | Self::SelectorChanged { .. } => Cause::Conflict,
            Self::Refused { .. } => Cause::Refused,
            Self::Api { .. } => Cause::Api,
            Self::NoSuchNamespace { .. } => Cause::NoSuchNamespace,
            Self::NoSuchTarget { .. } | Self::NoServiceSelects { .. } => Cause::NoSuchTarget,
            Self::SeveralServices { .. } => Cause::SeveralTargets,
            Self::AmbiguousPort { .. } => Cause::SeveralPorts,
            Self::NoSuchPort { .. } => Cause::NoSuchPort,
            Self::Obstacles { .. }
            | Self::NoAside { .. }
            | Self::NotReplaced { .. }
            | Self::RunsBeside { .. }
            | Self::Deploy(_) => Cause::Obstacles,
            Self::Held { .. } | Self::NotAlone { .. } | Self::Replaced { .. } => Cause::Held,
            Self::Annotation { .. } | Self::Session { .. } | Self::NotRestored { .. } => {
                Cause::UnreadableAttachment
            }
            Self::NewerAttachment { .. } | Self::UnknownMode { .. } => Cause::NewerAttachment,
            Self::NotOurs { .. } => Cause::NotOurs,
            Self::NotReady { .. } | Self::AsideNotReady { .. } | Self::NotRolledOut { .. } => Cause::NotReady,
            Self::LeftBehind { .. } | Self::StuckPods { .. } => Cause::LeftBehind,
        }
    }
}
