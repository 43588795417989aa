//! An agent's volumes and the files of this machine, over loopback.

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use bridge_agent::{Agent, Config, Forward, Outward};
use bridge_proto::proof::{self, Opening};
use bridge_proto::v1::agent_client::AgentClient;
use bridge_proto::v1::{Alive, FilesRequest, FromDaemon, Session, from_daemon};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Request, Streaming};

use super::*;

const KEY: &[u8] = b"key";
const POD: &str = "agent-1";
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// An agent whose container has one volume, a session at it, and a runtime directory.
struct World {
    _agent: Agent,
    _key: tempfile::NamedTempFile,
    channel: Channel,
    client: AgentClient<Channel>,
    session: OfAlice,
    volume: TempDir,
    runtime: TempDir,
}

/// The agent itself, without a daemon between.
#[derive(Clone)]
struct FromAgent {
    client: AgentClient<Channel>,
    token: Arc<Mutex<String>>,
}

impl Teller for FromAgent {
    type Replies = Streaming<FilesReply>;

    async fn tell(&self) -> Result<Streaming<FilesReply>, Status> {
        let token = self.token.lock().unwrap().clone();
        let request = with_token(FilesRequest { follow: true }, &token);
        Ok(self.client.clone().files(request).await?.into_inner())
    }
}

/// Alice's session. It ends when dropped.
struct OfAlice {
    token: String,
    _attending: JoinSet<()>,
}

impl OfAlice {
    async fn open(channel: Channel, id: &str) -> Self {
        let session = Session { id: id.to_owned(), user: "alice".to_owned(), since_ms: 1 };
        let (nonce, secret) = (rand::random(), &rand::random());
        let opening = Opening { key: KEY, pod: POD, nonce, session: &session, secret };
        let token = proof::open(channel.clone(), opening).await.unwrap().token;
        let mut client = AgentClient::new(channel);
        let (alive_tx, alive_rx) = mpsc::channel(1);
        let call = with_token(ReceiverStream::new(alive_rx), &token);
        let mut heard = client.attend(call).await.unwrap().into_inner();
        let mut attending = JoinSet::new();
        attending.spawn(async move { while let Ok(Some(_)) = heard.message().await {} });
        attending.spawn(async move {
            let alive = FromDaemon { kind: Some(from_daemon::Kind::Alive(Alive {})) };
            while alive_tx.send(alive.clone()).await.is_ok() {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        });
        Self { token, _attending: attending }
    }
}

fn with_token<T>(message: T, token: &str) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("x-bridge-token", token.parse().unwrap());
    request
}

impl World {
    /// With volumes of these paths, in addition to the world's own.
    async fn with(more: &[&Path]) -> Self {
        let volume = tempfile::tempdir().unwrap();
        let key = tempfile::NamedTempFile::new().unwrap();
        fs::write(key.path(), KEY).unwrap();
        let mut volumes: Vec<PathBuf> = more.iter().map(|path| path.to_path_buf()).collect();
        volumes.push(volume.path().to_owned());
        let agent = Agent::start(Config {
            forward: vec![Forward { listen: 0, origin: "127.0.0.1:1".parse().unwrap() }],
            control: 0,
            readiness: 0,
            metrics: None,
            key_file: key.path().to_owned(),
            name: POD.to_owned(),
            restore: None,
            memory: None,
            outward: Outward { volumes, ..Outward::default() },
        });
        let agent = agent.await.unwrap();
        let address = Channel::from_shared(format!("http://127.0.0.1:{}", agent.control)).unwrap();
        let channel = address.connect().await.unwrap();
        let client = AgentClient::new(channel.clone());
        let session = OfAlice::open(channel.clone(), "1").await;
        let runtime = tempfile::tempdir().unwrap();
        Self { _agent: agent, _key: key, channel, client, session, volume, runtime }
    }

    fn teller(&self) -> FromAgent {
        let token = Arc::new(Mutex::new(self.session.token.clone()));
        FromAgent { client: self.client.clone(), token }
    }

    async fn fetch(&self) -> Option<Files> {
        Files::fetch(self.teller(), self.runtime.path(), |error| panic!("{error}")).await.unwrap()
    }

    /// The path on this machine of a path of the volume.
    fn here(&self, files: &Files, path: &str) -> PathBuf {
        files.root().join(self.volume.path().strip_prefix("/").unwrap()).join(path)
    }

