//! Follows the ports on which a command listens: if requests would not find it, they are led there, or the user gets a
//! warning.
//!
//! Unless the user has chosen them, the local ports are those of the pods, because a program listens there as it does
//! in its container. A listener on the Service's own port is as clear. Any other port may be anything (a debugger's, a
//! build daemon's): bridge does not guess, it prints a warning.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use bridge_client::routes::{describe, listed};
use bridge_client::{Asked, Attached, Said, Say};
use bridge_proto::v1;
use tokio::sync::{mpsc, watch};

/// The time after which a command that listens elsewhere first (a debugger) should listen on the right port.
const SETTLED: Duration = Duration::from_secs(3);

/// The routes to a command, and the way to change them.
pub struct Entrances {
    routes: watch::Receiver<Vec<v1::RouteStatus>>,
    asked: Asked,
}

impl Entrances {
    pub fn of(attached: &Attached) -> Self {
        Self { routes: attached.routes.clone(), asked: attached.asked.clone() }
    }

    pub fn describe(&self) -> String {
        describe(&self.routes.borrow())
    }

    /// The warning if the requests of another session come to the same port.
    pub fn shared_with(&self, others: &[v1::SessionStatus]) -> Option<String> {
        shared(&self.routes.borrow(), others)
    }

    /// Follows the ports of a command, to its end. Warns once if no request finds it.
    pub async fn watch(mut self, mut listens_rx: mpsc::Receiver<SocketAddr>, say: Say) {
        let mut ports = BTreeSet::new();
        let mut warned = false;
        loop {
            let sentence = elsewhere(&self.routes.borrow_and_update(), &ports).filter(|_| !warned);
            let settled = async {
                match &sentence {
                    Some(_) => tokio::time::sleep(SETTLED).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                listens = listens_rx.recv() => match listens {
                    Some(address) => {
                        ports.insert(u32::from(address.port()));
                        self.follow(&ports);
                    }
                    None => return,
                },
                // The routes of an ended session do not change any more.
                Ok(()) = self.routes.changed() => {}
                () = settled => {
                    say(&Said::Warning(sentence.unwrap_or_default()));
                    warned = true;
                }
            }
        }
    }

    /// Leads requests to the command's port, if that is clear.
    fn follow(&self, ports: &BTreeSet<u32>) {
        if let Some(mappings) = nearer(&self.routes.borrow(), ports)
            && self.asked.is_free()
        {
            self.asked.lead(mappings);
        }
    }
}

/// The routes' mappings to the Service's port, if a route leads nowhere and the command listens there.
fn nearer(routes: &[v1::RouteStatus], ports: &BTreeSet<u32>) -> Option<Vec<v1::PortMapping>> {
    let is_taken = |port: u32| routes.iter().any(|route| route.local_port == port);
    let leads = |route: &v1::RouteStatus| {
        let nearer = !ports.contains(&route.local_port)
            && ports.contains(&route.service_port)
            && !is_taken(route.service_port);
        if nearer { route.service_port } else { route.local_port }
    };
    if routes.iter().all(|route| leads(route) == route.local_port) {
        return None;
    }
    let mapping =
        |route: &v1::RouteStatus| v1::PortMapping { local: leads(route), remote: route.port.clone() };
    Some(routes.iter().map(mapping).collect())
}

fn shared(routes: &[v1::RouteStatus], others: &[v1::SessionStatus]) -> Option<String> {
    let is_ours = |port: &u32| routes.iter().any(|route| route.local_port == *port);
    let port = |other: &v1::SessionStatus| other.routes.iter().map(|route| route.local_port).find(is_ours);
    let (other, port) = others.iter().find_map(|other| Some((&other.target, port(other)?)))?;
    Some(format!(
        "your requests to {other} come to port {port}, too, where only one program can listen: choose another \
         port with `--port`"
    ))
}

/// The warning for a command that listens, but on no port that requests come to.
fn elsewhere(routes: &[v1::RouteStatus], ports: &BTreeSet<u32>) -> Option<String> {
    let one = ports.first()?;
    if routes.iter().any(|route| ports.contains(&route.local_port)) {
        return None;
    }
    let name = match routes {
        [_] => String::new(),
        _ => format!(":{}", routes.first()?.port),
    };
    let local = routes.iter().map(|route| route.local_port).collect();
    Some(format!(
        "the command listens on {}, but requests come to {}: `--port {one}{name}` sends them there",
        listed(ports.clone()),
        listed(local)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(port: &str, service_port: u32, local_port: u32) -> v1::RouteStatus {
        v1::RouteStatus {
            port: port.to_owned(),
            service_port,
            local_port,
            r#match: "x-bridge: a".to_owned(),
            ..v1::RouteStatus::default()
        }
    }

    fn led(routes: &[v1::RouteStatus], ports: &[u32]) -> Option<Vec<u32>> {
        let nearer = nearer(routes, &ports.iter().copied().collect())?;
        Some(nearer.iter().map(|mapping| mapping.local).collect())
    }

    #[test]
    fn requests_go_to_the_service_s_port_only_if_nothing_listens_on_the_pods_one() {
        let one = [route("http", 5000, 8080)];
        assert_eq!(led(&one, &[5000]), Some(vec![5000]));
        assert_eq!(led(&one, &[5000, 8080]), None);
        assert_eq!(led(&one, &[3000]), None, "any other port is not guessed");
        assert_eq!(led(&one, &[]), None);
        let two = [route("http", 80, 8080), route("metrics", 8080, 9090)];
        assert_eq!(led(&two, &[8080]), None, "it is the other one's");
        assert_eq!(led(&two, &[80, 9090]), Some(vec![80, 9090]));
    }

    #[test]
    fn a_port_that_another_session_s_requests_use_is_reported() {
        let session = |target: &str, routes: &[v1::RouteStatus]| v1::SessionStatus {
            target: target.to_owned(),
            routes: routes.to_vec(),
            ..v1::SessionStatus::default()
        };
        let (web, orders) =
            (session("web", &[route("http", 80, 3000)]), session("orders", &[route("http", 80, 8080)]));
        let own = [route("http", 80, 8080), route("metrics", 90, 9090)];
        assert_eq!(shared(&own, std::slice::from_ref(&web)), None);
        assert_eq!(
            shared(&own, &[web, orders]).unwrap(),
            "your requests to orders come to port 8080, too, where only one program can listen: choose another \
             port with `--port`"
        );
    }

    #[test]
    fn a_command_that_requests_do_not_find_is_reported_once_with_the_remedy() {
        let say = |routes: &[v1::RouteStatus], ports: &[u32]| {
            elsewhere(routes, &ports.iter().copied().collect()).unwrap_or_default()
        };
        let one = [route("http", 80, 8080)];
        assert_eq!(
            say(&one, &[3000]),
            "the command listens on port 3000, but requests come to port 8080: `--port 3000` sends them there"
        );
        assert_eq!(say(&one, &[3000, 8080]), "");
        assert_eq!(say(&one, &[]), "");
        let two = [route("http", 80, 8080), route("metrics", 9090, 9090)];
        assert_eq!(
            say(&two, &[3000, 9229]),
            "the command listens on ports 3000 and 9229, but requests come to ports 8080 and 9090: \
             `--port 3000:http` sends them there"
        );
    }
}
