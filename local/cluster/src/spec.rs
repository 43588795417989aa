//! What the spec of a Service says: its selector, and where its TCP ports lead. Pure.

use std::collections::BTreeMap;

use bridge_deploy::TargetPort;
use k8s_openapi::api::core::v1::{Service, ServicePort};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// The TCP ports of a Service, by number.
pub(crate) fn tcp_ports(service: &Service) -> impl Iterator<Item = (u16, &ServicePort)> {
    let ports = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
    let tcp = ports.filter(|port| port.protocol.as_deref().is_none_or(|protocol| protocol == "TCP"));
    tcp.filter_map(|port| Some((u16::try_from(port.port).ok()?, port)))
}

/// The targetPort of a port with this number.
pub(crate) fn target(number: u16, port: &ServicePort) -> TargetPort {
    match &port.target_port {
        Some(IntOrString::String(name)) => TargetPort::Name(name.clone()),
        Some(IntOrString::Int(target)) if *target != 0 => {
            TargetPort::Number(u16::try_from(*target).unwrap_or(number))
        }
        Some(IntOrString::Int(_)) | None => TargetPort::Number(number),
    }
}

/// The selector of a Service; empty if it has none.
#[must_use]
pub(crate) fn selector(service: &Service) -> BTreeMap<String, String> {
    service.spec.as_ref().and_then(|spec| spec.selector.clone()).unwrap_or_default()
}