    /// Writes the Secret as the kubelet does, at first and whenever it has changed.
    fn rotate(&self, generation: &str) {
        let at = |name: &str| self.volume.path().join(name);
        fs::create_dir(at(generation)).unwrap();
        fs::write(at(generation).join("token"), generation).unwrap();
        let before = fs::read_link(at("..data"));
        symlink(generation, at("..data_tmp")).unwrap();
        fs::rename(at("..data_tmp"), at("..data")).unwrap();
        match before {
            Ok(before) => fs::remove_dir_all(at(before.to_str().unwrap())).unwrap(),
            Err(_) => symlink("..data/token", at("token")).unwrap(),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_sees_one_whole_token_after_the_other_while_they_rotate() {
    // Given a token that is mounted, and a command that reads it all the time.
    let world = World::with(&[]).await;
    world.rotate("..first");
    let files = world.fetch().await.expect("a volume");
    assert_eq!(files.left_out(), []);
    let (path, done) = (world.here(&files, "token"), Arc::new(AtomicBool::new(false)));
    let seen = Arc::new(Mutex::new(Vec::new()));
    let reader = tokio::task::spawn_blocking({
        let (path, done, seen) = (path.clone(), done.clone(), seen.clone());
        move || {
            while !done.load(Ordering::Relaxed) {
                let token = fs::read_to_string(&path).expect("it is always there");
                let mut seen = seen.lock().unwrap();
                if seen.last() != Some(&token) {
                    seen.push(token);
                }
            }
        }
    });

    // When it rotates,
    for generation in ["..second", "..third"] {
        world.rotate(generation);
        // then it comes to be seen,
        let within = Instant::now() + Duration::from_secs(10);
        while seen.lock().unwrap().last().map(String::as_str) != Some(generation) {
            assert!(Instant::now() < within && !reader.is_finished(), "{:?}", seen.lock().unwrap());
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }
    done.store(true, Ordering::Relaxed);
    reader.await.expect("it never failed to read");
    // and nothing else ever was.
    assert_eq!(*seen.lock().unwrap(), ["..first", "..second", "..third"]);

    // When the command ends, nothing is left.
    files.remove().await;
    assert_eq!(fs::read_dir(world.runtime.path()).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_was_cut_off_is_resumed() {
    let mut world = World::with(&[]).await;
    world.rotate("..first");
    let teller = world.teller();
    let files = Files::fetch(teller.clone(), world.runtime.path(), |error| panic!("{error}")).await;
    let files = files.unwrap().expect("a volume");

    // When the session ends, and another takes its place,
    let another = OfAlice::open(world.channel.clone(), "2").await;
    *teller.token.lock().unwrap() = another.token.clone();
    world.session = another;
    world.rotate("..second");

    // then its agent sends the changes.
    let path = world.here(&files, "token");
    let within = Instant::now() + Duration::from_secs(10);
    while fs::read_to_string(&path).expect("it is always there") != "..second" {
        assert!(Instant::now() < within, "expected the second token by now");
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    files.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn links_and_modes_are_kept_and_omitted_files_are_named() {
    use std::os::unix::fs::PermissionsExt;
    let (mounted, huge) = (tempfile::tempdir().unwrap(), tempfile::NamedTempFile::new().unwrap());
    fs::create_dir(mounted.path().join("bin")).unwrap();
    fs::write(mounted.path().join("bin/tool"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(mounted.path().join("bin/tool"), fs::Permissions::from_mode(0o4755)).unwrap();
    symlink("bin/tool", mounted.path().join("in")).unwrap();
    huge.as_file().set_len(bridge_proto::files::MAX_BYTES + 1).unwrap();
    let world = World::with(&[mounted.path(), huge.path()]).await;

    let files = world.fetch().await.expect("volumes");
    let here = |path: &str| files.root().join(mounted.path().strip_prefix("/").unwrap()).join(path);
    assert_eq!(fs::read_to_string(here("bin/tool")).unwrap(), "#!/bin/sh\n");
    assert_eq!(fs::metadata(here("bin/tool")).unwrap().permissions().mode() & 0o7777, 0o755);
    assert_eq!(fs::read_link(here("in")).unwrap(), Path::new("bin/tool"));
    let left_out: Vec<_> = files.left_out().iter().map(|left| PathBuf::from(text(&left.path))).collect();
    assert_eq!(left_out, [huge.path()]);
    assert!(!files.root().join(huge.path().strip_prefix("/").unwrap()).exists());
    files.remove().await;
}

fn text(path: &[u8]) -> String {
    String::from_utf8(path.to_vec()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn without_volumes_there_is_nothing() {
    let world = World::with(&[]).await;
    fs::remove_dir(world.volume.path()).unwrap();
    assert!(world.fetch().await.is_none());
    assert_eq!(fs::read_dir(world.runtime.path()).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_stream_is_refused_nothing_is_left() {
    let world = World::with(&[]).await;
    let teller = FromAgent { token: Arc::new(Mutex::new("guessed".to_owned())), ..world.teller() };
    let refused = Files::fetch(teller, world.runtime.path(), |_| {}).await;
    assert!(matches!(refused, Err(FilesError::Answered(_))));
    assert_eq!(fs::read_dir(world.runtime.path()).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_a_hostile_volume_leads_out_of_it_or_takes_a_place_of_this_machine() {
    use std::os::unix::fs::PermissionsExt;
    // Given a volume in the user's working directory, with everything that a volume can have,
    let folder = std::env::current_dir().unwrap();
    let (hostile, outside) = (tempfile::tempdir_in(&folder).unwrap(), tempfile::tempdir().unwrap());
    let secret = outside.path().join("id_ed25519");
    fs::write(&secret, "secret").unwrap();
    let at = |name: &str| hostile.path().join(name);
    symlink(&secret, at("absolute")).unwrap();
    symlink("../../../../../../../../etc/passwd", at("upwards")).unwrap();
    fs::create_dir(at("d")).unwrap();
    symlink("..", at("d/up")).unwrap();
    symlink("up/../..", at("d/through")).unwrap();
    fs::write(at("clear\u{1b}[2J"), "x").unwrap();
    fs::write(at("suid"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(at("suid"), fs::Permissions::from_mode(0o6777)).unwrap();
    let world = World::with(&[hostile.path()]).await;

    // when it is fetched,
    let files = world.fetch().await.expect("volumes");
    let here = |path: &str| files.root().join(hostile.path().strip_prefix("/").unwrap()).join(path);

    // then links out of it are missing, and named,
    let mut left_out: Vec<_> = files.left_out().iter().map(|left| text(&left.path)).collect();
    left_out.sort();
    let named = |name: &str| at(name).display().to_string();
    assert_eq!(left_out, [named("absolute"), named("clear\u{1b}[2J"), named("d/through"), named("upwards")]);
    for gone in ["absolute", "upwards", "d/through", "clear\u{1b}[2J"] {
        assert!(fs::symlink_metadata(here(gone)).is_err(), "{gone:?} is there");
    }
    assert_eq!(fs::read_link(here("d/up")).unwrap(), Path::new(".."));
    assert_eq!(fs::metadata(here("suid")).unwrap().permissions().mode() & 0o7000, 0);
    // and it is not shown where the user works.
    assert_eq!(files.plan().unwrap().kept, [hostile.path()]);
    files.remove().await;
}

/// A source that sends the same again and again, and never ends.
struct Endless;

impl Teller for Endless {
    type Replies = std::pin::Pin<Box<dyn Stream<Item = Result<FilesReply, Status>> + Send>>;

    async fn tell(&self) -> Result<Self::Replies, Status> {
        let every =
            tokio_stream::wrappers::IntervalStream::new(tokio::time::interval(Duration::from_secs(5)));
        Ok(Box::pin(every.map(|_| Ok(FilesReply { kind: None }))))
    }
}

#[tokio::test(start_paused = true)]
async fn an_endless_stream_is_not_waited_for() {
    let runtime = tempfile::tempdir().unwrap();
    let begun = tokio::time::Instant::now();
    let fetched = Files::fetch(Endless, runtime.path(), |_| {}).await;
    assert!(matches!(fetched, Err(FilesError::Slow)), "{:?}", fetched.err());
    assert_eq!(begun.elapsed(), ALL_WITHIN);
    assert_eq!(fs::read_dir(runtime.path()).unwrap().count(), 0);
}
