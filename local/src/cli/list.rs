//! `bridge list`: the Services of a namespace, which can be connected, and who is connected; or the namespaces, or the
//! contexts.

pub(crate) mod places;

use bridge_client::{ClientError, RuntimeDir};
use bridge_proto::v1;
use serde::Serialize;

use super::{args::ListArgs, error::Failed, output, request};

/// The output of `list -o json`. The names of the fields are stable.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Listing {
    context: String,
    namespace: String,
    services: Vec<Service>,
    /// Agents beside workloads, to which no Service leads.
    asides: Vec<Aside>,
}

#[derive(Debug, Serialize)]
struct Aside {
    /// With the kind: deploy/worker, svc/orders.
    target: String,
    user: String,
    deployment: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Service {
    name: String,
    ports: Vec<String>,
    workloads: Vec<String>,
    /// stand-in; None if it cannot be connected.
    mode: Option<String>,
    obstacles: Vec<Obstacle>,
    sessions: Vec<Session>,
    /// While a developer is connected.
    stand_in: Option<StandIn>,
    /// Names of unused stand-ins: `bridge clean`.
    unused_stand_ins: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Obstacle {
    short: String,
    /// Includes advice.
    detail: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Session {
    user: String,
    matches: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct StandIn {
    name: String,
    /// The number of its agents that take traffic.
    ready: u32,
    /// The Service leads to it.
    in_place: bool,
    /// The Service leads to the origin because no agent was ready.
    led_back: bool,
}

impl From<v1::ListedService> for Service {
    fn from(listed: v1::ListedService) -> Self {
        let obstacle = |obstacle: v1::Obstacle| Obstacle { short: obstacle.short, detail: obstacle.detail };
        let session = |claimant: v1::Claimant| Session { user: claimant.user, matches: claimant.matches };
        let stand_in = |stand_in: v1::StandInStatus| StandIn {
            name: stand_in.name,
            ready: stand_in.ready,
            in_place: stand_in.in_place,
            led_back: stand_in.led_back,
        };
        Service {
            name: listed.name,
            ports: listed.ports,
            workloads: listed.workloads,
            mode: Some(listed.mode).filter(|mode| !mode.is_empty()),
            obstacles: listed.obstacles.into_iter().map(obstacle).collect(),
            sessions: listed.claimants.into_iter().map(session).collect(),
            stand_in: listed.stand_in.map(stand_in),
            unused_stand_ins: listed.unused_stand_ins,
        }
    }
}

pub(crate) async fn run(args: ListArgs) -> Result<(), Failed> {
    let cluster = request::cluster(&args.cluster, &request::config()?)?;
    if args.contexts || args.namespaces {
        return places::list(cluster, args.contexts, args.output.output).await;
    }
    let mut daemon = bridge_client::started(&RuntimeDir::find()?).await?;
    let listed = daemon.client.list(v1::ListRequest { cluster: Some(cluster) }).await;
    let v1::ListReply { context, namespace, services, asides, failed } =
        listed.map_err(ClientError::from)?.into_inner();
    if let Some(failure) = failed {
        return Err(failure.into());
    }
    let services = services.into_iter().map(Service::from).collect();
    let aside =
        |v1::ListedAside { target, user, deployment }: v1::ListedAside| Aside { target, user, deployment };
    let asides = asides.into_iter().map(aside).collect();
    let listing = Listing { context, namespace, services, asides };
    output::print_as(args.output.output, &listing, || text(&listing))
}

fn text(listing: &Listing) -> String {
    let aside = |Aside { target, user, deployment }: &Aside| {
        output::line(&format!("beside {target}, without requests: {user} (Deployment {deployment})"))
    };
    let asides: String = listing.asides.iter().map(aside).collect();
    format!("{}{asides}", table(listing))
}

fn table(listing: &Listing) -> String {
    if listing.services.is_empty() {
        return format!("namespace {} (context {}) has no Services\n", listing.namespace, listing.context);
    }
    let head = ["SERVICE", "PORTS", "PODS OF", "MODE", "CONNECTED"].map(str::to_owned).to_vec();
    let rows = listing.services.iter().map(|service| {
        let obstacles: Vec<&str> = service.obstacles.iter().map(|obstacle| obstacle.short.as_str()).collect();
        let mode = match (&service.stand_in, &service.mode) {
            (Some(stand_in), _) if stand_in.in_place && stand_in.ready == 0 => {
                "stand-in: down, no agent is ready".to_owned()
            }
            (Some(stand_in), _) if stand_in.led_back => "stand-in: led back, no agent is ready".to_owned(),
            (_, Some(mode)) => mode.clone(),
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
        let aside = Aside { target: hostile(), user: hostile(), deployment: hostile() };
        let listing = Listing {
            context: hostile(),
            namespace: hostile(),
            services: vec![service],
            asides: vec![aside],
        };
        assert!(output::is_harmless(&text(&listing), 3), "{:?}", text(&listing));
    }

    #[test]
    fn the_list_shows_modes_and_developers() {
        let listed = |service: &str| v1::ListedService {
            name: service.to_owned(),
            ports: vec!["80 (http)".to_owned()],
            workloads: vec![format!("Deployment {service}")],
            mode: "stand-in".to_owned(),
            ..v1::ListedService::default()
        };
        let bob = v1::Claimant { user: "bob".to_owned(), matches: vec!["x-bridge: bob".to_owned()] };
        let name = "orders-bridge-7f3a".to_owned();
        let down = v1::StandInStatus { name, ready: 0, in_place: true, led_back: false };
        let orders = v1::ListedService { claimants: vec![bob], stand_in: Some(down), ..listed("orders") };
        let headless = v1::Obstacle { short: "headless".to_owned(), detail: String::new() };
        let db = v1::ListedService { mode: String::new(), obstacles: vec![headless], ..listed("db") };
        let listing = Listing {
            context: "kind-dev".to_owned(),
            namespace: "shop".to_owned(),
            services: vec![db.into(), orders.into()],
            asides: vec![Aside {
                target: "deploy/worker".to_owned(),
                user: "alice".to_owned(),
                deployment: "worker-bridge-7f3a91c2".to_owned(),
            }],
        };
        insta::assert_snapshot!(text(&listing), @r"
        SERVICE  PORTS      PODS OF            MODE                               CONNECTED
        db       80 (http)  Deployment db      no: headless
        orders   80 (http)  Deployment orders  stand-in: down, no agent is ready  bob (x-bridge: bob)
        beside deploy/worker, without requests: alice (Deployment worker-bridge-7f3a91c2)
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
