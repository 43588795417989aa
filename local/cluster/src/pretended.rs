//! An API server for tests: a namespace whose objects can be read, listed and watched by labels or name, created,
//! patched (RFC 7396) and deleted, under preconditions. It records the changes. With controllers
//! ([`ApiServer::with_controllers`]) Deployments have pods.
#![allow(clippy::unwrap_used, clippy::missing_panics_doc, reason = "a test fails by panicking")]

mod controllers;
mod query;
#[cfg(feature = "pretended")]
mod served;
mod watching;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::ready;
use std::sync::{Arc, Mutex};

use http::{Method, Request, Response, StatusCode};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::sync::watch;
use tower::service_fn;

use self::query::Query;
#[cfg(feature = "pretended")]
pub use self::served::Served;
use self::watching::{Change, Lines};
use crate::client::Cluster;
use crate::merge::merge;

/// A clone is a handle to the same.
#[derive(Clone, Default)]
pub struct ApiServer {
    inner: Arc<Mutex<Inner>>,
    /// The current version, for watches.
    versions: Arc<watch::Sender<u64>>,
}

#[derive(Default)]
struct Inner {
    /// By path: "/api/v1/namespaces/shop/services/orders".
    objects: BTreeMap<String, Value>,
    version: u64,
    /// "DELETE secrets/payments-key"
    changes: Vec<String>,
    log: Vec<Change>,
    controllers: bool,
    others: Option<Others>,
    conflicts: usize,
    away: bool,
    /// Rights that nobody has: ("create", "deployments").
    lacking: Vec<(&'static str, &'static str)>,
}

/// Another client that changes an object whenever one is about to.
struct Others {
    times: usize,
    /// "services/orders"
    what: &'static str,
    change: Box<dyn Fn(&mut Value) + Send>,
}

