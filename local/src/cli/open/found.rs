//! The hosts by which browsers reach the Services of a namespace, and what each path of them leads to: as Ingresses and
//! HTTPRoutes say, and as typed. Pure.

use bridge_client::Reachable;
use bridge_inside::open::{Destination, Origin, Site, Way};
use bridge_proto::v1;
use http::Uri;

use super::typed::Host;

/// The Service that is opened.
pub(super) struct Meant<'a> {
    pub(super) name: &'a str,
    /// Its port, as typed.
    pub(super) port: Option<&'a str>,
    pub(super) to: Destination,
}

/// What a front says.
struct Read {
    origin: Origin,
    way: Way,
}

/// The site that is opened first, and the path at which the Service begins there, then all others.
pub(super) fn sites(
    meant: &Meant<'_>,
    host: Option<&Host>,
    fronts: &[v1::Front],
    services: &[Reachable],
) -> (Vec<Site>, String) {
    let read: Vec<Read> = fronts.iter().filter_map(|front| read(front, meant, services)).collect();
    let (origin, path) = first(meant, host, &read);
    let mut sites = vec![Site { origin, ways: Vec::new(), otherwise: meant.to.clone() }];
    for Read { origin, way } in read {
        let there = sites.iter_mut().find(|site| site.origin.host() == origin.host());
        match there {
            Some(site) => site.ways.push(way),
            None => sites.push(Site { origin, otherwise: way.to.clone(), ways: vec![way] }),
        }
    }
    (sites, path)
}

/// The host as typed, else the one whose whole site the Service is, else one that leads to it, else its own name.
fn first(meant: &Meant<'_>, host: Option<&Host>, read: &[Read]) -> (Origin, String) {
    let beginning = |way: &Way| if is_plain(&way.path) { way.path.clone() } else { "/".to_owned() };
    let own = || read.iter().filter(|one| one.way.to == meant.to);
    if let Some(host) = host {
        let is_it = |one: &&Read| one.origin.host() == host.origin.host();
        let known = read.iter().find(is_it).filter(|_| !host.whole).map(|one| one.origin.encrypted);
        let origin = Origin { encrypted: known.unwrap_or(host.origin.encrypted), ..host.origin.clone() };
        let path = own().filter(is_it).map(|one| beginning(&one.way)).min();
        return (origin, path.unwrap_or_else(|| "/".to_owned()));
    }
    let best =
        own().min_by_key(|one| (one.way.path.len(), !one.origin.encrypted, one.origin.authority.clone()));
    if let Some(best) = best {
        return (best.origin.clone(), beginning(&best.way));
    }
    let authority = match meant.port {
        Some(port) if port.parse::<u16>().is_ok() => format!("{}:{port}", meant.name),
        _ => meant.name.to_owned(),
    };
    let plain = Origin { encrypted: false, authority: meant.name.to_owned() };
    (Origin::of(false, &authority).unwrap_or(plain), "/".to_owned())
}

/// `None`: it has no host of its own, or leads to a Service that cannot be reached.
fn read(front: &v1::Front, meant: &Meant<'_>, services: &[Reachable]) -> Option<Read> {
    let (scheme, rest) = front.url.split_once("://")?;
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let origin = Origin::of(scheme == "https", authority)?;
    let to = if front.service == meant.name { meant.to.clone() } else { service(front, services)? };
    let path = if path.is_empty() { "/".to_owned() } else { path.to_owned() };
    Some(Read { origin, way: Way { path, exact: front.exact, to } })
}

fn service(front: &v1::Front, services: &[Reachable]) -> Option<Destination> {
    let service = services.iter().find(|service| service.name == front.service)?;
    let is_it = |port: &&bridge_client::Port| {
        front.port.is_empty() || port.name == front.port || port.number.to_string() == front.port
    };
    let port = service.ports.iter().find(is_it)?.number;
    Some(Destination::Service { name: service.name.clone(), address: (service.address, port).into() })
}

