//! Where a newcomer's session is: at a Service, whose requests it may take, or aside of a target, which has none to give or
//! of which none are wanted. The decision is pure; its input is what the cluster says of the target.

use bridge_cluster::error::ClusterError;
use bridge_cluster::obstacles::Obstacle;
use bridge_proto::target::Target;
use bridge_proto::v1::WishKind;

/// The place of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    Service(String),
    Aside(Target),
}

impl Place {
    /// The name by which sessions are found: no Service has one with a slash.
    pub(crate) fn key(&self) -> String {
        match self {
            Self::Service(name) => name.clone(),
            Self::Aside(target) => target.with_kind(),
        }
    }
}

/// The place for a newcomer that wants requests (`Named`), takes what is there (`Whatever`), or wants none (`Network`).
/// `service`: the Service that the target is or is behind. `connected`: the newcomer's user has a session there.
///
/// # Errors
///
/// The error of the Service, if a session aside would not do.
pub(crate) fn place(
    target: Target,
    wants: WishKind,
    service: Result<String, ClusterError>,
    connected: impl Fn(&str) -> bool,
) -> Result<Place, ClusterError> {
    use ClusterError::{NoServiceSelects, SeveralServices};
    match (service, wants) {
        (Ok(service), WishKind::Network) if !connected(&service) => Ok(Place::Aside(target)),
        (Ok(service), _) => Ok(Place::Service(service)),
        (Err(NoServiceSelects { .. }), WishKind::Network | WishKind::Whatever)
        | (Err(SeveralServices { .. }), WishKind::Network) => Ok(Place::Aside(target)),
        (Err(error), _) => Err(error),
    }
}

/// The place of a session that replaces its target: at its Service, so that the callers reach the laptop. `service`: as
/// for [`place`].
///
/// # Errors
///
/// [`ClusterError::NotReplaced`] if there are several Services, and other errors of the Service.
pub(crate) fn in_place_of(
    target: Target,
    service: Result<String, ClusterError>,
) -> Result<Place, ClusterError> {
    use ClusterError::{NoServiceSelects, NotReplaced, SeveralServices};
    match service {
        Err(NoServiceSelects { .. }) => Ok(Place::Aside(target)),
        Ok(service) => Ok(Place::Service(service)),
        Err(SeveralServices { services, .. }) => {
            let reason = Obstacle::ServesSeveral(services.join(", "));
            Err(NotReplaced { target: target.sentence(), reason })
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_aside_where_no_requests_are_to_be_had_or_wanted() {
        let none =
            || ClusterError::NoServiceSelects { workload: "Deployment x".into(), namespace: "shop".into() };
        let several =
            || ClusterError::SeveralServices { workload: "Deployment x".into(), services: Vec::new() };
        let web = || Ok("web".to_owned());
        for (what, wants, service, connected, expected) in [
            ("requests of a Service", WishKind::Named, web(), false, Ok("web")),
            ("whatever a Service has", WishKind::Whatever, web(), false, Ok("web")),
            ("no requests", WishKind::Network, web(), false, Ok("deploy/x")),
            ("no requests, where a session is", WishKind::Network, web(), true, Ok("web")),
            ("requests without a Service", WishKind::Named, Err(none()), false, Err(none())),
            ("whatever there is without a Service", WishKind::Whatever, Err(none()), false, Ok("deploy/x")),
            ("nothing of several Services", WishKind::Network, Err(several()), false, Ok("deploy/x")),
            ("whatever several Services have", WishKind::Whatever, Err(several()), false, Err(several())),
        ] {
            let found = place("deploy/x".parse().unwrap(), wants, service, |_| connected);
            assert_eq!(found.map(|place| place.key()), expected.map(str::to_owned), "{what}");
        }
    }

    #[test]
    fn what_is_replaced_keeps_its_callers() {
        let worker = || "deploy/worker".parse::<Target>().unwrap();
        let none =
            ClusterError::NoServiceSelects { workload: "Deployment worker".into(), namespace: "shop".into() };
        assert_eq!(in_place_of(worker(), Err(none)), Ok(Place::Aside(worker())));
        assert_eq!(in_place_of(worker(), Ok("web".into())), Ok(Place::Service("web".into())));
        let several = ClusterError::SeveralServices {
            workload: "Deployment worker".into(),
            services: vec!["api".into(), "web".into()],
        };
        let refused = in_place_of(worker(), Err(several)).unwrap_err().to_string();
        let expected = "Deployment worker cannot be replaced: it serves several Services (api, web), and only one of them \
                        can be led to your laptop";
        assert_eq!(refused, expected);
    }

    #[test]
    fn a_service_s_own_place_is_another_than_the_one_aside() {
        let aside = Place::Aside("web".parse().unwrap()).key();
        assert_eq!((Place::Service("web".into()).key().as_str(), aside.as_str()), ("web", "svc/web"));
    }
}
