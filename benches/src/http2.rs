//! The smallest HTTP/2: an origin with one answer, and callers that keep a number of streams in flight.

use std::net::Ipv4Addr;

use anyhow::ensure;
use bytes::Bytes;
use h2::client::SendRequest;
use http::{Request, Response};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::load::{Answered, Callers};

const BODY: &[u8] = b"ok";
/// The length of the answer to requests with the header `large`.
const LARGE: usize = 1 << 20;

/// Answers every stream of a connection.
///
/// # Errors
///
/// The errors of the connection.
pub async fn answer(client: TcpStream) -> anyhow::Result<()> {
    let mut connection = h2::server::handshake(client).await?;
    while let Some(stream) = connection.accept().await {
        let (request, mut respond) = stream?;
        let large = request.headers().contains_key("large");
        let body = if large { Bytes::from(vec![b'x'; LARGE]) } else { Bytes::from_static(BODY) };
        let head = Response::builder().header("content-type", "text/plain").body(())?;
        respond.send_response(head, false)?.send_data(body, true)?;
    }
    Ok(())
}

/// One connection with one request after the other.
#[derive(Debug)]
pub struct Caller {
    client: SendRequest<Bytes>,
    connection: tokio::task::AbortHandle,
}

impl Caller {
    /// # Errors
    ///
    /// The errors of the connect.
    pub async fn connect(port: u16) -> anyhow::Result<Self> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
        stream.set_nodelay(true)?;
        let (client, connection) = h2::client::handshake(stream).await?;
        // It ends with the caller.
        let connection = tokio::spawn(async move { drop(connection.await) }).abort_handle();
        Ok(Self { client, connection })
    }

    /// Sends one request, and waits for the whole answer.
    ///
    /// # Errors
    ///
    /// If the answer is not the origin's.
    pub async fn ask(&mut self) -> anyhow::Result<()> {
        let client = self.client.clone().ready().await?;
        ask(client).await.map(drop)
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

/// This number of connections, each with this number of streams in flight.
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

async fn ask_one_after_the_other(client: SendRequest<Bytes>, answered: Answered) -> anyhow::Result<()> {
    let mut client = client;
    loop {
        client = ask(client.ready().await?).await?;
        answered.count();
    }
}

async fn ask(mut client: SendRequest<Bytes>) -> anyhow::Result<SendRequest<Bytes>> {
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
    Ok(client)
}
