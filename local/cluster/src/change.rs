//! Changes a Service that others may change at the same time: reads it, decides, and writes under the resourceVersion
//! that it read. On a conflict it reads and decides again. The decisions are pure functions beside their callers.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder, Retryable};
use k8s_openapi::api::core::v1::Service;
use kube::ResourceExt;
use serde_json::Value;

use crate::client::Cluster;
use crate::error::ClusterError;
use crate::objects::{patch, read};

/// Attempts before a conflict is an error. When several write at once, one succeeds each time, and pauses with jitter
/// keep the others apart.
pub(crate) const MOST_ATTEMPTS: usize = 13;
/// About the time of another writer's read and write.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// The decision after reading a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Decision<T> {
    /// Nothing needs to be written.
    Leave(T),
    /// A merge patch, and the result once it is written.
    Write(Value, T),
}

impl<T> Decision<T> {
    /// The same decision with another result.
    pub(crate) fn then<U>(self, result: U) -> Decision<U> {
        match self {
            Self::Leave(_) => Decision::Leave(result),
            Self::Write(change, _) => Decision::Write(change, result),
        }
    }
}

/// Changes a Service as `decide` decides, and tries again on a conflict; returns the Service afterwards, and the
/// result.
///
/// # Errors
///
/// [`ClusterError::Conflict`] after [`MOST_ATTEMPTS`], errors of `decide` and of the calls.
pub(crate) async fn change<T>(
    cluster: &Cluster,
    service: &str,
    decide: impl Fn(&Service) -> Result<Decision<T>, ClusterError>,
) -> Result<(Service, T), ClusterError> {
    attempts(cluster, service, None, decide).await
}

/// As [`change`], for a Service that was just read or written: if nobody was quicker, this takes one call.
///
/// # Errors
///
/// As [`change`].
pub(crate) async fn change_read<T>(
    cluster: &Cluster,
    service: Service,
    decide: impl Fn(&Service) -> Result<Decision<T>, ClusterError>,
) -> Result<(Service, T), ClusterError> {
    attempts(cluster, &service.name_any(), Some(service), decide).await
}

async fn attempts<T>(
    cluster: &Cluster,
    service: &str,
    mut known: Option<Service>,
    decide: impl Fn(&Service) -> Result<Decision<T>, ClusterError>,
) -> Result<(Service, T), ClusterError> {
    let decide = &decide;
    until_settled(|| {
        // The known version may be out of date: only the current one is a reason to refuse.
        let known = known.take().filter(|known| decide(known).is_ok());
        async move {
            let now = match known {
                Some(known) => known,
                None => read(cluster, service).await?,
            };
            match decide(&now)? {
                Decision::Leave(result) => Ok((now, result)),
                Decision::Write(change, result) => Ok((patch(cluster, &now, change).await?, result)),
            }
        }
    })
    .await
}

/// Repeats an attempt (read, decide, write) while others are quicker, with growing pauses.
///
/// # Errors
///
/// [`ClusterError::Conflict`] after [`MOST_ATTEMPTS`], and other errors of an attempt.
pub(crate) async fn until_settled<T, Attempt, Attempting>(attempt: Attempt) -> Result<T, ClusterError>
where
    Attempt: FnMut() -> Attempting,
    Attempting: Future<Output = Result<T, ClusterError>>,
{
    attempt.retry(pauses()).when(|error| matches!(error, ClusterError::Conflict { .. })).await
}

fn pauses() -> impl BackoffBuilder {
    ExponentialBuilder::default()
        .with_min_delay(FIRST_PAUSE)
        .with_max_delay(LONGEST_PAUSE)
        .with_max_times(MOST_ATTEMPTS - 1)
        .with_jitter()
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tokio::time::Instant;

    use super::*;
    use crate::pretended::ApiServer;

    fn server() -> ApiServer {
        let orders = json!({"metadata": {"name": "orders", "labels": {"count": "0"}}, "spec": {}});
        ApiServer::with([("/api/v1/namespaces/shop/services", orders)])
    }

    /// One more than there was.
    fn counted(now: &Service) -> Result<Decision<u64>, ClusterError> {
        let count = now.labels()["count"].parse::<u64>().unwrap() + 1;
        Ok(Decision::Write(json!({"metadata": {"labels": {"count": count.to_string()}}}), count))
    }

    #[tokio::test(start_paused = true)]
    async fn the_slower_writer_decides_again_on_the_current_version() {
        // Given another writer, who is quicker three times.
        let server = server();
        server.others_are_quicker(3, "services/orders", |orders| {
            let before: u64 = orders["metadata"]["labels"]["count"].as_str().unwrap().parse().unwrap();
            orders["metadata"]["labels"]["count"] = json!((before + 10).to_string());
        });

        // When one is counted, then it is added to their count.
        let (after, count) = change(&server.cluster(), "orders", counted).await.unwrap();
        assert_eq!((after.labels()["count"].as_str(), count), ("31", 31));
        assert_eq!(server.changes(), ["PATCH services/orders"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_conflict_that_does_not_end_is_an_error_after_some_attempts() {
        let (server, began) = (server(), Instant::now());
        server.others_are_quicker(usize::MAX, "services/orders", |_| {});
        let failed = change(&server.cluster(), "orders", counted).await.unwrap_err();
        assert!(matches!(failed, ClusterError::Conflict { .. }), "{failed}");
        assert_eq!(server.conflicts(), MOST_ATTEMPTS);
        let took = began.elapsed();
        let (least, most) = (Duration::from_secs(5), Duration::from_secs(15));
        assert!(least < took && took < most, "it took {took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_fresh_read_is_not_repeated_unless_another_writer_was_quicker() {
        let server = server();
        let read = read(&server.cluster(), "orders").await.unwrap();
        let (now, _) = change_read(&server.cluster(), read.clone(), counted).await.unwrap();
        assert_eq!((now.labels()["count"].as_str(), server.conflicts()), ("1", 0));
        // That version is no longer the current one.
        let (now, _) = change_read(&server.cluster(), read, counted).await.unwrap();
        assert_eq!((now.labels()["count"].as_str(), server.conflicts()), ("2", 1));
    }

    #[tokio::test]
    async fn an_outdated_version_is_no_reason_to_refuse() {
        let server = server();
        let before = read(&server.cluster(), "orders").await.unwrap();
        server.change("services/orders", |orders| orders["metadata"]["labels"]["count"] = json!("1"));
        let changed = || ClusterError::SelectorChanged { service: "orders".into() };
        let unless_none = |now: &Service| match now.labels()["count"].as_str() {
            "0" => Err(changed()),
            _ => counted(now),
        };
        let (_, count) = change_read(&server.cluster(), before.clone(), unless_none).await.unwrap();
        assert_eq!(count, 2);
        let refused = change_read::<()>(&server.cluster(), before, |_| Err(changed())).await.unwrap_err();
        assert_eq!(refused, changed());
    }

    #[tokio::test]
    async fn nothing_is_written_without_a_change_and_other_errors_are_not_retried() {
        let server = server();
        let (_, result) =
            change(&server.cluster(), "orders", |_| Ok(Decision::Leave("as it is"))).await.unwrap();
        assert_eq!(result, "as it is");
        let gone = change(&server.cluster(), "prices", counted).await.unwrap_err();
        assert!(gone.is_not_found(), "{gone}");
        let changed = || ClusterError::SelectorChanged { service: "orders".into() };
        let refused = change::<()>(&server.cluster(), "orders", |_| Err(changed())).await.unwrap_err();
        assert_eq!(refused, changed());
        assert_eq!(server.changes(), Vec::<String>::new());
    }
}
