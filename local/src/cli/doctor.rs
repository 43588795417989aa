//! `bridge doctor`: checks what bridge needs, one check after another, each with advice.

use std::collections::BTreeSet;

use bridge_client::{Place, chain, running};
use bridge_cluster::{
    Cluster,
    access::{self, Need, Right},
    catalog::{Entry, Session, StandIn, catalog},
    obstacles::Obstacle,
    survey::{self, ServerVersion},
};
use bridge_daemon::installation;
use bridge_inside::files;
use bridge_proto::v1;
use serde::Serialize;

use super::{
    args::ListArgs,
    error::Failed,
    exit::Exit,
    files::ROOT,
    output::{self, GREEN, RED, YELLOW, line, styled},
    request,
};

/// The oldest Kubernetes that bridge supports, 1.x.
const OLDEST_MINOR: u32 = 33;

/// What `doctor -o json` prints. The names of the fields are a promise.
#[derive(Debug, Default, Serialize)]
struct Report {
    checks: Vec<Check>,
    /// Of the first check that failed.
    #[serde(skip)]
    exit: Option<Exit>,
}

#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    result: Outcome,
    detail: String,
    advice: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Outcome {
    Ok,
    Warn,
    Fail,
}

impl Report {
    fn ok(&mut self, name: &'static str, detail: impl Into<String>) {
        self.push(name, Outcome::Ok, detail.into(), String::new());
    }

    fn warn(&mut self, name: &'static str, detail: impl Into<String>, advice: impl Into<String>) {
        self.push(name, Outcome::Warn, detail.into(), advice.into());
    }

    fn fail(&mut self, name: &'static str, failed: Failed) {
        self.exit.get_or_insert(failed.exit);
        self.push(name, Outcome::Fail, failed.message, failed.advice);
    }

    fn push(&mut self, name: &'static str, result: Outcome, detail: String, advice: String) {
        self.checks.push(Check { name, result, detail, advice });
    }
}

pub(crate) async fn run(args: ListArgs) -> Result<(), Failed> {
    let mut report = Report::default();
    let held = this_machine(&mut report).await;
    match the_cluster(&args, &held, &mut report).await {
        Ok(()) => {}
        // What comes after it cannot be checked.
        Err(failed) => report.fail("cluster", failed),
    }
    output::print_as(args.output.output, &report, || text(&report))?;
    match report.exit {
        None => Ok(()),
        Some(exit) => {
            let failed = report.checks.iter().filter(|check| check.result == Outcome::Fail).count();
            Err(Failed::new(exit, format!("{failed} of {} checks failed", report.checks.len()), ""))
        }
    }
}

/// Returns the sessions that the daemon holds.
async fn this_machine(report: &mut Report) -> BTreeSet<String> {
    match bridge_daemon::program::carried() {
        Some(program) => report.ok("agent", format!("built in, for linux/{}", program.architecture)),
        None => report.fail(
            "agent",
            Failed::new(Exit::Internal, "this bridge was built without the agent", "make build"),
        ),
    }
    let place = match Place::find() {
        Ok(place) => place,
        Err(failed) => {
            report.fail("runtime directory", failed.into());
            return BTreeSet::new();
        }
    };
    report.ok("runtime directory", place.directory().display().to_string());
    match (bridge_supervise::probe(), bridge_supervise::low_limit()) {
        (Ok(()), None) => report.ok("bridge run", "the kernel supports supervision"),
        (Ok(()), Some(limit)) => report.warn(
            "bridge run",
            format!("a command may open only {limit} files, so its UDP sockets are not fully supervised"),
            "ulimit -n 1024",
        ),
        (Err(obstacle), _) => report.warn(
            "bridge run",
            format!("supervision is not possible: {}", chain(&obstacle)),
            "commands get a proxy instead, which not all programs use",
        ),
    }
    match files::at_their_own_paths_here() {
        Ok(()) => report.ok("files", "bridge run puts the files of a pod's volumes at their own paths"),
        Err(error) => report.ok(
            "files",
            format!("bridge run puts the files of a pod's volumes in ${ROOT} only: {}", chain(&error)),
        ),
    }
    match held(&place, report).await {
        Ok(held) => held,
        Err(failed) => {
            report.fail("daemon", failed);
            BTreeSet::new()
        }
    }
}

