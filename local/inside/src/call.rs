//! One HTTP request from inside the cluster, and its answer.

use std::net::SocketAddr;

use bridge_proto::tunnel::Refused;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;

use crate::loopback::pair;
use crate::network::Streams;

/// The largest body of an answer.
pub const LARGEST_BODY: usize = 64 * 1024 * 1024;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    #[error("it cannot be reached from inside the cluster: {0}")]
    Refused(Refused),
    #[error("cannot carry a connection to it")]
    Local(#[from] std::io::Error),
    #[error("no HTTP/1 answer came from it")]
    Http(#[from] hyper::Error),
    #[error("its answer is larger than {} MiB", LARGEST_BODY / 1024 / 1024)]
    TooLarge,
    #[error("its answer did not come to its end: {0}")]
    Broken(String),
}

/// Sends a request (RFC 9112) on a connection of its own, and reads the whole answer.
///
/// # Errors
///
/// [`CallError`]
pub async fn send(
    streams: &Streams,
    address: SocketAddr,
    request: Request<Full<Bytes>>,
) -> Result<Response<Bytes>, CallError> {
    let dialled = streams.dial(address).await.map_err(CallError::Refused)?;
    let (near, far) = pair().await?;
    dialled.carry(&far).await?;
    drop(far);
    let (mut sender, connection) = http1::handshake(TokioIo::new(near)).await?;
    let answered = async {
        let (head, body) = sender.send_request(request).await?.into_parts();
        let body = Limited::new(body, LARGEST_BODY).collect().await.map_err(|error| {
            if error.is::<LengthLimitError>() {
                CallError::TooLarge
            } else {
                CallError::Broken(error.to_string())
            }
        })?;
        Ok(Response::from_parts(head, body.to_bytes()))
    };
    let mut connection = std::pin::pin!(connection);
    let mut answered = std::pin::pin!(answered);
    tokio::select! {
        answer = &mut answered => answer,
        // It ends with the answer; what is left is in the answer's hands.
        _ = &mut connection => answered.await,
    }
}
