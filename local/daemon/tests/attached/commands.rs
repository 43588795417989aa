//! Commands and their session: they use it while they run, reach the cluster through it, and show its state.

use std::net::SocketAddr;
use std::os::fd::AsFd;

use bridge_os::packets::Packets;
use bridge_proto::v1::{self, Cause, stream_request, use_event};
use prost::Message as _;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

use crate::world::{Laptop, SERVICE, SOON, World};
use crate::{ALICE, BOB, NOBODY};

#[tokio::test]
async fn a_session_lasts_as_long_as_the_command_that_asked_for_it() {
    let world = World::new().await;
    let alice = world.laptop("alice").await;
    let mut command = alice.uses(v1::WishKind::Named).await;
    let using = command.using().await;
    assert!(!using.found && using.lasting.is_none(), "{using:?}");
    assert_eq!(world.asks(ALICE).await, "alice's laptop");
    // It ends, and waits until the session has ended.
    assert!(matches!(command.ends().await, use_event::Kind::Disconnected(done) if done.restored));
    world.is_given_back();

    // A killed command announces nothing.
    let mut command = alice.uses(v1::WishKind::Named).await;
    command.using().await;
    drop(command);
    world.comes_to_be_given_back().await;
}

#[tokio::test]
async fn requests_of_a_connect_outlast_a_command_and_the_command_s_do_not() {
    let world = World::new().await;
    let alice = world.laptop("alice").await;
    let connected = alice.connects().await.unwrap();
    let mut command = alice.uses(v1::WishKind::Named).await;
    let using = command.using().await;
    assert_eq!((using.found, using.session.unwrap().id), (true, connected.id));
    assert!(using.lasting.is_some());

    // It listens elsewhere, and gets its requests there until it ends.
    let other = crate::world::answers("the command").await.port();
    command.leads_to(other).await;
    assert_eq!(command.using().await.session.unwrap().routes[0].local_port, u32::from(other));
    world.comes_to(ALICE, "the command").await;
    drop(command);
    world.comes_to(ALICE, "alice's laptop").await;

    // A disconnect ends it for all of its users.
    let mut command = alice.uses(v1::WishKind::Whatever).await;
    command.using().await;
    alice.disconnects().await.unwrap();
    match command.next().await {
        use_event::Kind::Ended(why) => assert!(why.contains("it was disconnected"), "{why}"),
        other => panic!("{other:?}"),
    }
    world.is_given_back();
}