async fn held(place: &Place, report: &mut Report) -> Result<BTreeSet<String>, Failed> {
    let Some(mut daemon) = running(place).await? else {
        report.ok("daemon", "not running; connect starts it");
        return Ok(BTreeSet::new());
    };
    let v1::HelloReply { version, pid, sessions, .. } = &daemon.hello;
    let version = version.as_ref().map(|version| version.program.as_str()).unwrap_or_default();
    report.ok("daemon", format!("version {version}, process {pid}, {sessions} session(s)"));
    Ok(daemon.status().await?.sessions.into_iter().map(|session| session.id).collect())
}

async fn the_cluster(args: &ListArgs, held: &BTreeSet<String>, report: &mut Report) -> Result<(), Failed> {
    let config = request::config()?;
    report.ok("config file", "valid");
    let cluster = Cluster::of(&request::access(&args.cluster, &config)?).await?;
    let Cluster { context, namespace, server, .. } = &cluster;
    report.ok("kubeconfig", format!("context {context}, namespace {namespace}, server {server}"));
    version(&survey::server_version(&cluster).await?, report);
    rights(&access::missing(&cluster, &access::rights()).await?, namespace, report);
    match survey::pod_security(&cluster).await {
        Ok(Some(level)) => {
            report.ok("pod security", format!("namespace {namespace} enforces {level}; a stand-in meets it"));
        }
        Ok(None) => report.ok("pod security", format!("namespace {namespace} sets no level")),
        Err(error) => report.warn("pod security", Failed::from(error).message, ""),
    }
    let entries =
        catalog(&cluster, bridge_daemon::program::carried().map(|program| program.architecture)).await?;
    services(&entries, report);
    stand_ins(&entries, report);
    unreadable(&entries, report);
    let installation = installation::name().map_err(|error| Failed::internal(chain(&error)))?;
    left_behind(&entries, &installation, held, report);
    Ok(())
}

fn services(entries: &[Entry], report: &mut Report) {
    let users = |entry: &Entry| {
        let users: Vec<&str> = entry.sessions.iter().map(|session| session.user.as_str()).collect();
        (!users.is_empty()).then(|| format!("{} ({})", entry.service, users.join(", ")))
    };
    let connected: Vec<String> = entries.iter().filter_map(users).collect();
    let possible = entries.iter().filter(|entry| entry.obstacles.is_empty()).count();
    let sessions = if connected.is_empty() { "nobody".to_owned() } else { connected.join(", ") };
    report.ok("services", format!("{possible} of {} can be connected; connected: {sessions}", entries.len()));
}

/// Whether the stand-ins serve: who is behind one that does not fails, or is at the origin.
fn stand_ins(entries: &[Entry], report: &mut Report) {
    const NAME: &str = "stand-ins";
    let named = |is_so: fn(&StandIn) -> bool| {
        let those = entries.iter().filter(|entry| entry.stand_in.as_ref().is_some_and(is_so));
        those.map(|entry| entry.service.as_str()).collect::<Vec<_>>()
    };
    let (down, led_back) = (named(StandIn::keeps_down), named(|stand_in| stand_in.led_back));
    let unused: Vec<&str> = entries.iter().flat_map(|entry| &entry.unused).map(String::as_str).collect();
    if !down.is_empty() {
        let message = format!("no agent is ready, so requests fail at: {}", down.join(", "));
        report.fail(NAME, Failed::new(Exit::NotReady, message, "bridge clean"));
    }
    if !led_back.is_empty() {
        let detail =
            format!("no agent is ready, so these lead to their pods for now: {}", led_back.join(", "));
        report.warn(NAME, detail, "the developers who are connected see why with `bridge status`");
    }
    if !unused.is_empty() {
        report.warn(NAME, format!("nobody uses {}", unused.join(", ")), "bridge clean");
    }
    if down.is_empty() && led_back.is_empty() && unused.is_empty() {
        report.ok(NAME, "all stand-ins in use have ready agents");
    }
}

