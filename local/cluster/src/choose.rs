//! Chooses the mode in which to connect a Service: the first one without reasons against it, else the reasons against
//! each. Pure.
//!
//! A further mode is a file with its reasons, and a line in [`MODES`].

use bridge_deploy::AgentSource;

use crate::mode::Mode;
use crate::obstacle::{Against, Obstacle};
use crate::obstacles;
use crate::snapshot::Snapshot;

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
const MODES: [(Mode, Reasons); 1] =
    [(Mode::StandIn, |snapshot, asked| obstacles::obstacles(snapshot, asked.carried))];

/// Chooses the mode for a Service.
///
/// # Errors
///
/// The reasons against each mode that was considered.
pub fn choose(snapshot: &Snapshot, asked: Asked<'_>) -> Result<Mode, Vec<Against>> {
    first_without_reasons(&MODES, snapshot, asked)
}

fn first_without_reasons(
    modes: &[(Mode, Reasons)],
    snapshot: &Snapshot,
    asked: Asked<'_>,
) -> Result<Mode, Vec<Against>> {
    let mut against = Vec::new();
    for (mode, reasons) in modes.iter().filter(|(mode, _)| asked.mode.is_none_or(|wanted| wanted == *mode)) {
        let reasons = reasons(snapshot, asked);
        if reasons.is_empty() {
            return Ok(*mode);
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

    #[test]
    fn a_service_gets_a_mode_without_reasons_against_it() {
        let affinity = ("/service/spec/sessionAffinity", json!("ClientIP"));
        let headless = ("/service/spec/clusterIP", json!("None"));
        let arm =
            ("/workloads/0/object/spec/template/spec/nodeSelector", json!({"kubernetes.io/arch": "arm64"}));
        let platform = Obstacle::Platform { wanted: "arm64".into(), carried: "linux/amd64".into() };
        for (what, changes, carried, expected) in [
            ("nothing special", vec![], Some("amd64"), vec![]),
            ("affinity", vec![affinity.clone()], None, vec![Obstacle::ClientIpAffinity]),
            (
                "two reasons",
                vec![affinity, headless],
                None,
                vec![Obstacle::Headless, Obstacle::ClientIpAffinity],
            ),
            ("another platform", vec![arm.clone()], Some("amd64"), vec![platform]),
            ("another platform, with an image", vec![arm], None, vec![]),
        ] {
            for mode in [None, Some(Mode::StandIn)] {
                let chosen = choose(&orders_with(&changes), Asked { mode, carried });
                let expected = match expected.clone() {
                    none if none.is_empty() => Ok(Mode::StandIn),
                    reasons => Err(vec![Against { mode: Mode::StandIn, reasons }]),
                };
                assert_eq!(chosen, expected, "{what}, asked for {mode:?}");
            }
        }
    }

    #[test]
    fn modes_are_tried_in_order_and_the_reasons_against_each_are_kept() {
        let free: Reasons = |_, _| Vec::new();
        let headless: Reasons = |_, _| vec![Obstacle::Headless];
        let no_ports: Reasons = |_, _| vec![Obstacle::NoPorts];
        let chosen = |reasons: &[Reasons]| {
            let modes: Vec<_> = reasons.iter().map(|reasons| (Mode::StandIn, *reasons)).collect();
            first_without_reasons(&modes, &orders_with(&[]), Asked::default())
        };
        let against = |reasons: Vec<Obstacle>| Against { mode: Mode::StandIn, reasons };
        assert_eq!(chosen(&[headless, free]), Ok(Mode::StandIn));
        let both = vec![against(vec![Obstacle::Headless]), against(vec![Obstacle::NoPorts])];
        assert_eq!(chosen(&[headless, no_ports]), Err(both));
    }

    #[test]
    fn an_only_mode_is_not_named_and_several_are() {
        let against = |reasons: Vec<Obstacle>| Against { mode: Mode::StandIn, reasons };
        let said =
            |against: Vec<Against>| ClusterError::Obstacles { service: "orders".into(), against }.to_string();
        assert_eq!(
            said(vec![against(vec![Obstacle::NoPorts, Obstacle::HostNetwork])]),
            format!("Service orders cannot be connected: {}; {}", Obstacle::NoPorts, Obstacle::HostNetwork)
        );
        assert_eq!(
            said(vec![against(vec![Obstacle::NoPorts]), against(vec![Obstacle::HostNetwork])]),
            format!(
                "Service orders cannot be connected: as stand-in: {}; as stand-in: {}",
                Obstacle::NoPorts,
                Obstacle::HostNetwork
            )
        );
    }
}
