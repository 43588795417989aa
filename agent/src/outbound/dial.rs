//! Outbound TCP: connects to a daemon's destination, and carries the bytes.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bridge_proto::tunnel::{FrameSender, carry, offered};
use bridge_proto::v1::{Cause, Frame};
use tokio::net::TcpStream;
use tonic::Streaming;

use super::Outbound;
use super::allowed::Forbidden;
use crate::session::{Session, share};

/// The system would wait for minutes for a host that does not answer.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);

/// Serves one call of a session until its stream has ended.
pub(crate) async fn dial(
    outbound: &Outbound,
    session: Arc<Session>,
    incoming: Streaming<Frame>,
    outgoing: FrameSender,
) {
    let incoming = session.while_it_lives(incoming);
    let room = session.budget.begin(share::STREAM).zip(session.outbound.begin(1));
    let (memory, place) = room.unzip();
    let memory = memory.unwrap_or_else(|| session.budget.nothing());
    // A call that ended before its first message wants nothing.
    let Ok(Some(wanted)) = offered(incoming, outgoing, memory).await else { return };
    let Some(_place) = place else {
        let _ = wanted.refuse(Cause::NoRoom, share::FULL).await;
        return;
    };
    match connect(outbound, &wanted.open.address).await {
        Ok(connection) => {
            if let Ok(stream) = wanted.accept().await {
                carry(connection, stream).await;
            }
        }
        // A refusal that cannot be sent means that the tunnel is gone, and its reader with it.
        Err((cause, detail)) => drop(wanted.refuse(cause, detail).await),
    }
}

async fn connect(outbound: &Outbound, address: &str) -> Result<TcpStream, (Cause, String)> {
    let forbidden = |why: Forbidden| (cause(&why), why.to_string());
    let to = outbound.allowed.check(address).map_err(forbidden)?;
    let connected = tokio::time::timeout(CONNECT_WITHIN, TcpStream::connect(to)).await;
    let failed = |error: io::Error| (Cause::of_dial(&error), error.to_string());
    let connection = connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())).map_err(failed)?;
    let from = connection.local_addr().map_err(failed)?;
    outbound.allowed.check_connected(from.ip().to_canonical(), to.ip()).map_err(forbidden)?;
    connection.set_nodelay(true).map_err(failed)?;
    Ok(connection)
}

fn cause(why: &Forbidden) -> Cause {
    match why {
        Forbidden::NoAddress(_) => Cause::Protocol,
        _ => Cause::Forbidden,
    }
}