/// Attachments that this bridge cannot read, which it leaves alone.
fn unreadable(entries: &[Entry], report: &mut Report) {
    let found = |entry: &Entry| {
        entry.obstacles.iter().find_map(|obstacle| match obstacle {
            Obstacle::Attachment(why) => Some(why.clone()),
            _ => None,
        })
    };
    let found: Vec<String> = entries.iter().filter_map(found).collect();
    if !found.is_empty() {
        let advice = "if a newer bridge wrote it, upgrade bridge; otherwise `bridge connect` to that Service says more";
        report.warn("attachments", found.join("; "), advice);
    }
}

/// This laptop's claims in the cluster that its daemon knows nothing of.
fn left_behind(entries: &[Entry], installation: &str, held: &BTreeSet<String>, report: &mut Report) {
    let is_left = |session: &Session| session.installation == installation && !held.contains(&session.id);
    let services = entries.iter().filter(|entry| entry.sessions.iter().any(is_left));
    let services: Vec<&str> = services.map(|entry| entry.service.as_str()).collect();
    if services.is_empty() {
        report.ok("left behind", "nothing from your laptop");
    } else {
        let detail = format!("sessions of your laptop without a daemon, on {}", services.join(", "));
        report.warn("left behind", detail, "bridge clean");
    }
}

fn version(version: &ServerVersion, report: &mut Report) {
    let text = &version.text;
    if (version.major, version.minor) >= (1, OLDEST_MINOR) {
        report.ok("version", format!("Kubernetes {text}"));
    } else {
        let detail = format!(
            "Kubernetes {text} is older than 1.{OLDEST_MINOR}, the oldest version that bridge supports"
        );
        report.warn("version", detail, "it may work, but is not supported");
    }
}

fn rights(missing: &[Right], namespace: &str, report: &mut Report) {
    let of = |need: Need| {
        let rights = missing.iter().filter(move |right| right.need == need);
        rights.map(ToString::to_string).collect::<Vec<_>>().join(", ")
    };
    let (connect, comfort) = (of(Need::Connect), of(Need::Comfort));
    let advice = format!("ask for the Role in deploy/rbac-developer.yaml in namespace {namespace}");
    if !connect.is_empty() {
        let message = format!("in namespace {namespace} you may not: {connect}");
        report.fail("rights", Failed::new(Exit::Rights, message, advice.clone()));
    }
    if !comfort.is_empty() {
        let detail =
            format!("some warnings, reasons or lists will be missing, because you may not: {comfort}");
        report.warn("rights", detail, advice);
    }
    if missing.is_empty() {
        report.ok("rights", format!("you have all rights that bridge uses in namespace {namespace}"));
    }
}

