//! Checks a cluster and what bridge needs there, for `bridge doctor`: each check reports what it found and what to do.

use std::collections::BTreeSet;

use bridge_cluster::access::{self, Need, Right};
use bridge_cluster::aside::{self, clean::Found};
use bridge_cluster::catalog::{Entry, Session, StandIn, catalog};
use bridge_cluster::client::Cluster;
use bridge_cluster::error::ClusterError;
use bridge_cluster::obstacles::Obstacle;
use bridge_cluster::survey::{self, ServerVersion};
use bridge_proto::v1::check::Outcome;
use bridge_proto::v1::failure::Cause;
use bridge_proto::v1::{self, Check};
use tokio::sync::mpsc;

use super::program;
use super::sharing::{Sharing, access as way};

/// The oldest Kubernetes that bridge supports, 1.x.
const OLDEST_MINOR: u32 = 33;

/// Sends the results of checks; a caller that has gone needs no more of them.
struct Report(mpsc::Sender<Check>);

impl Report {
    async fn say(&self, checks: impl IntoIterator<Item = Check>) {
        for check in checks {
            let _ = self.0.send(check).await;
        }
    }
}

fn ok(name: &str, detail: impl Into<String>) -> Check {
    let (name, detail) = (name.to_owned(), detail.into());
    Check { name, outcome: Outcome::Ok.into(), detail, ..Check::default() }
}

fn warn(name: &str, detail: impl Into<String>, advice: impl Into<String>) -> Check {
    let (name, detail, advice) = (name.to_owned(), detail.into(), advice.into());
    Check { name, outcome: Outcome::Warn.into(), detail, advice, ..Check::default() }
}

fn fail(name: &str, cause: Cause, detail: impl Into<String>, advice: impl Into<String>) -> Check {
    Check { outcome: Outcome::Fail.into(), cause: cause.into(), ..warn(name, detail, advice) }
}

/// Makes all checks in order; one that makes the rest impossible is the last.
pub(super) async fn examine(sharing: Sharing, request: v1::ExamineRequest, checks_tx: mpsc::Sender<Check>) {
    let _under_way = sharing.turns.begin();
    let report = Report(checks_tx);
    let way = way(request.cluster.unwrap_or_default());
    let examined = async {
        let cluster = Cluster::of(&way).await?;
        the_cluster(&cluster, &report).await?;
        the_namespace(&cluster, &sharing, &report).await
    };
    if let Err(error) = examined.await {
        let advice = error.advice().unwrap_or_default();
        report.say([fail("cluster", error.cause(), error.to_string(), advice)]).await;
    }
}

async fn the_cluster(cluster: &Cluster, report: &Report) -> Result<(), ClusterError> {
    let Cluster { context, namespace, server, .. } = cluster;
    let named = format!("context {context}, namespace {namespace}, server {server}");
    report.say([ok("kubeconfig", named)]).await;
    report.say([version(&survey::server_version(cluster).await?)]).await;
    report.say(rights(&access::missing(cluster, &access::rights()).await?, namespace)).await;
    let pod_security = match survey::pod_security(cluster).await {
        Ok(Some(level)) => {
            ok("pod security", format!("namespace {namespace} enforces {level}; a stand-in meets it"))
        }
        Ok(None) => ok("pod security", format!("namespace {namespace} sets no level")),
        Err(error) => warn("pod security", error.to_string(), ""),
    };
    report.say([pod_security]).await;
    Ok(())
}

async fn the_namespace(cluster: &Cluster, sharing: &Sharing, report: &Report) -> Result<(), ClusterError> {
    let (entries, asides) =
        tokio::try_join!(catalog(cluster, program::architecture()), aside::clean::all(cluster))?;
    report.say([services(&entries)]).await;
    report.say(stand_ins(&entries)).await;
    report.say(unreadable(&entries)).await;
    report.say([left_behind(&entries, &asides, &sharing.installation, &sharing.registry.alive())]).await;
    Ok(())
}

fn services(entries: &[Entry]) -> Check {
    let users = |entry: &Entry| {
        let users: Vec<&str> = entry.sessions.iter().map(|session| session.user.as_str()).collect();
        (!users.is_empty()).then(|| format!("{} ({})", entry.service, users.join(", ")))
    };
    let connected: Vec<String> = entries.iter().filter_map(users).collect();
    let possible = entries.iter().filter(|entry| entry.mode.is_some()).count();
    let sessions = if connected.is_empty() { "nobody".to_owned() } else { connected.join(", ") };
    ok("services", format!("{possible} of {} can be connected; connected: {sessions}", entries.len()))
}

