//! An agent that speaks the protocol correctly, knows the stand-in's key, and offers the laptop everything that could
//! harm it. Other requests it treats as an agent does: they go to the origin.
//!
//! It takes an agent's arguments, and two variables: HOSTILE_MARK is a file on the laptop that must never appear,
//! HOSTILE_PORT a port of the laptop to which no route leads.

mod offers;

use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bridge_proto::proof::{self, Handshake, LENGTH};
use bridge_proto::v1::agent_server::{Agent, AgentServer};
use bridge_proto::v1::{
    Alive, Arrival, ArrivalsRequest, ChallengeReply, ChallengeRequest, Datagram, DnsMessage, FilesReply,
    FilesRequest, Frame, FromAgent, FromDaemon, Open, OpenReply, OpenRequest, Opened, ProbeReply,
    ProbeRequest, RequestsRequest, RequestsSeen, Routed, SurroundingsReply, SurroundingsRequest, frame,
    from_agent, from_daemon,
};
use bridge_proto::version;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{broadcast, mpsc};
use tokio_stream::wrappers::{BroadcastStream, ReceiverStream, TcpListenerStream};
use tokio_stream::{Stream, StreamExt as _};
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;
type Failure = Box<dyn std::error::Error>;

struct Hostile {
    pod: String,
    key_file: String,
    /// The nonces of the last challenge: there is one daemon.
    nonces: Mutex<(Vec<u8>, [u8; LENGTH])>,
    session: Mutex<String>,
    arrivals: broadcast::Sender<Arrival>,
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let args = Arguments::parse()?;
    let (arrivals, _) = broadcast::channel(1024);
    for (port, origin) in args.forward {
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await?;
        tokio::spawn(forward(listener, port, origin, arrivals.clone()));
    }
    tokio::spawn(is_ready(TcpListener::bind((Ipv4Addr::UNSPECIFIED, args.readiness)).await?));
    let hostile = Hostile {
        pod: args.name,
        key_file: args.key_file,
        nonces: Mutex::default(),
        session: Mutex::default(),
        arrivals,
    };
    let control = TcpListener::bind((Ipv4Addr::LOCALHOST, args.control)).await?;
    let server = Server::builder().add_service(AgentServer::new(hostile));
    Ok(server.serve_with_incoming(TcpListenerStream::new(control)).await?)
}

struct Arguments {
    forward: Vec<(u16, SocketAddr)>,
    control: u16,
    readiness: u16,
    key_file: String,
    name: String,
}

impl Arguments {
    fn parse() -> Result<Self, Failure> {
        let args: Vec<String> = std::env::args().skip(1).collect();
        let all = |option: &'static str| {
            let pairs = args.windows(2).filter(move |pair| pair[0] == option);
            pairs.map(|pair| pair[1].clone()).collect::<Vec<_>>()
        };
        let one = |option| all(option).pop().ok_or_else(|| format!("{option} is missing"));
        let mut forward = Vec::new();
        for pair in all("--forward") {
            let (port, origin) = pair.split_once('=').ok_or("--forward PORT=ADDRESS:PORT")?;
            forward.push((port.parse()?, origin.parse()?));
        }
        Ok(Self {
            forward,
            control: one("--control")?.parse()?,
            readiness: one("--readiness")?.parse()?,
            key_file: one("--key-file")?,
            name: one("--name")?,
        })
    }
}

async fn forward(listener: TcpListener, port: u16, origin: SocketAddr, arrivals: broadcast::Sender<Arrival>) {
    while let Ok((mut caller, peer)) = listener.accept().await {
        // Nobody may be listening.
        let _ = arrivals.send(Arrival { peer: peer.to_string(), target_port: port.into() });
        tokio::spawn(async move {
            if let Ok(mut origin) = TcpStream::connect(origin).await {
                // Either may end it.
                let _ = copy_bidirectional(&mut caller, &mut origin).await;
            }
        });
    }
}

async fn is_ready(listener: TcpListener) {
    while let Ok((mut kubelet, _)) = listener.accept().await {
        tokio::spawn(async move {
            let _ = kubelet.read(&mut [0; 1024]).await;
            let _ =
                kubelet.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await;
        });
    }
}

/// All of these, and then nothing more, for as long as the call lasts.
fn answers<T: Send + 'static>(all: Vec<T>) -> Response<Answers<T>> {
    let all = tokio_stream::iter(all.into_iter().map(Ok));
    Response::new(Box::pin(all.chain(tokio_stream::pending())))
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[tonic::async_trait]
impl Agent for Hostile {
    type AttendStream = Answers<FromAgent>;
    type AcceptStream = Answers<Frame>;
    type DialStream = Answers<Frame>;
    type FlowStream = Answers<Datagram>;
    type FilesStream = Answers<FilesReply>;
    type ArrivalsStream = Answers<Arrival>;
    type RequestsStream = Answers<RequestsSeen>;

