//! Dials an address once, sends nothing, and tells where the connection came from.

use std::net::SocketAddr;
use std::time::Duration;

use bridge_proto::v1::ProbeReply;
use tokio::net::TcpStream;
use tonic::Status;

use crate::outbound::check_routed;

const DIAL: Duration = Duration::from_secs(1);

/// `address` is "address:port", never a name.
pub(super) async fn probe(address: &str) -> Result<ProbeReply, Status> {
    let address: SocketAddr = address
        .parse()
        .map_err(|_| Status::invalid_argument(format!("`{address}` is not of the form ADDRESS:PORT")))?;
    // Not what clouds keep at link-local addresses (metadata, credentials). On the pod's loopback nobody listens but we.
    check_routed(address.ip().to_canonical())
        .map_err(|_| Status::permission_denied(format!("{address} is no address of a Service")))?;
    let from = match tokio::time::timeout(DIAL, TcpStream::connect(address)).await {
        Ok(connected) => connected.and_then(|stream| stream.local_addr()).map_err(|error| error.to_string()),
        Err(_) => Err(format!("no connection within {} s", DIAL.as_secs())),
    };
    Ok(match from {
        Ok(from) => ProbeReply { from: from.to_string(), failure: String::new() },
        Err(failure) => ProbeReply { from: String::new(), failure },
    })
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    #[tokio::test]
    async fn what_is_no_address_of_a_service_is_not_dialled() {
        for address in ["[::ffff:169.254.169.254]:80", "0.0.0.0:80", "169.254.169.254:80", "[fe80::1]:80"] {
            let status = probe(address).await.expect_err("it is not dialled");
            assert_eq!(status.code(), Code::PermissionDenied, "{address}");
        }
    }
}
