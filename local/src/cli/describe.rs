//! `bridge describe`: one Service in detail, and how to reach it as oneself.

use bridge_client::{ClientError, RuntimeDir};
use bridge_proto::{matching, v1};
use serde::Serialize;

use super::args::DescribeArgs;
use super::error::Failed;
use super::output::{self, BOLD, line, styled};
use super::request;

/// The output. The names of the fields are stable.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Description {
    context: String,
    namespace: String,
    service: String,
    ports: Vec<Port>,
    workloads: Vec<String>,
    container: Option<String>,
    image: Option<String>,
    /// None if it cannot be connected.
    mode: Option<String>,
    obstacles: Vec<Obstacle>,
    /// Names, never values.
    variables: Vec<String>,
    /// Objects all of whose entries are variables.
    variables_of: Vec<String>,
    volumes: Vec<Volume>,
    urls: Vec<String>,
    sessions: Vec<Session>,
    /// The header that makes a request this user's, unless a session has another match.
    header: String,
    /// How to send one from outside; None if no URL is known.
    curl: Option<String>,
}

#[derive(Debug, Serialize)]
struct Port {
    port: u32,
    name: Option<String>,
    /// The container's.
    target: u32,
}

#[derive(Debug, Serialize)]
struct Obstacle {
    short: String,
    detail: String,
}

#[derive(Debug, Serialize)]
struct Volume {
    path: String,
    source: String,
}

#[derive(Debug, Serialize)]
struct Session {
    user: String,
    matches: Vec<String>,
}

pub(crate) async fn run(args: DescribeArgs) -> Result<(), Failed> {
    let me = request::me_for(&args.target)?;
    let query = v1::DescribeRequest {
        cluster: Some(request::cluster(&args.cluster, &request::config()?)?),
        target: args.target.to_string(),
    };
    let mut daemon = bridge_client::started(&RuntimeDir::find()?).await?;
    let described = daemon.client.describe(query).await.map_err(ClientError::from)?.into_inner();
    let description = Description::of(described, &me)?;
    output::print_as(args.output.output, &description, || description.text())
}

impl Description {
    fn of(described: v1::DescribeReply, me: &str) -> Result<Self, Failed> {
        if let Some(failure) = described.failed {
            return Err(failure.into());
        }
        let given = |text: String| Some(text).filter(|text| !text.is_empty());
        let port =
            |port: v1::DescribedPort| Port { port: port.port, name: given(port.name), target: port.target };
        let obstacle = |obstacle: v1::Obstacle| Obstacle { short: obstacle.short, detail: obstacle.detail };
        let volume = |volume: v1::DescribedVolume| Volume { path: volume.path, source: volume.source };
        let session = |claimant: v1::Claimant| Session { user: claimant.user, matches: claimant.matches };
        let header = format!("baggage: {}", matching::member_of(me));
        let curl =
            described.urls.first().map(|url| format!("curl -H '{header}' '{}'", url.replace('\'', "%27")));
        Ok(Self {
            context: described.context,
            namespace: described.namespace,
            service: described.service,
            ports: described.ports.into_iter().map(port).collect(),
            workloads: described.workloads,
            container: given(described.container),
            image: given(described.image),
            mode: given(described.mode),
            obstacles: described.obstacles.into_iter().map(obstacle).collect(),
            variables: described.variables,
            variables_of: described.variables_of,
            volumes: described.volumes.into_iter().map(volume).collect(),
            urls: described.urls,
            sessions: described.claimants.into_iter().map(session).collect(),
            header,
            curl,
        })
    }

