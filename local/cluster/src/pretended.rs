//! An API server for tests: a namespace with objects, which are got, listed by labels, created, patched (RFC 7396) and
//! deleted, under the preconditions that are given. It keeps what was changed.
#![allow(clippy::unwrap_used, clippy::missing_panics_doc, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use http::{Method, Request, Response, StatusCode};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tower::service_fn;

use crate::client::Cluster;

/// A clone is a handle to the same.
#[derive(Clone, Default)]
pub struct ApiServer {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    /// By path: "/api/v1/namespaces/shop/services/orders".
    objects: BTreeMap<String, Value>,
    version: u64,
    /// "DELETE secrets/payments-key"
    changes: Vec<String>,
    others: Option<Others>,
    conflicts: usize,
    away: bool,
}

/// Somebody who changes an object whenever another one is about to.
struct Others {
    times: usize,
    /// "services/orders"
    what: &'static str,
    change: Box<dyn Fn(&mut Value) + Send>,
}

impl ApiServer {
    /// With these objects, each with its path below the API: ("/api/v1/namespaces/shop/services", object).
    #[must_use]
    pub fn with(objects: impl IntoIterator<Item = (&'static str, Value)>) -> Self {
        let server = Self::default();
        for (path, object) in objects {
            let name = object["metadata"]["name"].as_str().unwrap().to_owned();
            server.inner.lock().unwrap().put(format!("{path}/{name}"), object);
        }
        server
    }

    /// One that is down.
    #[must_use]
    pub fn away() -> Self {
        let server = Self::default();
        server.inner.lock().unwrap().away = true;
        server
    }

    #[must_use]
    pub fn cluster(&self) -> Cluster {
        let server = self.clone();
        let answer = service_fn(move |request: Request<Body>| {
            let server = server.clone();
            async move { Ok::<_, Infallible>(server.answer(request).await) }
        });
        Cluster {
            client: Client::new(answer, "shop"),
            context: "dev".into(),
            namespace: "shop".into(),
            server: "https://dev.example".into(),
        }
    }

    /// The object of this kind and name ("services/orders"), as it is now.
    #[must_use]
    pub fn get(&self, what: &str) -> Option<Value> {
        let inner = self.inner.lock().unwrap();
        inner
            .objects
            .iter()
            .find(|(path, _)| path.ends_with(&format!("/{what}")))
            .map(|(_, object)| object.clone())
    }

    /// What was changed so far, in order.
    #[must_use]
    pub fn changes(&self) -> Vec<String> {
        self.inner.lock().unwrap().changes.clone()
    }

    /// Has somebody else change an object just before each of the next patches of it: so many conflicts.
    pub fn others_are_quicker(
        &self,
        times: usize,
        what: &'static str,
        change: impl Fn(&mut Value) + Send + 'static,
    ) {
        self.inner.lock().unwrap().others = Some(Others { times, what, change: Box::new(change) });
    }

    /// How many changes met with a conflict so far.
    #[must_use]
    pub fn conflicts(&self) -> usize {
        self.inner.lock().unwrap().conflicts
    }

    async fn answer(&self, request: Request<Body>) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let body = body.collect_bytes().await.unwrap();
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        let labels = label_selector(parts.uri.query().unwrap_or_default());
        self.inner.lock().unwrap().answer(&parts.method, parts.uri.path(), &labels, &body)
    }
}

impl Inner {
    fn put(&mut self, path: String, mut object: Value) -> Value {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        if object["metadata"]["uid"].is_null() {
            object["metadata"]["uid"] = json!(format!("uid-{}", self.version));
        }
        self.objects.insert(path, object.clone());
        object
    }