impl ApiServer {
    /// A server with these objects, each with its path below the API: ("/api/v1/namespaces/shop/services", object).
    #[must_use]
    pub fn with(objects: impl IntoIterator<Item = (&'static str, Value)>) -> Self {
        let server = Self::default();
        for (path, object) in objects {
            let name = object["metadata"]["name"].as_str().unwrap().to_owned();
            server.inner.lock().unwrap().put(format!("{path}/{name}"), object);
        }
        server
    }

    /// A server that is down.
    #[must_use]
    pub fn away() -> Self {
        let server = Self::default();
        server.inner.lock().unwrap().away = true;
        server
    }

    /// The same server with Kubernetes' controllers.
    #[must_use]
    pub fn with_controllers(self) -> Self {
        self.inner.lock().unwrap().controllers = true;
        self
    }

    #[must_use]
    pub fn cluster(&self) -> Cluster {
        self.cluster_before(|_| ready(()))
    }

    /// A client each of whose requests first awaits `before` with its number, from 0.
    #[must_use]
    pub fn cluster_before<Before>(&self, before: impl Fn(usize) -> Before + Send + 'static) -> Cluster
    where
        Before: Future<Output = ()> + Send + 'static,
    {
        let (server, mut numbers) = (self.clone(), 0..);
        let answer = service_fn(move |request: Request<Body>| {
            let server = server.clone();
            let before = before(numbers.next().unwrap_or_default());
            async move {
                before.await;
                Ok::<_, Infallible>(server.answer(request).await)
            }
        });
        Cluster {
            client: Client::new(answer, "shop"),
            context: "dev".into(),
            namespace: "shop".into(),
            server: "https://dev.example".into(),
        }
    }

    /// The names of the objects of a kind ("pods").
    #[must_use]
    pub fn names(&self, kind: &str) -> Vec<String> {
        let inner = self.inner.lock().unwrap();
        let of_kind = inner.objects.keys().filter_map(|path| path.rsplit_once('/'));
        let of_kind = of_kind.filter(|(path, _)| path.ends_with(&format!("/{kind}")));
        of_kind.map(|(_, name)| name.to_owned()).collect()
    }

    /// All versions of an object ("services/orders") so far.
    #[must_use]
    pub fn versions_of(&self, what: &str) -> Vec<Value> {
        let inner = self.inner.lock().unwrap();
        let of_it = inner.log.iter().filter(|change| change.path.ends_with(&format!("/{what}")));
        of_it.map(|change| change.object.clone()).collect()
    }

    /// Changes an object ("services/orders") as another client.
    pub fn change(&self, what: &str, change: impl FnOnce(&mut Value)) {
        let mut inner = self.inner.lock().unwrap();
        let path = inner.objects.keys().find(|path| path.ends_with(&format!("/{what}"))).cloned().unwrap();
        let mut object = inner.objects[&path].clone();
        change(&mut object);
        inner.put(path, object);
        self.versions.send_replace(inner.version);
    }

    /// Notifies whenever an object may have changed.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.versions.subscribe()
    }

    /// Stores an object: ("/api/v1/namespaces/shop/pods/orders-1", object).
    pub fn put(&self, path: &str, object: Value) {
        let mut inner = self.inner.lock().unwrap();
        inner.put(path.to_owned(), object);
        self.versions.send_replace(inner.version);
    }

    /// Removes an object.
    pub fn remove(&self, path: &str) {
        let mut inner = self.inner.lock().unwrap();
        inner.remove(path);
        self.versions.send_replace(inner.version);
    }

    /// A pod says a line in its log.
    pub fn says(&self, pod: &str, line: &str) {
        self.put(&format!("/api/v1/namespaces/shop/pods/{pod}/log"), json!({"line": line}));
    }

    /// All objects of a kind: "/api/v1/namespaces/shop/pods".
    #[must_use]
    pub fn all(&self, kind: &str) -> Vec<Value> {
        let inner = self.inner.lock().unwrap();
        let is_of_kind = |at: &str| at.rsplit_once('/').is_some_and(|(of, _)| of == kind);
        inner.objects.iter().filter(|(at, _)| is_of_kind(at)).map(|(_, object)| object.clone()).collect()
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

    /// The changes so far, in order.
    #[must_use]
    pub fn changes(&self) -> Vec<String> {
        self.inner.lock().unwrap().changes.clone()
    }

    /// Changes an object as another client just before each of the next patches of it: as many conflicts.
    pub fn others_are_quicker(
        &self,
        times: usize,
        what: &'static str,
        change: impl Fn(&mut Value) + Send + 'static,
    ) {
        self.inner.lock().unwrap().others = Some(Others { times, what, change: Box::new(change) });
    }

    /// The number of changes so far that met with a conflict.
    #[must_use]
    pub fn conflicts(&self) -> usize {
        self.inner.lock().unwrap().conflicts
    }

    /// Takes this right from all users, in answers about rights: ("create", "deployments").
    pub fn lacks(&self, verb: &'static str, resource: &'static str) {
        self.inner.lock().unwrap().lacking.push((verb, resource));
    }

    async fn answer(&self, request: Request<Body>) -> Response<Lines> {
        let (parts, body) = request.into_parts();
        let body = body.collect_bytes().await.unwrap();
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        let (path, query) = (parts.uri.path(), Query::of(parts.uri.query().unwrap_or_default()));
        if path.ends_with("/log") {
            let (server, path) = (self.clone(), path.to_owned());
            let look = move |since| server.said(since, &path);
            return Response::new(match query.follows {
                true => Lines::of(self.versions.subscribe(), 0, look),
                false => Lines::whole(look(0).0.into()),
            });
        }
        if query.watches {
            let (server, path, since) = (self.clone(), path.to_owned(), query.version);
            let look = move |since| server.changed(since, &path, &query);
            return Response::new(Lines::of(self.versions.subscribe(), since, look));
        }
        let answer = {
            let mut inner = self.inner.lock().unwrap();
            let answer = inner.answer(&parts.method, path, &query, &body);
            self.versions.send_replace(inner.version);
            answer
        };
        let (parts, body) = answer.into_parts();
        Response::from_parts(parts, Lines::whole(body.collect_bytes().await.unwrap()))
    }

    /// The lines of a watch, and the version up to which they go.
    fn changed(&self, since: u64, path: &str, query: &Query) -> (String, u64) {
        let inner = self.inner.lock().unwrap();
        let of_kind = inner.log.iter().filter(|change| {
            change.version > since && change.path.rsplit_once('/').is_some_and(|(kind, _)| kind == path)
        });
        let lines = of_kind.filter(|change| query.selects(&change.object)).map(Change::line).collect();
        (lines, inner.version)
    }

    /// The lines of a log, and up to which version.
    fn said(&self, since: u64, path: &str) -> (String, u64) {
        let inner = self.inner.lock().unwrap();
        let said = inner.log.iter().filter(|change| change.version > since && change.path == path);
        let lines = said.map(|change| format!("{}\n", change.object["line"].as_str().unwrap()));
        (lines.collect(), inner.version)
    }
}

impl Inner {
    fn put(&mut self, path: String, mut object: Value) -> Value {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        if object["metadata"]["uid"].is_null() {
            object["metadata"]["uid"] = json!(format!("uid-{}", self.version));
        }
        let before = self.objects.insert(path.clone(), object.clone());
        let kind = if before.is_some() { "MODIFIED" } else { "ADDED" };
        self.log.push(Change { version: self.version, kind, path, object: object.clone() });
        object
    }

    fn create(&mut self, path: String, mut object: Value) -> Value {
        if path.contains("/services/") && object["spec"]["clusterIP"].is_null() {
            // Nothing that dials it leaves this machine.
            object["spec"]["clusterIP"] = json!("127.0.0.1");
        }
        let is_deployment = path.contains("/deployments/");
        let created = self.put(path, object);
        if self.controllers && is_deployment {
            self.roll_out(&created);
        }
        created
    }

    fn delete(&mut self, path: &str) {
        self.remove(path);
        if self.controllers {
            self.collect_garbage();
        }
    }

    fn remove(&mut self, path: &str) {
        if let Some(mut object) = self.objects.remove(path) {
            self.version += 1;
            object["metadata"]["resourceVersion"] = json!(self.version.to_string());
            let path = path.to_owned();
            self.log.push(Change { version: self.version, kind: "DELETED", path, object });
        }
    }

    fn answer(&mut self, method: &Method, path: &str, query: &Query, body: &Value) -> Response<Body> {
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
            (&Method::GET, None) if self.is_list(path) => self.list(path, query),
            (&Method::POST, _) if path.ends_with("/selfsubjectaccessreviews") => {
                let asked = &body["spec"]["resourceAttributes"];
                let is =
                    |lacking: &(&str, &str)| asked["verb"] == lacking.0 && asked["resource"] == lacking.1;
                let mut review = body.clone();
                review["status"] = json!({"allowed": !self.lacking.iter().any(is)});
                answer(StatusCode::CREATED, &review)
            }
            (&Method::POST, _) => {
                let path = format!("{path}/{}", body["metadata"]["name"].as_str().unwrap_or("generated"));
                if self.objects.contains_key(&path) {
                    return failure(StatusCode::CONFLICT, "AlreadyExists");
                }
                self.changes.push(format!("POST {short}"));
                answer(StatusCode::CREATED, &self.create(path, body.clone()))
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
                let replicas = object["spec"]["replicas"].clone();
                merge(&mut object, body);
                self.changes.push(format!("PATCH {short}"));
                let is_scaled = path.contains("/deployments/") && object["spec"]["replicas"] != replicas;
                let patched = self.put(path.to_owned(), object);
                if self.controllers && is_scaled {
                    self.scale(path, &patched);
                }
                answer(StatusCode::OK, &patched)
            }
            (&Method::DELETE, Some(object)) => {
                let uid = &body["preconditions"]["uid"];
                if !uid.is_null() && *uid != object["metadata"]["uid"] {
                    return failure(StatusCode::CONFLICT, "Conflict");
                }
                let guarded = if uid.is_null() { " without a uid" } else { "" };
                self.changes.push(format!("DELETE {short}{guarded}"));
                self.delete(path);
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

    /// Whether the last part of a path is a kind, and not a name.
    fn is_list(&self, path: &str) -> bool {
        path.rsplit('/').nth(1) == Some("shop")
    }

    fn list(&self, path: &str, query: &Query) -> Response<Body> {
        let of_kind =
            self.objects.iter().filter(|(at, _)| at.rsplit_once('/').is_some_and(|(kind, _)| kind == path));
        let items: Vec<_> =
            of_kind.map(|(_, object)| object).filter(|object| query.selects(object)).collect();
        let version = self.version.to_string();
        answer(
            StatusCode::OK,
            &json!({"kind": "List", "metadata": {"resourceVersion": version}, "items": items}),
        )
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
