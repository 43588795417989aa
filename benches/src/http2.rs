//! The smallest HTTP/2: an origin that has one answer, and callers that keep a number of streams under way.

use std::net::Ipv4Addr;

use anyhow::ensure;
use bytes::Bytes;
use http::{Request, Response};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::load::{Answered, Callers};

const BODY: &[u8] = b"ok";

/// Answers every stream of a connection.
///
/// # Errors
///
/// Those of the connection.
pub async fn answer(client: TcpStream) -> anyhow::Result<()> {
    let mut connection = h2::server::handshake(client).await?;
    while let Some(stream) = connection.accept().await {
        let (_, mut respond) = stream?;
        let head = Response::builder().header("content-type", "text/plain").body(())?;
        respond.send_response(head, false)?.send_data(Bytes::from_static(BODY), true)?;
    }
    Ok(())
}

/// So many connections, each with so many streams under way.
#[must_use]
pub fn callers(connections: usize, streams: usize, port: u16, answered: &Answered) -> Callers {
    (0..connections).map(|_| ask_for_ever(port, streams, answered.clone())).collect()
}

async fn ask_for_ever(port: u16, streams: usize, answered: Answered) -> anyhow::Result<()> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
    stream.set_nodelay(true)?;
    let (client, connection) = h2::client::handshake(stream).await?;
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { Ok(connection.await?) });
    for _ in 0..streams {
        tasks.spawn(ask_one_after_the_other(client.clone(), answered.clone()));
    }
    let failed = tasks.join_next().await;
    failed.map_or(Ok(()), |failed| failed?)
}

async fn ask_one_after_the_other(
    client: h2::client::SendRequest<Bytes>,
    answered: Answered,
) -> anyhow::Result<()> {
    let mut client = client;
    loop {
        client = client.ready().await?;
        let head = Request::get("http://orders/bench").header("accept", "*/*").body(())?;
        let (answer, _) = client.send_request(head, true)?;
        let answer = answer.await?;
        ensure!(answer.status() == 200, "{}", answer.status());
        let mut body = answer.into_body();
        let mut length = 0;
        while let Some(data) = body.data().await {
            let data = data?;
            length += data.len();
            body.flow_control().release_capacity(data.len())?;
        }
        ensure!(length == BODY.len(), "a body of {length} bytes");
        answered.count();
    }
}