fn text(report: &Report) -> String {
    let mut text = String::new();
    for Check { name, result, detail, advice } in &report.checks {
        let sign = match result {
            Outcome::Ok => styled(GREEN, "✓"),
            Outcome::Warn => styled(YELLOW, "!"),
            Outcome::Fail => styled(RED, "✗"),
        };
        text.push_str(&line(&format!("{sign} {name}: {detail}")));
        for advice in advice.lines() {
            text.push_str(&line(&format!("  → {advice}")));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_laptop_s_sessions_without_a_daemon_are_left_behind() {
        let session = |id: &str, installation: &str| Session {
            id: id.to_owned(),
            installation: installation.to_owned(),
            user: "alice".to_owned(),
            matches: Vec::new(),
        };
        let entry = |service: &str, sessions: Vec<Session>| Entry {
            service: service.to_owned(),
            ports: Vec::new(),
            workloads: Vec::new(),
            obstacles: Vec::new(),
            sessions,
            stand_in: None,
            unused: Vec::new(),
        };
        let entries =
            [entry("orders", vec![session("s1", "here"), session("s2", "there")]), entry("web", Vec::new())];
        let check = |held: &[&str]| {
            let mut report = Report::default();
            let held = held.iter().map(|&id| id.to_owned()).collect();
            left_behind(&entries, "here", &held, &mut report);
            (report.checks[0].result, report.checks[0].detail.clone())
        };
        assert_eq!(check(&["s1"]), (Outcome::Ok, "nothing from your laptop".to_owned()));
        let left = "sessions of your laptop without a daemon, on orders".to_owned();
        assert_eq!(check(&[]), (Outcome::Warn, left));
    }

    #[test]
    fn nothing_that_a_cluster_says_steers_the_terminal() {
        let mut report = Report::default();
        report.warn("pod security", output::HOSTILE, output::HOSTILE);
        assert!(output::is_harmless(&text(&report), 3), "{:?}", text(&report));
    }

    #[test]
    fn a_service_whose_stand_in_has_no_ready_agent_is_not_green() {
        let entry = |service: &str, ready, in_place, led_back, unused: &[&str]| Entry {
            service: service.to_owned(),
            ports: Vec::new(),
            workloads: Vec::new(),
            obstacles: Vec::new(),
            sessions: Vec::new(),
            stand_in: Some(StandIn { name: format!("{service}-bridge-7f3a"), ready, in_place, led_back }),
            unused: unused.iter().map(|&name| name.to_owned()).collect(),
        };
        for (entry, expected) in [
            (entry("orders", 1, true, false, &[]), (Outcome::Ok, "all stand-ins in use")),
            (entry("orders", 0, true, false, &[]), (Outcome::Fail, "requests fail at: orders")),
            (entry("orders", 0, false, true, &[]), (Outcome::Warn, "lead to their pods for now: orders")),
            (entry("orders", 1, true, false, &["orders-bridge-0000"]), (Outcome::Warn, "orders-bridge-0000")),
        ] {
            let mut report = Report::default();
            stand_ins(&[entry], &mut report);
            let [check] = report.checks.as_slice() else { panic!("expected one check: {report:?}") };
            assert_eq!(check.result, expected.0, "{}", check.detail);
            assert!(check.detail.contains(expected.1), "expected {:?} in {:?}", expected.1, check.detail);
        }
    }

    #[test]
    fn each_check_says_what_to_do() {
        let mut report = Report::default();
        let kubernetes = |minor, text: &str| ServerVersion { major: 1, minor, text: text.to_owned() };
        version(&kubernetes(36, "v1.36.3"), &mut report);
        version(&kubernetes(29, "v1.29.0"), &mut report);
        let right = |verb, resource, need| Right { verb, group: "", resource, need };
        let missing = [
            right("create", "secrets", Need::Connect),
            right("get", "pods/portforward", Need::Connect),
            right("list", "events", Need::Comfort),
        ];
        rights(&missing, "shop", &mut report);
        rights(&[], "shop", &mut report);
        insta::assert_snapshot!(anstream::adapter::strip_str(&text(&report)).to_string(), @r"
        ✓ version: Kubernetes v1.36.3
        ! version: Kubernetes v1.29.0 is older than 1.33, the oldest version that bridge supports
          → it may work, but is not supported
        ✗ rights: in namespace shop you may not: create secrets, get pods/portforward
          → ask for the Role in deploy/rbac-developer.yaml in namespace shop
        ! rights: some warnings, reasons or lists will be missing, because you may not: list events
          → ask for the Role in deploy/rbac-developer.yaml in namespace shop
        ✓ rights: you have all rights that bridge uses in namespace shop
        ");
        assert_eq!(report.exit, Some(Exit::Rights));
        insta::assert_json_snapshot!(report.checks[0], @r#"
        {
          "name": "version",
          "result": "ok",
          "detail": "Kubernetes v1.36.3",
          "advice": ""
        }
        "#);
    }
}
