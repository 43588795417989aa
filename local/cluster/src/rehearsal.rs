//! A cluster whose changes are only rehearsed: they are noted, later reads of the same object see them, and the API server
//! gets none of them. So a dry run takes the same steps as what it is of.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::{Method, Request, Response, StatusCode, header};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tower::service_fn;

use crate::client::Cluster;
use crate::merge::merge;

/// A change of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// "patch" or "delete"
    pub verb: &'static str,
    /// "services"
    pub resource: String,
    pub name: String,
}

/// The changes that were rehearsed. A clone is a handle to the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rehearsal(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    changes: Vec<Change>,
    /// The changed objects by their path; `None`: deleted.
    objects: BTreeMap<String, Option<Value>>,
}

/// The same cluster, for a rehearsal.
pub(crate) fn of(cluster: &Cluster) -> (Cluster, Rehearsal) {
    let rehearsal = Rehearsal::default();
    let (client, noted) = (cluster.client.clone(), rehearsal.clone());
    let service = service_fn(move |request| answer(client.clone(), noted.clone(), request));
    let client = Client::new(service, cluster.namespace.clone());
    (Cluster { client, ..cluster.clone() }, rehearsal)
}

impl Rehearsal {
    /// The changes in their order, each object once for each verb.
    pub(crate) fn changes(&self) -> Vec<Change> {
        let mut changes = Vec::new();
        for change in &self.lock().changes {
            if !changes.contains(change) {
                changes.push(change.clone());
            }
        }
        changes
    }

    fn note(&self, verb: &'static str, path: &str, object: Option<Value>) {
        let mut ends = path.rsplit('/').map(str::to_owned);
        let (name, resource) = (ends.next().unwrap_or_default(), ends.next().unwrap_or_default());
        let mut state = self.lock();
        state.changes.push(Change { verb, resource, name });
        state.objects.insert(path.to_owned(), object);
    }

    /// A changed object; `Some(None)`: deleted.
    fn object(&self, path: &str) -> Option<Option<Value>> {
        self.lock().objects.get(path).cloned()
    }

    /// No code that holds the lock can leave its data half changed, so a panic elsewhere does no harm.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn answer(
    client: Client,
    rehearsal: Rehearsal,
    request: Request<Body>,
) -> Result<Response<Body>, kube::Error> {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    match (&method, rehearsal.object(&path)) {
        (&Method::GET, None) => client.send(request).await,
        (_, Some(None)) => Ok(status(StatusCode::NOT_FOUND, "NotFound")),
        (&Method::GET, Some(Some(object))) => Ok(json_answer(StatusCode::OK, &object)),
        (&Method::PATCH, known) => {
            let mut object = match known.flatten() {
                Some(object) => object,
                None => match read(&client, &path).await? {
                    Ok(object) => object,
                    Err(failure) => return Ok(failure),
                },
            };
            let change = request.into_body().collect_bytes().await?;
            merge(&mut object, &serde_json::from_slice(&change).map_err(kube::Error::SerdeError)?);
            rehearsal.note("patch", &path, Some(object.clone()));
            Ok(json_answer(StatusCode::OK, &object))
        }
        (&Method::DELETE, _) => {
            rehearsal.note("delete", &path, None);
            Ok(status(StatusCode::OK, "Deleted"))
        }
        // A question.
        (&Method::POST, _) if path.ends_with("/selfsubjectaccessreviews") => client.send(request).await,
        // Nothing that is rehearsed creates an object.
        _ => Ok(status(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed")),
    }
}

/// An object as it is in the cluster, or the API server's answer in its place.
async fn read(client: &Client, path: &str) -> Result<Result<Value, Response<Body>>, kube::Error> {
    let request = Request::get(path).header(header::ACCEPT, "application/json").body(Body::empty());
    let answer = client.send(request.map_err(kube::Error::HttpError)?).await?;
    if !answer.status().is_success() {
        return Ok(Err(answer));
    }
    let object = answer.into_body().collect_bytes().await?;
    serde_json::from_slice(&object).map(Ok).map_err(kube::Error::SerdeError)
}

/// An answer about no object (meta/v1 Status).
fn status(code: StatusCode, reason: &str) -> Response<Body> {
    let success = if code.is_success() { "Success" } else { "Failure" };
    let body = json!({"kind": "Status", "apiVersion": "v1", "status": success, "code": code.as_u16(),
        "reason": reason, "message": reason});
    json_answer(code, &body)
}

fn json_answer(code: StatusCode, body: &Value) -> Response<Body> {
    let mut answer = Response::new(Body::from(body.to_string().into_bytes()));
    *answer.status_mut() = code;
    answer
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Service;
    use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
    use kube::{Api, ResourceExt};

    use super::*;
    use crate::pretended::ApiServer;

    #[tokio::test]
    async fn changes_are_noted_and_seen_and_none_is_made() {
        let orders = json!({"metadata": {"name": "orders", "labels": {"a": "1"}}, "spec": {}});
        let server = ApiServer::with([("/api/v1/namespaces/shop/services", orders)]);
        let (cluster, rehearsal) = of(&server.cluster());
        let api: Api<Service> = Api::namespaced(cluster.client, "shop");

        // When an object is changed twice, the second change is of the first one's result;
        for (key, value) in [("b", "2"), ("c", "3")] {
            let change = Patch::Merge(json!({"metadata": {"labels": {key: value}}}));
            let changed = api.patch("orders", &PatchParams::default(), &change).await.unwrap();
            assert_eq!(changed.labels()[key], value);
        }
        let labels: Vec<_> = api.get("orders").await.unwrap().labels().keys().cloned().collect();
        assert_eq!(labels, ["a", "b", "c"]);
        // when it is deleted, it is gone;
        api.delete("orders", &DeleteParams::default()).await.unwrap();
        assert!(api.get_opt("orders").await.unwrap().is_none());
        // and what is not there cannot be changed, nor anything created.
        let absent = api.patch("prices", &PatchParams::default(), &Patch::Merge(json!({}))).await;
        assert!(matches!(absent, Err(kube::Error::Api(status)) if status.code == 404));
        assert!(api.create(&PostParams::default(), &Service::default()).await.is_err());

        // Then the cluster is as it was.
        assert_eq!(server.changes(), Vec::<String>::new());
        assert_eq!(server.get("services/orders").unwrap()["metadata"]["labels"], json!({"a": "1"}));
        let change = |verb| Change { verb, resource: "services".into(), name: "orders".into() };
        assert_eq!(rehearsal.changes(), [change("patch"), change("delete")]);
    }
}
