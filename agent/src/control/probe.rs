//! Dials an address once, sends nothing, and tells where the connection came from.

use std::net::SocketAddr;
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
    let from = match tokio::time::timeout(DIAL, TcpStream::connect(address)).await {
        Ok(connected) => connected.and_then(|stream| stream.local_addr()).map_err(|error| error.to_string()),
        Err(_) => Err(format!("no connection within {} s", DIAL.as_secs())),
    };
    Ok(match from {
        Ok(from) => ProbeReply { from: from.to_string(), failure: String::new() },
        Err(failure) => ProbeReply { from: String::new(), failure },
    })
}
