//! `bridge list`: the Services of a namespace, which can be connected, and who is connected.

use bridge_cluster::{
    Cluster,
    catalog::{Entry, StandIn, catalog},
};
use serde::Serialize;

use super::{args::ListArgs, error::Failed, output, request};

/// What `list -o json` prints. The names of the fields are a promise.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Listing {
    context: String,
    namespace: String,
    services: Vec<Service>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Service {
    name: String,
    ports: Vec<String>,
    workloads: Vec<String>,
    /// stand-in; None: it cannot be connected.
    mode: Option<&'static str>,
    obstacles: Vec<Obstacle>,
    sessions: Vec<Session>,
    /// While somebody is connected.
    stand_in: Option<StandIn>,
    /// Names of stand-ins that nobody uses: `bridge clean`.
    unused_stand_ins: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Obstacle {
    short: &'static str,
    /// With what to do.
    detail: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Session {
    user: String,
    matches: Vec<String>,
}

impl From<Entry> for Service {
    fn from(entry: Entry) -> Self {
        let session = |session: bridge_cluster::catalog::Session| Session {
            user: session.user,
            matches: session.matches,
        };
        Service {
            name: entry.service,
            ports: entry.ports,
            workloads: entry.workloads,
            mode: entry.obstacles.is_empty().then_some("stand-in"),
            obstacles: entry
                .obstacles
                .iter()
                .map(|obstacle| Obstacle { short: obstacle.short(), detail: obstacle.to_string() })
                .collect(),
            sessions: entry.sessions.into_iter().map(session).collect(),
            stand_in: entry.stand_in,
            unused_stand_ins: entry.unused,
        }
    }
}

pub(crate) async fn run(args: ListArgs) -> Result<(), Failed> {
    let cluster = Cluster::of(&request::access(&args.cluster, &request::config()?)?).await?;
    let architecture = bridge_daemon::program::carried().map(|program| program.architecture);
    let entries = catalog(&cluster, architecture).await?;
    let listing = Listing {
        context: cluster.context,
        namespace: cluster.namespace,
        services: entries.into_iter().map(Service::from).collect(),
    };
    output::print_as(args.output.output, &listing, || text(&listing))
}

fn text(listing: &Listing) -> String {
    if listing.services.is_empty() {
        return format!("namespace {} (context {}) has no Services\n", listing.namespace, listing.context);
    }
    let head = ["SERVICE", "PORTS", "PODS OF", "MODE", "CONNECTED"].map(str::to_owned).to_vec();
    let rows = listing.services.iter().map(|service| {
        let obstacles: Vec<&str> = service.obstacles.iter().map(|obstacle| obstacle.short).collect();
        let mode = match (&service.stand_in, service.mode) {
            (Some(stand_in), _) if stand_in.keeps_down() => "stand-in: down, no agent is ready".to_owned(),
            (Some(stand_in), _) if stand_in.led_back => "stand-in: led back, no agent is ready".to_owned(),
            (_, Some(mode)) => mode.to_owned(),
            (_, None) => format!("no: {}", obstacles.join(", ")),
        };
        let user = |session: &Session| match session.matches.as_slice() {
            [] => format!("{} (no requests)", session.user),
            matches => format!("{} ({})", session.user, matches.join("; ")),
        };
        let users: Vec<String> = service.sessions.iter().map(user).collect();
        vec![
            service.name.clone(),
            service.ports.join(", "),
            service.workloads.join(", "),
            mode,
            users.join(", "),
        ]
    });
    output::table(&std::iter::once(head).chain(rows).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use bridge_cluster::{catalog, obstacles};

    use super::*;

    #[test]
    fn no_name_of_others_steers_the_terminal() {
        let hostile = || output::HOSTILE.to_owned();
        let service = Service {
            name: hostile(),
            ports: vec![hostile()],
            workloads: vec![hostile()],
            mode: None,
            obstacles: Vec::new(),
            sessions: vec![Session { user: hostile(), matches: vec![hostile()] }],
            stand_in: None,
            unused_stand_ins: vec![hostile()],
        };
        let listing = Listing { context: hostile(), namespace: hostile(), services: vec![service] };
        assert!(output::is_harmless(&text(&listing), 2), "{:?}", text(&listing));
    }

    #[test]
    fn who_is_where() {
        let entry = |service: &str| Entry {
            service: service.to_owned(),
            ports: vec!["80 (http)".to_owned()],
            workloads: vec![format!("Deployment {service}")],
            obstacles: Vec::new(),
            sessions: Vec::new(),
            stand_in: None,
            unused: Vec::new(),
        };
        let matches = vec!["x-bridge: bob".to_owned()];
        let bob = catalog::Session {
            id: "s2".to_owned(),
            installation: "laptop".to_owned(),
            user: "bob".to_owned(),
            matches,
        };
        let name = "orders-bridge-7f3a".to_owned();
        let down = catalog::StandIn { name, ready: 0, in_place: true, led_back: false };
        let orders = Entry { sessions: vec![bob], stand_in: Some(down), ..entry("orders") };
        let db = Entry { obstacles: vec![obstacles::Obstacle::Headless], ..entry("db") };
        let listing = Listing {
            context: "kind-dev".to_owned(),
            namespace: "shop".to_owned(),
            services: vec![db.into(), orders.into()],
        };
        insta::assert_snapshot!(text(&listing), @r"
        SERVICE  PORTS      PODS OF            MODE                               CONNECTED
        db       80 (http)  Deployment db      no: headless
        orders   80 (http)  Deployment orders  stand-in: down, no agent is ready  bob (x-bridge: bob)
        ");
        insta::assert_json_snapshot!(listing.services[1], @r#"
        {
          "name": "orders",
          "ports": [
            "80 (http)"
          ],
          "workloads": [
            "Deployment orders"
          ],
          "mode": "stand-in",
          "obstacles": [],
          "sessions": [
            {
              "user": "bob",
              "matches": [
                "x-bridge: bob"
              ]
            }
          ],
          "standIn": {
            "name": "orders-bridge-7f3a",
            "ready": 0,
            "inPlace": true,
            "ledBack": false
          },
          "unusedStandIns": []
        }
        "#);
    }
}