#[tokio::test]
async fn a_service_that_cannot_be_restored_at_a_command_s_end_is_restored_as_soon_as_possible() {
    let world = World::new().await;
    let alice = world.laptop("alice").await;
    let mut command = alice.uses(v1::WishKind::Named).await;
    command.using().await;
    world.served.away(true);
    match command.ends().await {
        use_event::Kind::Failed(why) => assert_eq!(why.cause(), v1::failure::Cause::Unreachable, "{why:?}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(world.claims(), ["alice"]);
    world.served.away(false);
    world.comes_to_be_given_back().await;
}

#[tokio::test]
async fn a_command_without_a_session_learns_the_reason() {
    let world = World::new().await;
    let (alice, bob) = (world.laptop("alice").await, world.laptop("bob").await);
    alice.connects().await.unwrap();
    let the_same = v1::ConnectRequest { user: "alice".into(), ..bob.request() };
    match bob.uses_with(v1::WishKind::Named, the_same).await.next().await {
        use_event::Kind::Failed(why) => assert_eq!(why.cause(), v1::failure::Cause::Held, "{why:?}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_listener_and_the_requests_of_a_session_keep_out_of_each_other_s_way() {
    let world = World::new().await;
    let alice = world.laptop("alice").await;
    let mut command = alice.uses(v1::WishKind::Named).await;
    let port = command.using().await.session.unwrap().routes[0].local_port;
    command.listens_on(port).await;
    match command.next().await {
        use_event::Kind::Refused(why) => assert_eq!(why.cause(), v1::failure::Cause::RequestsCome, "{why:?}"),
        other => panic!("{other:?}"),
    }
    command.listens_on(1).await;
    assert!(matches!(command.next().await, use_event::Kind::Listening(_)));
}

#[tokio::test]
async fn connections_and_datagrams_go_into_the_cluster_through_an_agent() {
    let world = World::new().await;
    let alice = world.laptop("alice").await;
    let mut command = alice.uses(v1::WishKind::Network).await;
    let session = command.using().await.session.unwrap().id;

    let echo = echoes_connections().await;
    let packets = alice.packets();
    assert_eq!(dials(&packets, 1, &session, echo).await, None);
    let mut connection = carries(&packets, 1).await;
    connection.write_all(b"hello").await.unwrap();
    connection.shutdown().await.unwrap();
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer).await.unwrap();
    assert_eq!(answer, b"hello");

    // A port without a listener is refused, and so is a missing session.
    let nowhere = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    assert_eq!(dials(&packets, 2, &session, nowhere).await, Some(Cause::Refused));
    assert_eq!(dials(&packets, 3, "another", echo).await, Some(Cause::TunnelLost));

    let echo = echoes_datagrams().await;
    let datagram = |address: String, payload: &'static [u8]| v1::FlowDatagram {
        session: session.clone(),
        address,
        payload: payload.into(),
    };
    let (to_cluster_tx, to_cluster) = tokio::sync::mpsc::channel(8);
    to_cluster_tx.send(datagram(echo.to_string(), b"")).await.unwrap();
    let to_cluster = tokio_stream::wrappers::ReceiverStream::new(to_cluster);
    let mut answers = alice.daemon().await.client.flow(to_cluster).await.unwrap().into_inner();
    let mut next = async || answers.message().await.unwrap().unwrap().payload;
    assert!(next().await.is_empty(), "it is open");
    to_cluster_tx.send(datagram(String::new(), b"hello")).await.unwrap();
    assert_eq!(next().await, b"hello".as_slice());

    // All of it needs no route, and no change of the Service: the requests are everyone's.
    assert_eq!((world.asks(ALICE).await, world.asks(NOBODY).await), ("a pod".into(), "a pod".into()));
}

#[tokio::test]
async fn a_name_is_asked_again_at_the_next_agent_if_the_asked_one_is_lost() {
    let world = World::new().await;
    let alice = world.laptop("alice").await;
    let mut command = alice.uses(v1::WishKind::Network).await;
    let session = command.using().await.session.unwrap().id;

    let query: Vec<u8> =
        [&[7, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0], b"\x06orders\0\0\x01\0\x01".as_slice()].concat();
    let mut answer = query.clone();
    answer[2] |= 0x80;
    let asked = async || {
        let mut message = [0; 512];
        let asked = tokio::time::timeout(SOON, world.resolver.recv_from(&mut message)).await;
        let (length, agent) = asked.expect("an agent asks the pods' resolver").unwrap();
        assert_eq!(message[..length], query);
        agent
    };
    let request = v1::ResolveRequest { session, message: query.clone().into() };
    let mut daemon = alice.daemon().await;
    let mut resolving = std::pin::pin!(daemon.client.resolve(request));
    let answering = async {
        asked().await;
        world.node.kill_agents();
        let next = asked().await;
        world.resolver.send_to(&answer, next).await.unwrap();
    };
    tokio::select! {
        early = &mut resolving => panic!("expected it to wait for the next agent: {early:?}"),
        () = answering => {}
    }
    assert_eq!(resolving.await.unwrap().into_inner().message, answer);
}

#[tokio::test]
async fn a_command_without_requests_has_an_agent_aside_and_leaves_the_service_alone() {
    let world = World::new().await;
    let (alice, bob) = (world.laptop("alice").await, world.laptop("bob").await);
    bob.connects().await.unwrap();
    let before = world.server.get("services/orders");

    // Beside the stand-in that Bob uses.
    let mut command = alice.uses(v1::WishKind::Network).await;
    let session = command.using().await.session.unwrap();
    assert_eq!((session.mode.as_str(), session.target.as_str()), ("aside", "svc/orders"), "{session:?}");
    assert_eq!((session.state(), session.routes.len()), (v1::State::Routing, 0));
    assert_eq!(world.stand_ins().len(), 2);
    let listed = v1::ListRequest { cluster: bob.cluster() };
    let listed = bob.daemon().await.client.list(listed).await.unwrap().into_inner();
    let aside: Vec<_> =
        listed.asides.iter().map(|aside| (aside.target.as_str(), aside.user.as_str())).collect();
    assert_eq!(aside, [("svc/orders", "alice")]);
    // A second command uses the same.
    let mut second = alice.uses(v1::WishKind::Network).await;
    assert!(second.using().await.found);
    second.leaves().await;

    // What she connects meanwhile is a session of its own.
    let connected = alice.connects().await.unwrap();
    assert_eq!((connected.mode.as_str(), world.asks(ALICE).await.as_str()), ("stand-in", "alice's laptop"));
    assert!(alice.disconnects().await.is_ok());
    assert_eq!(world.asks(ALICE).await, "a pod");

    // Its end removes the agent, and nothing else.
    match command.ends().await {
        use_event::Kind::Disconnected(done) => assert!(done.restored),
        other => panic!("{other:?}"),
    }
    assert_eq!(world.stand_ins().len(), 1);
    assert_eq!(world.asks(BOB).await, "bob's laptop");
    let claims = |service: &Option<serde_json::Value>| service.as_ref().unwrap()["spec"].clone();
    assert_eq!(claims(&world.server.get("services/orders")), claims(&before));
    bob.disconnects().await.unwrap();
    world.is_given_back();
}

#[tokio::test]
async fn a_workload_without_a_service_takes_commands_and_no_connect() {
    let world = World::new().await;
    let mut alice = world.laptop("alice").await;
    world.has_a_worker();
    let worker = |request| v1::ConnectRequest { target: "deploy/worker".into(), ..request };
    let refused = alice.connects_with(worker(alice.request())).await.unwrap_err();
    assert_eq!(refused.cause(), v1::failure::Cause::NoSuchTarget);

    let mut command = alice.uses_with(v1::WishKind::Whatever, worker(alice.request())).await;
    let session = command.using().await.session.unwrap();
    assert_eq!((session.mode.as_str(), session.target.as_str()), ("aside", "deploy/worker"));
    assert!(matches!(command.ends().await, use_event::Kind::Disconnected(_)));
    assert_eq!(world.agents_aside(), Vec::<String>::new());

    // After the daemon's death, `clean` on her laptop removes the agent, and so does `clean --others` on another.
    let bob = world.laptop("bob").await;
    for others in [false, true] {
        let mut command = alice.uses_with(v1::WishKind::Network, worker(alice.request())).await;
        command.using().await;
        alice.kill_daemon();
        assert_eq!(bob.cleans(false).await, (Vec::new(), vec!["alice".to_owned()]));
        alice.start_daemon().await;
        let cleaner = if others { &bob } else { &alice };
        let (done, kept) = cleaner.cleans(others).await;
        assert_eq!((done.len(), kept.len()), (1, 0), "{done:?}");
        assert!(done[0].starts_with("deploy/worker: removed the agent of alice"), "{done:?}");
        assert_eq!(world.agents_aside(), Vec::<String>::new());
    }
}

#[tokio::test]
async fn a_session_aside_says_that_its_agent_was_removed_and_the_next_command_has_another() {
    let world = World::new().await;
    let alice = world.laptop("alice").await;
    let mut command = alice.uses(v1::WishKind::Network).await;
    let first = command.using().await.session.unwrap();
    let [agent] = world.agents_aside().try_into().unwrap();
    world.server.remove(&format!("/apis/apps/v1/namespaces/shop/deployments/{agent}"));
    alice.comes_to_be(v1::State::Reset, "the agent beside svc/orders was removed").await;
    let mut next = alice.uses(v1::WishKind::Network).await;
    let second = next.using().await.session.unwrap();
    assert_ne!(first.id, second.id);
    assert_eq!(second.state(), v1::State::Routing);
}

#[tokio::test]
async fn a_namespace_is_listed_with_its_developers_and_a_session_sees_its_services() {
    let world = World::new().await;
    let (alice, bob) = (world.laptop("alice").await, world.laptop("bob").await);
    let list = async || {
        let request = v1::ListRequest { cluster: bob.cluster() };
        let listed = bob.daemon().await.client.list(request).await.unwrap().into_inner();
        assert_eq!((listed.failed, listed.namespace.as_str()), (None, "shop"));
        assert_eq!(listed.services.len(), 1, "none of bridge's own");
        listed.services.into_iter().next().unwrap()
    };
    let before = list().await;
    assert_eq!((before.name.as_str(), before.mode.as_str()), (SERVICE, "stand-in"));
    assert_eq!(before.workloads, ["Deployment orders"]);
    assert_eq!((before.claimants.len(), before.stand_in), (0, None));

    let session = alice.connects().await.unwrap();
    let now = list().await;
    assert_eq!(now.claimants.iter().map(|claimant| claimant.user.as_str()).collect::<Vec<_>>(), ["alice"]);
    let stand_in = now.stand_in.unwrap();
    assert!(stand_in.name.ends_with(&session.stand_in) && stand_in.in_place, "{stand_in:?}");

    let query = v1::ServicesQuery { session: session.id };
    let reply = alice.daemon().await.client.services(query).await.unwrap().into_inner();
    let reached = |service: &v1::ReachableService| format!("{} {}", service.name, service.address);
    assert_eq!(reply.services.iter().map(reached).collect::<Vec<_>>(), ["orders 127.0.0.1"]);
}

#[tokio::test]
async fn an_examination_reports_what_is_wrong_and_what_works() {
    let world = World::new().await;
    let mut alice = world.laptop("alice").await;
    alice.connects().await.unwrap();
    let found = alice.examines().await;
    assert_eq!(found.len(), 7, "{found:#?}");
    assert!(found.iter().all(|check| check.contains(" OUTCOME_OK: ")), "{found:#?}");
    assert!(found[4].ends_with("1 of 1 can be connected; connected: orders (alice)"), "{found:#?}");

    // A right is missing, no agent is ready, and the daemon that held the session is gone.
    world.server.lacks("create", "deployments");
    world.node.hold(true);
    alice.kill_daemon();
    world.comes_to(ALICE, "a pod").await;
    world.node.kill_agents();
    alice.start_daemon().await;
    let found = alice.examines().await;
    let wrong: Vec<_> = found.iter().filter(|check| !check.contains(" OUTCOME_OK: ")).collect();
    assert_eq!(
        wrong,
        [
            "rights OUTCOME_FAIL: in namespace shop you may not: create deployments.apps",
            "stand-ins OUTCOME_FAIL: no agent is ready, so requests fail at: orders",
            "left behind OUTCOME_WARN: sessions of your laptop without a daemon, on orders",
        ]
    );
}

#[tokio::test]
async fn requests_are_told_with_where_they_went_and_why() {
    let world = World::new().await;
    let alice = world.laptop("alice").await;
    let session = alice.connects().await.unwrap();
    for header in [ALICE, NOBODY] {
        world.asks(header).await;
    }
    let query = v1::RequestsQuery { sessions: vec![session.id], follow: true };
    let mut answers = alice.daemon().await.client.requests(query).await.unwrap().into_inner();
    let mut seen = Vec::new();
    while seen.len() < 3 {
        seen.extend(answers.message().await.unwrap().unwrap().requests);
        if seen.len() == 2 {
            world.asks(ALICE).await;
        }
    }
    let summary = |seen: &v1::SeenByAgent| {
        let request = seen.request.clone().unwrap();
        format!("{} {} {}", seen.target, request.to_laptop, request.user)
    };
    let listed: Vec<_> = seen.iter().map(summary).collect();
    assert_eq!(listed, ["orders true alice", "orders false ", "orders true alice"]);
}

/// A TCP server that echoes.
async fn echoes_connections() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            let (mut read, mut write) = connection.split();
            let _ = tokio::io::copy(&mut read, &mut write).await;
        }
    });
    address
}

