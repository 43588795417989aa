//! Dials an address once, sends nothing, and reports the connection's source address.

use std::io;
use std::time::Duration;

use bridge_proto::v1::ProbeReply;
use tokio::net::TcpStream;
use tonic::Status;

use super::Outbound;
use super::allowed::status;
use crate::session::{Session, share};

const DIAL: Duration = Duration::from_secs(1);

/// `address` is "address:port", never a name.
pub(crate) async fn probe(
    outbound: &Outbound,
    session: &Session,
    address: &str,
) -> Result<ProbeReply, Status> {
    let _place = session.outbound.begin(1).ok_or_else(|| Status::resource_exhausted(share::FULL))?;
    let to = outbound.allowed.check(address).map_err(status)?;
    let failed = |error: io::Error| ProbeReply { from: String::new(), failure: error.to_string() };
    let connected = match tokio::time::timeout(DIAL, TcpStream::connect(to)).await {
        Ok(connected) => connected.and_then(|stream| stream.local_addr()),
        Err(_) => {
            let failure = format!("no connection within {} s", DIAL.as_secs());
            return Ok(ProbeReply { from: String::new(), failure });
        }
    };
    let from = match connected {
        Ok(from) => from,
        Err(error) => return Ok(failed(error)),
    };
    outbound.allowed.check_connected(from.ip().to_canonical(), to.ip()).map_err(status)?;
    Ok(ProbeReply { from: from.to_string(), failure: String::new() })
}
