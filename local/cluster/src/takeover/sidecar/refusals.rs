//! Refusals to create the pods of a StatefulSet or DaemonSet. Unlike a Deployment or a Rollout, these have no condition
//! that says so: only Events do.

use std::time::Duration;

use k8s_openapi::api::core::v1::Event;
use kube::Api;
use kube::api::ListParams;

use crate::app::{App, AppKind};
use crate::client::Cluster;
use crate::error::{Call, ClusterError};

/// The Role does not include to watch Events.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// The refusals at one time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Refusals {
    count: i32,
    newest: String,
}

/// Waits until Kubernetes refuses to create pods of the workload, and returns the reason. What happened before does not
/// count, nor does a single refusal: a quota counts a deleted pod for a moment.
pub(super) async fn refused(cluster: &Cluster, app: &App) -> String {
    if matches!(app.kind, AppKind::Deployment | AppKind::Rollout) {
        return std::future::pending().await;
    }
    let mut known: Option<Refusals> = None;
    let mut increases = 0;
    let mut looks = tokio::time::interval(LOOK_EVERY);
    loop {
        looks.tick().await;
        // Without the right to list Events, the roll-out is given up when it does not progress.
        let Ok(now) = read(cluster, app).await else { continue };
        if known.as_ref().is_some_and(|known| now.count > known.count) {
            increases += 1;
        }
        if increases > 1 {
            return now.newest;
        }
        known = Some(now);
    }
}

async fn read(cluster: &Cluster, app: &App) -> Result<Refusals, ClusterError> {
    let events: Api<Event> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let about_it =
        ListParams::default().fields(&format!("involvedObject.uid={},reason=FailedCreate", app.uid));
    let call = Call::all("list", "events", &cluster.namespace);
    Ok(among(&cluster.call(call, events.list(&about_it)).await?.items, app))
}

fn among(events: &[Event], app: &App) -> Refusals {
    let is_one = |event: &&Event| {
        event.involved_object.uid.as_ref() == Some(&app.uid)
            && event.reason.as_deref() == Some("FailedCreate")
    };
    let times = |event: &Event| event.series.as_ref().and_then(|series| series.count).or(event.count);
    let all = || events.iter().filter(is_one);
    let newest = all().max_by_key(|event| event.last_timestamp.as_ref().map(|at| at.0));
    Refusals {
        count: all().map(|event| times(event).unwrap_or(1)).sum(),
        newest: newest.and_then(|event| event.message.clone()).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::pretended::ApiServer;

    const EVENTS: &str = "/api/v1/namespaces/shop/events";

    fn event(uid: &str, reason: &str, count: i32) -> Value {
        json!({"metadata": {"name": "e"}, "involvedObject": {"uid": uid}, "reason": reason, "count": count,
            "type": "Warning", "message": "exceeded quota"})
    }

    fn web() -> App {
        App { kind: AppKind::StatefulSet, name: "web".into(), uid: "w".into() }
    }

    #[test]
    fn only_the_workloads_own_refusals_count() {
        let events: Vec<Event> =
            [event("w", "FailedCreate", 3), event("w", "Other", 1), event("x", "FailedCreate", 1)]
                .map(|event| serde_json::from_value(event).unwrap())
                .into();
        assert_eq!(among(&events, &web()), Refusals { count: 3, newest: "exceeded quota".into() });
        assert_eq!(among(&[], &web()), Refusals::default());
    }

    #[tokio::test(start_paused = true)]
    async fn refusals_count_once_they_go_on() {
        let server = ApiServer::with([(EVENTS, event("w", "FailedCreate", 1))]);
        let cluster = server.cluster();
        let app = web();
        let mut refused = std::pin::pin!(refused(&cluster, &app));
        let mut after = async |count: i32| {
            server.change("events/e", |event| event["count"] = json!(count));
            tokio::time::timeout(LOOK_EVERY * 3, refused.as_mut()).await.ok()
        };
        assert_eq!(after(1).await, None, "an earlier one");
        assert_eq!(after(2).await, None, "a single one");
        assert_eq!(after(3).await.as_deref(), Some("exceeded quota"));
    }
}