/// Some controllers take patterns for paths.
fn is_plain(path: &str) -> bool {
    !path.contains(['(', '*', '$', '[', '\\', '?', '#']) && path.parse::<Uri>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn services() -> Vec<Reachable> {
        let service = |name: &str, last: u8, port: u16| Reachable {
            name: name.to_owned(),
            address: [10, 96, 0, last].into(),
            ports: vec![bridge_client::Port { number: port, name: "http".to_owned() }],
        };
        vec![service("web", 1, 80), service("orders", 2, 80), service("api", 3, 8080)]
    }

    fn to(name: &str) -> Destination {
        let service = services().into_iter().find(|service| service.name == name).unwrap();
        Destination::Service {
            name: name.to_owned(),
            address: (service.address, service.ports[0].number).into(),
        }
    }

    fn front(url: &str, service: &str, port: &str) -> v1::Front {
        v1::Front { url: url.to_owned(), service: service.to_owned(), port: port.to_owned(), exact: false }
    }

    fn fronts() -> Vec<v1::Front> {
        vec![
            front("http://plain.example.com/", "orders", "80"),
            front("https://*.example.com/", "web", "80"),
            front("https://api.example.com/", "api", "http"),
            front("https://gone.example.com/", "gone", "80"),
            front("https://shop.example.com/", "web", "80"),
            front("https://shop.example.com/orders", "orders", "80"),
        ]
    }

    /// The origins, and the path.
    fn found(name: &str, host: Option<&str>, fronts: &[v1::Front]) -> (Vec<String>, String) {
        let host: Option<Host> = host.map(|host| host.parse().unwrap());
        let meant = Meant { name, port: None, to: to(name) };
        let (sites, path) = sites(&meant, host.as_ref(), fronts, &services());
        assert_eq!(sites[0].otherwise, to(name));
        (sites.into_iter().map(|site| site.origin.url()).collect(), path)
    }

    #[test]
    fn a_service_has_the_host_that_leads_to_it() {
        let others = ["https://api.example.com", "https://shop.example.com", "http://plain.example.com"];
        for (name, host, expected, path) in [
            ("web", None, "https://shop.example.com", "/"),
            ("orders", None, "http://plain.example.com", "/"),
            ("orders", Some("shop.example.com"), "https://shop.example.com", "/orders"),
            ("web", Some("plain.example.com"), "http://plain.example.com", "/"),
            ("web", Some("https://plain.example.com"), "https://plain.example.com", "/"),
            ("web", Some("new.example.com"), "https://new.example.com", "/"),
        ] {
            let (urls, begins) = found(name, host, &fronts());
            assert_eq!((urls[0].as_str(), begins.as_str()), (expected, path), "{name} {host:?}");
            let host = |url: &str| url.split_once("://").unwrap().1.to_owned();
            let all: Vec<String> = urls.iter().map(|url| host(url)).collect();
            assert!(others.iter().all(|other| all.contains(&host(other))), "{urls:?}");
        }
        assert_eq!(found("api", None, &[]), (vec!["http://api".to_owned()], "/".to_owned()));
        let only_orders = [front("https://shop.example.com/orders", "orders", "")];
        assert_eq!(found("orders", None, &only_orders).1, "/orders");
        let pattern = [front("https://shop.example.com/orders(/|$)(.*)", "orders", "")];
        assert_eq!(found("orders", None, &pattern).1, "/");
    }

    #[test]
    fn paths_lead_where_the_ingress_leads_them() {
        let meant = Meant { name: "web", port: Some("80"), to: to("web") };
        let (sites, _) = sites(&meant, None, &fronts(), &services());
        assert_eq!(*sites[0].way("/orders/1"), to("orders"));
        assert_eq!(*sites[0].way("/x"), to("web"));
        let api = sites.iter().find(|site| site.origin.host() == "api.example.com").unwrap();
        assert_eq!(*api.way("/x"), to("api"));
    }
}
