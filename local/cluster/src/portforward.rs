//! Kubernetes' port-forward as one connection of bytes: full duplex, with back-pressure.
//!
//! There are two ways to ask for it. By SPDY, API server and kubelet hand the bytes on as they come, and the container
//! runtime reads and writes frames. By WebSocket, the runtime makes and takes apart messages, at several times the cost; it
//! is for what does not let SPDY through. Neither knows a half-close that the runtimes heed: what runs over it must.
//!
//! Each frame or message costs a hand-over in API server, kubelet and container runtime, and a write to the pod. So what is
//! written in several pieces goes as one.

mod channels;
mod frames;
mod spdy;
mod websocket;

use http::{Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::either::Either;

use self::spdy::Spdy;
use self::websocket::WebSocket;
use crate::client::Cluster;
use crate::error::{Call, ClusterError};

/// Opens a connection to a port on the loopback of a pod.
///
/// # Errors
///
/// [`ClusterError`] for what the API server refuses. That nothing listens in the pod shows later, at the first read.
pub async fn open(
    cluster: &Cluster,
    pod: &str,
    port: u16,
) -> Result<impl AsyncRead + AsyncWrite + Send + Unpin + use<>, ClusterError> {
    match by_spdy(cluster, pod, port).await? {
        Some(connection) => Ok(Either::Left(connection)),
        None => Ok(Either::Right(by_websocket(cluster, pod, port).await?)),
    }
}

/// `None` if it was answered with anything but that protocol: why, the other way tells.
async fn by_spdy(
    cluster: &Cluster,
    pod: &str,
    port: u16,
) -> Result<Option<Spdy<impl AsyncRead + AsyncWrite + Send + Unpin + use<>>>, ClusterError> {
    const PROTOCOL: &str = "SPDY/3.1";
    let namespace = &cluster.namespace;
    let asked = async {
        let request = Request::post(path(namespace, pod))
            .header(header::CONNECTION, "Upgrade")
            .header(header::UPGRADE, PROTOCOL)
            .header("x-stream-protocol-version", "portforward.k8s.io")
            .body(Vec::new().into())
            .map_err(kube::Error::HttpError)?;
        cluster.client.send(request).await
    };
    let answer = cluster.call(Call::new("create", RESOURCE, namespace, pod), asked).await?;
    let upgrade = answer.headers().get(header::UPGRADE);
    let switched = answer.status() == StatusCode::SWITCHING_PROTOCOLS
        && upgrade.is_some_and(|protocol| protocol.as_bytes().eq_ignore_ascii_case(PROTOCOL.as_bytes()));
    if !switched {
        tracing::debug!(pod, status = %answer.status(), "no port-forward by SPDY");
        return Ok(None);
    }
    match hyper::upgrade::on(answer).await {
        Ok(connection) => Ok(Some(Spdy::new(TokioIo::new(connection), port))),
        Err(error) => {
            tracing::debug!(pod, %error, "no port-forward by SPDY");
            Ok(None)
        }
    }
}

async fn by_websocket(
    cluster: &Cluster,
    pod: &str,
    port: u16,
) -> Result<WebSocket<impl AsyncRead + AsyncWrite + Send + Unpin + use<>>, ClusterError> {
    let namespace = &cluster.namespace;
    let asked = async {
        let request = Request::get(format!("{}?ports={port}", path(namespace, pod)));
        let request = request.body(Vec::new()).map_err(kube::Error::HttpError)?;
        cluster.client.connect(request).await
    };
    let connection = cluster.call(Call::new("get", RESOURCE, namespace, pod), asked).await?;
    Ok(WebSocket::over(connection.into_stream().into_inner()).await)
}

const RESOURCE: &str = "pods/portforward";

fn path(namespace: &str, pod: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/pods/{pod}/portforward")
}