    fn answer(&mut self, method: &Method, path: &str, labels: &str, body: &Value) -> Response<Body> {
        if self.away {
            return failure(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable");
        }
        let kind_and_name = path.rsplitn(3, '/').take(2).collect::<Vec<_>>();
        let short = kind_and_name.iter().rev().copied().collect::<Vec<_>>().join("/");
        if *method == Method::PATCH {
            self.let_others_change(path, &short);
        }
        let there = self.objects.get(path).cloned();
        match (method, there) {
            (&Method::GET, Some(object)) => answer(StatusCode::OK, &object),
            (&Method::GET, None) if self.is_list(path) => self.list(path, labels),
            (&Method::POST, _) => {
                let path = format!("{path}/{}", body["metadata"]["name"].as_str().unwrap_or("generated"));
                if self.objects.contains_key(&path) {
                    return failure(StatusCode::CONFLICT, "AlreadyExists");
                }
                self.changes.push(format!("POST {short}"));
                answer(StatusCode::CREATED, &self.put(path, body.clone()))
            }
            (&Method::PATCH, Some(mut object)) => {
                let (meta, wanted) = (&object["metadata"], &body["metadata"]);
                if ["uid", "resourceVersion"]
                    .iter()
                    .any(|key| !wanted[key].is_null() && wanted[key] != meta[key])
                {
                    self.conflicts += 1;
                    return failure(StatusCode::CONFLICT, "Conflict");
                }
                merge(&mut object, body);
                self.changes.push(format!("PATCH {short}"));
                answer(StatusCode::OK, &self.put(path.to_owned(), object))
            }
            (&Method::DELETE, Some(object)) => {
                let uid = &body["preconditions"]["uid"];
                if !uid.is_null() && *uid != object["metadata"]["uid"] {
                    return failure(StatusCode::CONFLICT, "Conflict");
                }
                let guarded = if uid.is_null() { " without a uid" } else { "" };
                self.changes.push(format!("DELETE {short}{guarded}"));
                self.objects.remove(path);
                answer(StatusCode::OK, &json!({"kind": "Status", "status": "Success", "code": 200}))
            }
            _ => failure(StatusCode::NOT_FOUND, "NotFound"),
        }
    }

    fn let_others_change(&mut self, path: &str, short: &str) {
        let Some(others) = self.others.as_mut().filter(|others| others.what == short && others.times > 0)
        else {
            return;
        };
        others.times -= 1;
        if let Some(mut object) = self.objects.get(path).cloned() {
            (others.change)(&mut object);
            self.put(path.to_owned(), object);
        }
    }

    /// The last part of a path is a kind, and not a name.
    fn is_list(&self, path: &str) -> bool {
        path.rsplit('/').nth(1) == Some("shop")
    }

    fn list(&self, path: &str, labels: &str) -> Response<Body> {
        let has = |object: &Value, wanted: &str| {
            let label = |key: &str| object["metadata"]["labels"].get(key).and_then(Value::as_str);
            match wanted.split_once('=') {
                Some((key, value)) => label(key) == Some(value),
                None => label(wanted).is_some(),
            }
        };
        let selected =
            |object: &&Value| labels.split(',').filter(|one| !one.is_empty()).all(|one| has(object, one));
        let of_kind =
            self.objects.iter().filter(|(at, _)| at.rsplit_once('/').is_some_and(|(kind, _)| kind == path));
        let items: Vec<_> = of_kind.map(|(_, object)| object).filter(selected).collect();
        answer(StatusCode::OK, &json!({"kind": "List", "metadata": {}, "items": items}))
    }
}

/// Of a query; what occurs in label selectors is decoded.
fn label_selector(query: &str) -> String {
    let selector = query.split('&').find_map(|pair| pair.strip_prefix("labelSelector=")).unwrap_or_default();
    [("%2F", "/"), ("%2C", ","), ("%3D", "=")]
        .iter()
        .fold(selector.to_owned(), |text, (from, to)| text.replace(from, to))
}

/// RFC 7396.
pub(crate) fn merge(into: &mut Value, change: &Value) {
    let Some(change) = change.as_object() else {
        *into = change.clone();
        return;
    };
    if !into.is_object() {
        *into = json!({});
    }
    for (key, value) in change {
        if value.is_null() {
            into.as_object_mut().unwrap().remove(key);
        } else {
            merge(&mut into[key], value);
        }
    }
}

pub(crate) fn answer(status: StatusCode, body: &Value) -> Response<Body> {
    Response::builder().status(status).body(Body::from(body.to_string().into_bytes())).unwrap()
}

pub(crate) fn failure(status: StatusCode, reason: &str) -> Response<Body> {
    let code = status.as_u16();
    let body =
        json!({"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": reason});
    answer(status, &body)
}