/// Whether the stand-ins serve: requests to one without a ready agent fail, or go to the origin.
fn stand_ins(entries: &[Entry]) -> Vec<Check> {
    const NAME: &str = "stand-ins";
    let named = |is_so: fn(&StandIn) -> bool| {
        let those = entries.iter().filter(|entry| entry.stand_in.as_ref().is_some_and(is_so));
        those.map(|entry| entry.service.as_str()).collect::<Vec<_>>()
    };
    let (down, led_back) = (named(StandIn::keeps_down), named(|stand_in| stand_in.led_back));
    let unused: Vec<&str> = entries.iter().flat_map(|entry| &entry.unused).map(String::as_str).collect();
    let mut checks = Vec::new();
    if !down.is_empty() {
        let detail = format!("no agent is ready, so requests fail at: {}", down.join(", "));
        checks.push(fail(NAME, Cause::NotReady, detail, "bridge clean"));
    }
    if !led_back.is_empty() {
        let detail =
            format!("no agent is ready, so these lead to their pods for now: {}", led_back.join(", "));
        checks.push(warn(NAME, detail, "the developers who are connected see why with `bridge status`"));
    }
    if !unused.is_empty() {
        checks.push(warn(NAME, format!("nobody uses {}", unused.join(", ")), "bridge clean"));
    }
    if checks.is_empty() {
        checks.push(ok(NAME, "all stand-ins in use have ready agents"));
    }
    checks
}

/// Attachments that this bridge cannot read, which it leaves alone.
fn unreadable(entries: &[Entry]) -> Option<Check> {
    let found = |entry: &Entry| {
        entry.obstacles.iter().find_map(|obstacle| match obstacle {
            Obstacle::Attachment(why) => Some(why.clone()),
            _ => None,
        })
    };
    let found: Vec<String> = entries.iter().filter_map(found).collect();
    let advice =
        "if a newer bridge wrote it, upgrade bridge; otherwise `bridge connect` to that Service says more";
    (!found.is_empty()).then(|| warn("attachments", found.join("; "), advice))
}

/// Claims and agents aside of this laptop in the cluster that its daemon does not hold.
fn left_behind(entries: &[Entry], asides: &[Found], installation: &str, held: &BTreeSet<String>) -> Check {
    let is_left = |of: &str, id: &str| of == installation && !held.contains(id);
    let is_claim_left = |session: &Session| is_left(&session.installation, &session.id);
    let services = entries.iter().filter(|entry| entry.sessions.iter().any(is_claim_left));
    let services = services.map(|entry| entry.service.as_str());
    let asides = asides.iter().map(|found| &found.record);
    let asides = asides.filter(|record| is_left(&record.session.installation, &record.session.id));
    let targets: Vec<&str> = services.chain(asides.map(|record| record.target.as_str())).collect();
    if targets.is_empty() {
        return ok("left behind", "nothing from your laptop");
    }
    let detail = format!("sessions of your laptop without a daemon, on {}", targets.join(", "));
    warn("left behind", detail, "bridge clean")
}

fn version(version: &ServerVersion) -> Check {
    let text = &version.text;
    if (version.major, version.minor) >= (1, OLDEST_MINOR) {
        return ok("version", format!("Kubernetes {text}"));
    }
    let detail =
        format!("Kubernetes {text} is older than 1.{OLDEST_MINOR}, the oldest version that bridge supports");
    warn("version", detail, "it may work, but is not supported")
}

fn rights(missing: &[Right], namespace: &str) -> Vec<Check> {
    let of = |need: Need| {
        let rights = missing.iter().filter(move |right| right.need == need);
        rights.map(ToString::to_string).collect::<Vec<_>>().join(", ")
    };
    let (connect, comfort) = (of(Need::Connect), of(Need::Comfort));
    let advice = format!("ask for the Role in deploy/rbac-developer.yaml in namespace {namespace}");
    let mut checks = Vec::new();
    if !connect.is_empty() {
        let detail = format!("in namespace {namespace} you may not: {connect}");
        checks.push(fail("rights", Cause::Forbidden, detail, advice.clone()));
    }
    if !comfort.is_empty() {
        let detail =
            format!("some warnings, reasons or lists will be missing, because you may not: {comfort}");
        checks.push(warn("rights", detail, advice));
    }
    if checks.is_empty() {
        let detail = format!("you have all rights that bridge uses in namespace {namespace}");
        checks.push(ok("rights", detail));
    }
    checks
}

