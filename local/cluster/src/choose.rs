//! Chooses the mode in which to connect a Service: the first one without reasons against it, else the reasons against
//! each. Pure.
//!
//! A further mode is a file with its reasons, and a line in [`MODES`].

use bridge_deploy::AgentSource;

use crate::against_sidecar::against_sidecar;
use crate::mode::Mode;
use crate::obstacle::{Against, Obstacle};
use crate::obstacles;
use crate::snapshot::Snapshot;
use crate::state::Attachment;

/// The part of a request that the choice depends on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Asked<'a> {
    /// The only mode that the user accepts; `None`: any.
    pub mode: Option<Mode>,
    /// The architecture of the agent program in this bridge; `None`: the agent comes as an image.
    pub carried: Option<&'a str>,
}

impl<'a> Asked<'a> {
    /// Any mode, with this agent.
    #[must_use]
    pub fn with(agent: &'a AgentSource) -> Self {
        let carried = match agent {
            AgentSource::Carried(program) => Some(program.architecture.as_str()),
            AgentSource::Image(_) => None,
        };
        Self { mode: None, carried }
    }
}

/// The reasons against a mode.
type Reasons = fn(&Snapshot, Asked<'_>) -> Vec<Obstacle>;

/// All modes, the one that disturbs the cluster least first.
const MODES: [(Mode, Reasons); 2] = [
    (Mode::StandIn, |snapshot, asked| obstacles::obstacles(snapshot, asked.carried)),
    (Mode::Sidecar, |snapshot, asked| against_sidecar(snapshot, asked.carried)),
];

/// The mode in which a Service will be connected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    pub mode: Mode,
    /// The reasons against the modes that come before it.
    pub instead_of: Vec<Against>,
}

/// Chooses the mode for a Service: the one in which others are connected already, else the first without reasons
/// against it.
///
/// # Errors
///
/// The reasons against each mode that was considered.
pub fn choose(snapshot: &Snapshot, asked: Asked<'_>) -> Result<Choice, Vec<Against>> {
    let Some(there) = in_use(snapshot) else { return first_without_reasons(&MODES, snapshot, asked) };
    match asked.mode.filter(|wanted| *wanted != there) {
        Some(mode) => Err(vec![Against { mode, reasons: vec![Obstacle::OtherMode(there)] }]),
        None => first_without_reasons(&MODES, snapshot, Asked { mode: Some(there), ..asked }),
    }
}

/// The mode in which others are connected.
fn in_use(snapshot: &Snapshot) -> Option<Mode> {
    let there = Attachment::current(&snapshot.service).ok().flatten()?;
    (!there.sessions.is_empty()).then_some(there.mode)
}

fn first_without_reasons(
    modes: &[(Mode, Reasons)],
    snapshot: &Snapshot,
    asked: Asked<'_>,
) -> Result<Choice, Vec<Against>> {
    let mut against = Vec::new();
    for (mode, reasons) in modes.iter().filter(|(mode, _)| asked.mode.is_none_or(|wanted| wanted == *mode)) {
        let reasons = reasons(snapshot, asked);
        if reasons.is_empty() {
            return Ok(Choice { mode: *mode, instead_of: against });
        }
        against.push(Against { mode: *mode, reasons });
    }
    Err(against)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::error::ClusterError;
    use crate::snapshot::tests::orders_with;

    fn against(mode: Mode, reasons: &[Obstacle]) -> Against {
        Against { mode, reasons: reasons.to_vec() }
    }

    #[test]
    fn a_service_gets_the_first_mode_without_reasons_against_it() {
        let affinity = ("/service/spec/sessionAffinity", json!("ClientIP"));
        let headless = ("/service/spec/clusterIP", json!("None"));
        let sticks = || against(Mode::StandIn, &[Obstacle::ClientIpAffinity]);
        for (what, changes, mode, expected) in [
            ("nothing special", vec![], None, Ok((Mode::StandIn, vec![]))),
            ("the other mode", vec![], Some(Mode::Sidecar), Ok((Mode::Sidecar, vec![]))),
            ("affinity", vec![affinity.clone()], None, Ok((Mode::Sidecar, vec![sticks()]))),
            ("affinity, and no other mode", vec![affinity.clone()], Some(Mode::StandIn), Err(vec![sticks()])),
            (
                "reasons against both",
                vec![affinity, headless],
                None,
                Err(vec![
                    against(Mode::StandIn, &[Obstacle::Headless, Obstacle::ClientIpAffinity]),
                    against(Mode::Sidecar, &[Obstacle::Headless]),
                ]),
            ),
        ] {
            let chosen = choose(&orders_with(&changes), Asked { mode, carried: Some("amd64") });
            let expected = expected.map(|(mode, instead_of)| Choice { mode, instead_of });
            assert_eq!(chosen, expected, "{what}");
        }
    }

    #[test]
    fn the_agent_must_run_on_the_nodes_unless_it_comes_as_an_image() {
        let arm =
            [("/workloads/0/object/spec/template/spec/nodeSelector", json!({"kubernetes.io/arch": "arm64"}))];
        let platform = [Obstacle::Platform { wanted: "arm64".into(), carried: "linux/amd64".into() }];
        let chosen = |carried| choose(&orders_with(&arm), Asked { mode: None, carried });
        let both = [Mode::StandIn, Mode::Sidecar].map(|mode| against(mode, &platform));
        assert_eq!(chosen(Some("amd64")), Err(both.to_vec()));
        assert_eq!(chosen(None).map(|choice| choice.mode), Ok(Mode::StandIn));
    }

    #[test]
    fn a_connected_service_keeps_its_mode() {
        let attachment = json!({
            "version": 1, "mode": "sidecar", "standIn": "7f3a", "original": {"app": "orders"},
            "attached": {"app": "orders"}, "control": 7390, "ports": {"80": 7393},
            "targets": {"80": {"theirs": "http", "ours": "http"}},
            "sessions": [{"id": "1", "user": "bob", "installation": "i", "since": 1, "routes": []}],
        });
        let annotations = json!({crate::state::ATTACHMENT: attachment.to_string()});
        let attached = orders_with(&[("/service/metadata/annotations", annotations)]);
        let chosen = |mode| choose(&attached, Asked { mode, carried: None });
        assert_eq!(chosen(None).map(|choice| choice.mode), Ok(Mode::Sidecar));
        let refused = vec![against(Mode::StandIn, &[Obstacle::OtherMode(Mode::Sidecar)])];
        assert_eq!(chosen(Some(Mode::StandIn)), Err(refused));
    }

    #[test]
    fn a_reason_against_every_mode_is_named_once_and_others_with_their_mode() {
        let said =
            |against: Vec<Against>| ClusterError::Obstacles { service: "orders".into(), against }.to_string();
        let (ports, host) = (Obstacle::NoPorts, Obstacle::HostNetwork);
        for (reasons, expected) in [
            (vec![against(Mode::StandIn, &[ports.clone(), host.clone()])], format!("{ports}; {host}")),
            (
                vec![
                    against(Mode::StandIn, std::slice::from_ref(&ports)),
                    against(Mode::Sidecar, std::slice::from_ref(&host)),
                ],
                format!("as stand-in: {ports}; as sidecar: {host}"),
            ),
            (
                vec![
                    against(Mode::StandIn, &[ports.clone(), host.clone()]),
                    against(Mode::Sidecar, std::slice::from_ref(&host)),
                ],
                host.to_string(),
            ),
        ] {
            assert_eq!(said(reasons), format!("Service orders cannot be connected: {expected}"));
        }
    }
}