    fn text(&self) -> String {
        let place =
            format!("Service {} in namespace {} (context {})", self.service, self.namespace, self.context);
        let mut text = line(&styled(BOLD, &place));
        let mut row = |name: &str, value: String| {
            if !value.is_empty() {
                text.push_str(&line(&format!("  {name:10} {value}")));
            }
        };
        let port = |port: &Port| match &port.name {
            Some(name) => format!("{} ({name}) → {}", port.port, port.target),
            None => format!("{} → {}", port.port, port.target),
        };
        row("ports", self.ports.iter().map(port).collect::<Vec<_>>().join(", "));
        row("pods of", self.workloads.join(", "));
        if let (Some(container), Some(image)) = (&self.container, &self.image) {
            row("container", format!("{container} ({image})"));
        }
        row("mode", self.mode.clone().unwrap_or_else(|| "cannot be connected".to_owned()));
        for obstacle in &self.obstacles {
            row("", format!("{}: {}", obstacle.short, obstacle.detail));
        }
        let all_of = self.variables_of.iter().map(|object| format!("all of {object}"));
        row("variables", self.variables.iter().cloned().chain(all_of).collect::<Vec<_>>().join(", "));
        let volume = |volume: &Volume| format!("{} ({})", volume.path, volume.source);
        row("volumes", self.volumes.iter().map(volume).collect::<Vec<_>>().join(", "));
        row("urls", self.urls.join(", "));
        let session = |session: &Session| match session.matches.as_slice() {
            [] => format!("{} (no requests)", session.user),
            matches => format!("{} ({})", session.user, matches.join("; ")),
        };
        row("connected", self.sessions.iter().map(session).collect::<Vec<_>>().join(", "));
        row("your mark", self.header.clone());
        row("try", self.curl.clone().unwrap_or_else(|| format!("bridge call {} /", self.service)));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn orders() -> v1::DescribeReply {
        v1::DescribeReply {
            context: "kind-dev".into(),
            namespace: "shop".into(),
            service: "orders".into(),
            ports: vec![v1::DescribedPort { port: 80, name: "http".into(), target: 8080 }],
            workloads: vec!["Deployment orders".into()],
            container: "orders".into(),
            image: "shop:dev".into(),
            mode: "sidecar".into(),
            obstacles: vec![v1::Obstacle {
                short: "ClientIP affinity".into(),
                detail: "it keeps clients".into(),
            }],
            variables: vec!["POD_NAME".into()],
            variables_of: vec!["ConfigMap orders-config".into()],
            volumes: vec![v1::DescribedVolume {
                path: "/etc/shop".into(),
                source: "ConfigMap orders-menu".into(),
            }],
            urls: vec!["https://shop.example.com/orders".into()],
            claimants: vec![v1::Claimant { user: "bob".into(), matches: vec!["80: x-bridge: bob".into()] }],
            ..v1::DescribeReply::default()
        }
    }

    #[test]
    fn a_service_for_people() {
        let described = Description::of(orders(), "alice").unwrap_or_else(|failed| panic!("{failed:?}"));
        let plain = anstream::adapter::strip_str(&described.text()).to_string();
        insta::assert_snapshot!(plain, @r"
        Service orders in namespace shop (context kind-dev)
          ports      80 (http) → 8080
          pods of    Deployment orders
          container  orders (shop:dev)
          mode       sidecar
                     ClientIP affinity: it keeps clients
          variables  POD_NAME, all of ConfigMap orders-config
          volumes    /etc/shop (ConfigMap orders-menu)
          urls       https://shop.example.com/orders
          connected  bob (80: x-bridge: bob)
          your mark  baggage: bridge=alice
          try        curl -H 'baggage: bridge=alice' 'https://shop.example.com/orders'
        ");
        let none = v1::DescribeReply { mode: String::new(), urls: vec![], ..orders() };
        let text = Description::of(none, "alice").unwrap_or_else(|failed| panic!("{failed:?}")).text();
        assert!(text.contains("cannot be connected") && text.contains("bridge call orders /"), "{text}");
    }

    #[test]
    fn nothing_in_it_steers_the_terminal() {
        let hostile = || output::HOSTILE.to_owned();
        let reply = v1::DescribeReply {
            service: hostile(),
            variables: vec![hostile()],
            urls: vec![hostile()],
            image: hostile(),
            claimants: vec![v1::Claimant { user: hostile(), matches: vec![hostile()] }],
            ..orders()
        };
        let text = Description::of(reply, "alice").unwrap_or_else(|failed| panic!("{failed:?}")).text();
        assert!(output::is_harmless(&text, 12), "{text:?}");
    }
}