#[cfg(test)]
mod tests {
    use bridge_cluster::aside::Record;
    use bridge_cluster::state::Claim;

    use super::*;

    fn entry(service: &str) -> Entry {
        Entry {
            service: service.to_owned(),
            ports: Vec::new(),
            workloads: Vec::new(),
            mode: None,
            obstacles: Vec::new(),
            sessions: Vec::new(),
            stand_in: None,
            unused: Vec::new(),
        }
    }

    #[test]
    fn only_this_laptop_s_sessions_without_a_daemon_are_left_behind() {
        let session = |id: &str, installation: &str| Session {
            id: id.to_owned(),
            installation: installation.to_owned(),
            user: "alice".to_owned(),
            matches: Vec::new(),
        };
        let sessions = vec![session("s1", "here"), session("s2", "there")];
        let entries = [Entry { sessions, ..entry("orders") }, entry("web")];
        let aside = |id: &str, installation: &str| Found {
            deployment: "worker-bridge-7f3a".to_owned(),
            record: Record {
                version: 1,
                target: "deploy/worker".to_owned(),
                session: Claim {
                    id: id.to_owned(),
                    installation: installation.to_owned(),
                    ..Claim::default()
                },
            },
        };
        let asides = [aside("s3", "here"), aside("s4", "there")];
        let check = |held: &[&str]| {
            let held = held.iter().map(|&id| id.to_owned()).collect();
            let check = left_behind(&entries, &asides, "here", &held);
            (check.outcome(), check.detail)
        };
        assert_eq!(check(&["s1", "s3"]), (Outcome::Ok, "nothing from your laptop".to_owned()));
        let left = "sessions of your laptop without a daemon, on orders, deploy/worker".to_owned();
        assert_eq!(check(&[]), (Outcome::Warn, left));
    }

    #[test]
    fn a_service_whose_stand_in_has_no_ready_agent_is_not_green() {
        let with = |ready, in_place, led_back, unused: &[&str]| Entry {
            stand_in: Some(StandIn { name: "orders-bridge-7f3a".to_owned(), ready, in_place, led_back }),
            unused: unused.iter().map(|&name| name.to_owned()).collect(),
            ..entry("orders")
        };
        for (entry, expected) in [
            (with(1, true, false, &[]), (Outcome::Ok, "all stand-ins in use")),
            (with(0, true, false, &[]), (Outcome::Fail, "requests fail at: orders")),
            (with(0, false, true, &[]), (Outcome::Warn, "lead to their pods for now: orders")),
            (with(1, true, false, &["orders-bridge-0000"]), (Outcome::Warn, "orders-bridge-0000")),
        ] {
            let checks = stand_ins(&[entry]);
            let [check] = checks.as_slice() else { panic!("expected one check: {checks:?}") };
            assert_eq!(check.outcome(), expected.0, "{}", check.detail);
            assert!(check.detail.contains(expected.1), "expected {:?} in {:?}", expected.1, check.detail);
        }
    }

    #[test]
    fn each_check_says_what_to_do() {
        let kubernetes = |minor, text: &str| ServerVersion { major: 1, minor, text: text.to_owned() };
        assert_eq!(version(&kubernetes(36, "v1.36.3")), ok("version", "Kubernetes v1.36.3"));
        let old = version(&kubernetes(29, "v1.29.0"));
        let detail = "Kubernetes v1.29.0 is older than 1.33, the oldest version that bridge supports";
        assert_eq!(old, warn("version", detail, "it may work, but is not supported"));

        let right = |verb, resource, need| Right { verb, group: "", resource, need };
        let missing = [
            right("create", "secrets", Need::Connect),
            right("get", "pods/portforward", Need::Connect),
            right("list", "events", Need::Comfort),
        ];
        let advice = "ask for the Role in deploy/rbac-developer.yaml in namespace shop";
        let may_not = "in namespace shop you may not: create secrets, get pods/portforward";
        let comfort = "some warnings, reasons or lists will be missing, because you may not: list events";
        assert_eq!(
            rights(&missing, "shop"),
            [fail("rights", Cause::Forbidden, may_not, advice), warn("rights", comfort, advice)]
        );
        let all = "you have all rights that bridge uses in namespace shop";
        assert_eq!(rights(&[], "shop"), [ok("rights", all)]);
    }
}
