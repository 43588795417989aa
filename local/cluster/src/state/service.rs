//! An attachment and its Service as it is now: whether they fit each other, and where the Service leads.

use k8s_openapi::api::core::v1::{Service, ServicePort};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::Attachment;
use crate::error::ClusterError;
use crate::mode::Mode;
use crate::spec::{selector, target, tcp_ports};

impl Attachment {
    /// Reads the attachment of a Service, unless the stand-in no longer fits it: its selector is neither the original
    /// nor the attached one, or it has other ports.
    ///
    /// # Errors
    ///
    /// As [`Attachment::of`].
    pub fn current(service: &Service) -> Result<Option<Self>, ClusterError> {
        let there = Self::of(service)?;
        Ok(there.filter(|there| {
            (there.is_in_place(service) || there.original == selector(service)) && there.has_ports_of(service)
        }))
    }

    /// Whether the agents listen for all current TCP ports of the Service. To a stand-in, a port that is named in the
    /// pods counts as unchanged: where it leads depends on the stand-in's template.
    #[must_use]
    pub fn has_ports_of(&self, service: &Service) -> bool {
        let leads_to = |port: &ServicePort, listen: &u16| match &port.target_port {
            Some(IntOrString::Int(number)) => i32::from(*listen) == *number,
            Some(IntOrString::String(_)) | None => true,
        };
        tcp_ports(service).all(|(number, port)| match self.mode {
            Mode::StandIn => self.ports.get(&number).is_some_and(|listen| leads_to(port, listen)),
            Mode::Sidecar => self.targets.get(&number).is_some_and(|known| {
                let now = target(number, port);
                now == known.theirs || now == known.ours
            }),
        })
    }

    /// Whether the Service now has the selector and the targets of this attachment.
    #[must_use]
    pub fn is_in_place(&self, service: &Service) -> bool {
        let leads_here = |(number, port): (u16, &ServicePort)| {
            self.targets.get(&number).is_none_or(|known| target(number, port) == known.ours)
        };
        selector(service) == self.attached && tcp_ports(service).all(leads_here)
    }

    /// Whether something in the Service leads to the agents that did not before.
    #[must_use]
    pub fn is_led_to_agents(&self, service: &Service) -> bool {
        match self.mode {
            Mode::StandIn => self.is_in_place(service),
            Mode::Sidecar => tcp_ports(service).any(|(number, port)| {
                let known = self.targets.get(&number).filter(|known| known.ours != known.theirs);
                known.is_some_and(|known| target(number, port) == known.ours)
            }),
        }
    }

    /// Whether the Service leads to the origin because no agent was ready: [`Attachment::led_back`].
    #[must_use]
    pub fn is_led_back(&self, service: &Service) -> bool {
        self.led_back.is_some() && selector(service) == self.original
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use bridge_deploy::TargetPort;
    use serde_json::{Value, json};

    use super::super::{Targets, tests::attachment};
    use super::*;

    #[test]
    fn sidecars_fit_the_targets_that_they_know_and_are_in_place_when_all_lead_to_them() {
        let named = |name: &str| TargetPort::Name(name.to_owned());
        let mut attachment = attachment(Vec::new());
        attachment.mode = Mode::Sidecar;
        attachment.attached = attachment.original.clone();
        attachment.targets = BTreeMap::from([
            (80, Targets { theirs: TargetPort::Number(8080), ours: named("http") }),
            (90, Targets { theirs: named("admin"), ours: named("admin") }),
        ]);
        let admin = json!({"port": 90, "targetPort": "admin"});
        for (port, others, fits, in_place) in [
            (json!({"port": 80, "targetPort": "http"}), vec![&admin], true, true),
            (json!({"port": 80, "targetPort": 8080}), vec![&admin], true, false),
            (json!({"port": 80, "targetPort": 9090}), vec![&admin], false, false),
            (json!({"port": 81}), vec![&admin], false, true),
            (json!({"port": 53, "protocol": "UDP"}), vec![&admin], true, true),
            (json!({"port": 80, "targetPort": "http"}), vec![], true, true),
        ] {
            let ports: Vec<_> = std::iter::once(&port).chain(others).collect();
            let service: Service = serde_json::from_value(json!({
                "spec": {"selector": {"app": "orders"}, "ports": ports},
            }))
            .expect("a Service");
            assert_eq!(
                (attachment.has_ports_of(&service), attachment.is_in_place(&service)),
                (fits, in_place),
                "{port}"
            );
        }
    }

    #[test]
    fn a_stand_in_does_not_fit_other_ports() {
        let attachment = attachment(Vec::new());
        let service = |ports: Value| -> Service {
            serde_json::from_value(json!({"spec": {"ports": ports}})).expect("a Service")
        };
        for (ports, fits) in [
            (json!([{"port": 80, "targetPort": 8080}, {"port": 53, "protocol": "UDP"}]), true),
            (json!([{"port": 80, "targetPort": "http"}]), true),
            (json!([{"port": 80, "targetPort": 9090}]), false),
            (json!([{"port": 80, "targetPort": 8080}, {"port": 81}]), false),
        ] {
            assert_eq!(attachment.has_ports_of(&service(ports.clone())), fits, "{ports}");
        }
    }
}