async fn echoes_datagrams() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut datagram = [0; 2048];
        while let Ok((length, from)) = socket.recv_from(&mut datagram).await {
            let _ = socket.send_to(&datagram[..length], from).await;
        }
    });
    address
}

async fn asks(packets: &Packets, id: u64, kind: stream_request::Kind, descriptor: Option<&TcpStream>) {
    let request = v1::StreamRequest { id, kind: Some(kind) };
    packets.send(&request.encode_to_vec(), descriptor.map(AsFd::as_fd)).await.unwrap();
}

/// The reason why a connection into the cluster was refused, if it was.
async fn dials(packets: &Packets, id: u64, session: &str, address: SocketAddr) -> Option<Cause> {
    let dial = v1::StreamDial { session: session.to_owned(), address: address.to_string() };
    asks(packets, id, stream_request::Kind::Dial(dial), None).await;
    let (reply, _) = packets.receive().await.unwrap().unwrap();
    let reply = v1::StreamReply::decode(reply.as_slice()).unwrap();
    assert_eq!(reply.id, id);
    reply.refused.map(|refused| refused.cause())
}

/// Passes one end of a connection of this machine, and returns the other.
async fn carries(packets: &Packets, id: u64) -> TcpStream {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let ours = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (theirs, _) = listener.accept().await.unwrap();
    asks(packets, id, stream_request::Kind::Carry(v1::StreamCarry {}), Some(&theirs)).await;
    ours
}

impl Laptop {
    fn packets(&self) -> Packets {
        Packets::connect(&self.streams_socket()).unwrap()
    }
}
