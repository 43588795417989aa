//! A target, as users name it: `orders`, `svc/orders`, `deploy/orders`, `pod/orders-0`. The one grammar for the command
//! line and the daemon.

use std::fmt;
use std::str::FromStr;

/// Kubernetes has no longer names.
const LONGEST: usize = 253;

/// A Service, or a workload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub kind: Kind,
    pub name: String,
}

/// Kinds of targets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    Service,
    Deployment,
    StatefulSet,
    DaemonSet,
    ReplicaSet,
    Pod,
    CronJob,
    /// Of Argo Rollouts.
    Rollout,
}

/// Why a text is no target.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadTarget {
    #[error("unknown kind {0}/: use svc/, deploy/, sts/, ds/, rs/, rollout/, cronjob/ or pod/")]
    Kind(String),
    #[error("names in Kubernetes consist of lower-case letters, digits, - and .")]
    Name,
}

impl Kind {
    fn named(text: &str) -> Option<Self> {
        Some(match text.to_ascii_lowercase().as_str() {
            "svc" | "service" | "services" => Self::Service,
            "deploy" | "deployment" | "deployments" => Self::Deployment,
            "sts" | "statefulset" | "statefulsets" => Self::StatefulSet,
            "ds" | "daemonset" | "daemonsets" => Self::DaemonSet,
            "rs" | "replicaset" | "replicasets" => Self::ReplicaSet,
            "po" | "pod" | "pods" => Self::Pod,
            "cj" | "cronjob" | "cronjobs" => Self::CronJob,
            "ro" | "rollout" | "rollouts" => Self::Rollout,
            _ => return None,
        })
    }

    /// As users type it: "deploy".
    fn typed(self) -> &'static str {
        match self {
            Self::Service => "svc",
            Self::Deployment => "deploy",
            Self::StatefulSet => "sts",
            Self::DaemonSet => "ds",
            Self::ReplicaSet => "rs",
            Self::Pod => "pod",
            Self::CronJob => "cronjob",
            Self::Rollout => "rollout",
        }
    }

    /// As in the API: "deployments".
    #[must_use]
    pub fn resource(self) -> &'static str {
        match self {
            Self::Service => "services",
            Self::Deployment => "deployments",
            Self::StatefulSet => "statefulsets",
            Self::DaemonSet => "daemonsets",
            Self::ReplicaSet => "replicasets",
            Self::Pod => "pods",
            Self::CronJob => "cronjobs",
            Self::Rollout => "rollouts",
        }
    }
}

/// As Kubernetes writes it: "Deployment".
impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

impl Target {
    /// Whether it names the Service itself.
    #[must_use]
    pub fn is_service(&self) -> bool {
        self.kind == Kind::Service
    }

    /// As users type it, with the kind even of a Service: "svc/orders".
    #[must_use]
    pub fn with_kind(&self) -> String {
        format!("{}/{}", self.kind.typed(), self.name)
    }

    /// In a sentence: "Deployment orders".
    #[must_use]
    pub fn sentence(&self) -> String {
        format!("{} {}", self.kind, self.name)
    }
}

/// As users type it; a Service needs no kind.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            Kind::Service => f.write_str(&self.name),
            _ => f.write_str(&self.with_kind()),
        }
    }
}

impl FromStr for Target {
    type Err = BadTarget;

    fn from_str(text: &str) -> Result<Self, BadTarget> {
        let (kind, name) = match text.split_once('/') {
            None => (Kind::Service, text),
            Some((kind, name)) => (Kind::named(kind).ok_or_else(|| BadTarget::Kind(kind.to_owned()))?, name),
        };
        let at_ends = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        let within = |c: char| at_ends(c) || matches!(c, '-' | '.');
        let is_name = name.len() <= LONGEST
            && name.starts_with(at_ends)
            && name.ends_with(at_ends)
            && name.chars().all(within);
        if !is_name {
            return Err(BadTarget::Name);
        }
        Ok(Self { kind, name: name.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_have_a_kind_and_a_name() {
        for (text, kind, name, typed) in [
            ("orders", Kind::Service, "orders", "orders"),
            ("svc/orders", Kind::Service, "orders", "orders"),
            ("service/orders", Kind::Service, "orders", "orders"),
            ("deploy/x", Kind::Deployment, "x", "deploy/x"),
            ("Deployment/x", Kind::Deployment, "x", "deploy/x"),
            ("StatefulSet/db", Kind::StatefulSet, "db", "sts/db"),
            ("ds/x", Kind::DaemonSet, "x", "ds/x"),
            ("rs/x", Kind::ReplicaSet, "x", "rs/x"),
            ("pod/x.y-0", Kind::Pod, "x.y-0", "pod/x.y-0"),
            ("cj/report", Kind::CronJob, "report", "cronjob/report"),
        ] {
            let target: Target = text.parse().unwrap();
            assert_eq!(target, Target { kind, name: name.into() });
            assert_eq!(target.to_string(), typed);
            assert_eq!(typed.parse(), Ok(target), "what is printed can be typed");
        }
    }

    #[test]
    fn an_invalid_target_is_refused_with_the_reason() {
        for text in ["", "svc/", "Orders", "orders/", "-x", "x.", "a b", "svc/a/b", &"x".repeat(254)] {
            assert!(text.parse::<Target>().is_err(), "{text}");
        }
        let wrong = |text: &str| text.parse::<Target>().unwrap_err().to_string();
        assert_eq!(
            wrong("cm/x"),
            "unknown kind cm/: use svc/, deploy/, sts/, ds/, rs/, rollout/, cronjob/ or pod/"
        );
        assert_eq!(wrong("Orders"), "names in Kubernetes consist of lower-case letters, digits, - and .");
        assert!("x".repeat(253).parse::<Target>().is_ok());
    }

    #[test]
    fn a_sentence_names_the_kind_as_kubernetes_does() {
        let target: Target = "sts/db".parse().unwrap();
        assert_eq!((target.sentence().as_str(), target.kind.resource()), ("StatefulSet db", "statefulsets"));
        assert!(!target.is_service() && "db".parse::<Target>().unwrap().is_service());
        assert_eq!("db".parse::<Target>().unwrap().with_kind(), "svc/db");
    }
}
