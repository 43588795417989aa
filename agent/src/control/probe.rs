//! Dials an address once, sends nothing, and tells where the connection came from.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bridge_proto::v1::ProbeReply;
use tokio::net::TcpStream;
use tonic::Status;

const DIAL: Duration = Duration::from_secs(1);

/// `address` is "address:port", never a name.
pub(super) async fn probe(address: &str) -> Result<ProbeReply, Status> {
    let address: SocketAddr = address
        .parse()
        .map_err(|_| Status::invalid_argument(format!("`{address}` is not of the form ADDRESS:PORT")))?;
    if !is_allowed(address.ip().to_canonical()) {
        return Err(Status::permission_denied(format!("{address} is no address of a Service")));
    }
    let from = match tokio::time::timeout(DIAL, TcpStream::connect(address)).await {
        Ok(connected) => connected.and_then(|stream| stream.local_addr()).map_err(|error| error.to_string()),
        Err(_) => Err(format!("no connection within {} s", DIAL.as_secs())),
    };
    Ok(match from {
        Ok(from) => ProbeReply { from: from.to_string(), failure: String::new() },
        Err(failure) => ProbeReply { from: String::new(), failure },
    })
}

/// Not what clouds keep at link-local addresses (metadata, credentials). On the pod's loopback nobody listens but we.
fn is_allowed(address: IpAddr) -> bool {
    let link_local = match address {
        IpAddr::V4(v4) => v4.is_link_local() || v4.is_broadcast(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    !(address.is_unspecified() || address.is_multicast() || link_local)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_be_a_service_is_dialled() {
        for (address, allowed) in [
            ("10.96.0.1", true),
            ("fd00::1", true),
            ("::ffff:169.254.169.254", false),
            ("0.0.0.0", false),
            ("169.254.169.254", false),
            ("fe80::1", false),
        ] {
            let parsed: IpAddr = address.parse().expect("an address");
            assert_eq!(is_allowed(parsed.to_canonical()), allowed, "{address}");
        }
    }
}