    async fn challenge(
        &self,
        request: Request<ChallengeRequest>,
    ) -> Result<Response<ChallengeReply>, Status> {
        let key = tokio::fs::read(&self.key_file).await?;
        let (daemon, agent) = (request.into_inner().nonce, rand::random::<[u8; LENGTH]>());
        let handshake = Handshake { daemon_nonce: &daemon, agent_nonce: &agent, pod: &self.pod };
        let proof = proof::of_agent(&key, handshake).to_vec();
        *locked(&self.nonces) = (daemon, agent);
        let version = Some(version::ours());
        Ok(Response::new(ChallengeReply { version, nonce: agent.to_vec(), agent: self.pod.clone(), proof }))
    }

    async fn open(&self, request: Request<OpenRequest>) -> Result<Response<OpenReply>, Status> {
        *locked(&self.session) = request.into_inner().session.unwrap_or_default().id;
        Ok(Response::new(OpenReply { version: Some(version::ours()), token: "token".to_owned() }))
    }

    async fn attend(
        &self,
        request: Request<Streaming<FromDaemon>>,
    ) -> Result<Response<Self::AttendStream>, Status> {
        let (said_tx, said_rx) = mpsc::channel(16);
        let mut heard = request.into_inner();
        tokio::spawn(async move {
            let mut every = tokio::time::interval(Duration::from_secs(1));
            loop {
                let kind = tokio::select! {
                    _ = every.tick() => from_agent::Kind::Alive(Alive {}),
                    message = heard.message() => match message {
                        Ok(Some(FromDaemon { kind: Some(from_daemon::Kind::Routes(routes)) })) => {
                            from_agent::Kind::Routed(Routed { revision: routes.revision, refused: String::new() })
                        }
                        Ok(Some(_)) => continue,
                        _ => return,
                    },
                };
                if said_tx.send(Ok(FromAgent { kind: Some(kind) })).await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(said_rx))))
    }

    /// Asks for a port of the laptop that no route names, on as many calls as the daemon makes.
    async fn accept(&self, call: Request<Streaming<Frame>>) -> Result<Response<Self::AcceptStream>, Status> {
        // Unread answers would end the connection.
        let mut heard = call.into_inner();
        tokio::spawn(async move { while let Ok(Some(_)) = heard.message().await {} });
        Ok(answers(offers::opens(&locked(&self.session))))
    }

    async fn dial(&self, _: Request<Streaming<Frame>>) -> Result<Response<Self::DialStream>, Status> {
        Ok(answers(vec![Frame { kind: Some(frame::Kind::Opened(Opened {})) }]))
    }

    async fn flow(&self, _: Request<Streaming<Datagram>>) -> Result<Response<Self::FlowStream>, Status> {
        Ok(answers(vec![
            Datagram::default(),
            Datagram { payload: vec![0; 60_000].into(), ..Datagram::default() },
        ]))
    }

    async fn resolve(&self, question: Request<DnsMessage>) -> Result<Response<DnsMessage>, Status> {
        Ok(Response::new(DnsMessage { message: offers::dns(&question.into_inner().message).into() }))
    }

    async fn surroundings(
        &self,
        _: Request<SurroundingsRequest>,
    ) -> Result<Response<SurroundingsReply>, Status> {
        Ok(Response::new(offers::surroundings()))
    }

    async fn files(&self, _: Request<FilesRequest>) -> Result<Response<Self::FilesStream>, Status> {
        Ok(answers(offers::files()))
    }

    async fn arrivals(&self, _: Request<ArrivalsRequest>) -> Result<Response<Self::ArrivalsStream>, Status> {
        let arrivals = BroadcastStream::new(self.arrivals.subscribe());
        Ok(Response::new(Box::pin(arrivals.filter_map(Result::ok).map(Ok))))
    }

    async fn requests(&self, _: Request<RequestsRequest>) -> Result<Response<Self::RequestsStream>, Status> {
        Ok(answers(offers::requests()))
    }

    async fn probe(&self, request: Request<ProbeRequest>) -> Result<Response<ProbeReply>, Status> {
        let stream = TcpStream::connect(request.into_inner().address).await?;
        Ok(Response::new(ProbeReply { from: stream.local_addr()?.to_string(), failure: String::new() }))
    }
}

/// A request to be led there.
fn to(session: &str, target_port: u32, local_port: u32) -> Frame {
    let open = Open {
        session: session.to_owned(),
        target_port,
        local_port,
        peer: "10.0.0.1:1".to_owned(),
        address: format!("127.0.0.1:{local_port}"),
    };
    Frame { kind: Some(frame::Kind::Open(open)) }
}
