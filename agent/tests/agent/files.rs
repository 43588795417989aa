//! The container's volumes, as a laptop gets them.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use bridge_agent::Outward;
use bridge_proto::v1::files_reply::Kind;
use bridge_proto::v1::{FilesReply, FilesRequest, LeftOut, LeftOutReason, file_entry};
use tempfile::TempDir;
use tonic::{Code, Streaming};

use crate::world::{Laptop, World, story, with_token};

/// An agent whose container has these volumes.
async fn world(volumes: &[&Path]) -> (World, Laptop) {
    let volumes = volumes.iter().map(|path| path.to_path_buf()).collect();
    let world = World::with_outward(Outward { volumes, ..Outward::default() }).await;
    let laptop = Laptop::attach(world.agent.control, "alice").await;
    (world, laptop)
}

/// A volume of a Secret with this token, as the kubelet writes it.
fn secret(token: &str) -> TempDir {
    let volume = tempfile::tempdir().expect("a directory");
    rotate(volume.path(), "..2026_1", token);
    symlink("..data/token", volume.path().join("token")).expect("a link");
    volume
}

/// Replaces the token as the kubelet does.
fn rotate(volume: &Path, generation: &str, token: &str) {
    fs::create_dir(volume.join(generation)).expect("a directory");
    fs::write(volume.join(generation).join("token"), token).expect("a file");
    symlink(generation, volume.join("..data_tmp")).expect("a link");
    let before = fs::read_link(volume.join("..data"));
    fs::rename(volume.join("..data_tmp"), volume.join("..data")).expect("renamed");
    if let Ok(before) = before {
        fs::remove_dir_all(volume.join(before)).expect("removed");
    }
}

async fn asks(laptop: &Laptop, follow: bool) -> Streaming<FilesReply> {
    let request = with_token(FilesRequest { follow }, &laptop.token);
    laptop.client.clone().files(request).await.expect("the token is right").into_inner()
}

/// A volume as it arrived: a line for each entry.
#[derive(Debug, Default, PartialEq)]
struct Volume {
    path: PathBuf,
    entries: BTreeMap<String, String>,
    left_out: Vec<LeftOut>,
}

impl Volume {
    /// The content of a file, or the target of a link.
    fn says(&self, path: &str) -> &str {
        self.entries.get(path).map_or("nothing", String::as_str)
    }
}

/// The next volume, or `None` when all are there.
async fn next(replies: &mut Streaming<FilesReply>) -> Option<Volume> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
    let mut volume = Volume::default();
    let mut last = String::new();
    loop {
        let reply = replies.message().await.expect("it goes on").expect("it goes on");
        match reply.kind.expect("something that is known") {
            Kind::Begins(begins) => volume = Volume { path: text(&begins.path).into(), ..Volume::default() },
            Kind::Entry(entry) => {
                let said = match entry.kind {
                    None => String::new(),
                    Some(file_entry::Kind::Directory(_)) => "a directory".to_owned(),
                    Some(file_entry::Kind::Link(target)) => format!("to {}", text(&target)),
                };
                last = text(&entry.path);
                volume.entries.insert(last.clone(), said);
            }
            Kind::Content(content) => {
                volume.entries.get_mut(&last).expect("of a file").push_str(&text(&content));
            }
            Kind::LeftOut(left_out) => volume.left_out.push(left_out),
            Kind::Ends(_) => return Some(volume),
            Kind::AllThere(_) => return None,
        }
    }
}

#[tokio::test]
async fn volumes_are_sent_whole_and_again_when_they_change() {
    story(async {
        // Given a Secret and a file, both of which are mounted, and something that is not mounted.
        let (secret, other) = (secret("one"), tempfile::NamedTempFile::new().expect("a file"));
        let content = "0123456789".repeat(20_000);
        fs::write(other.path(), &content).expect("written");
        let nothing = secret.path().with_extension("nothing");
        let (_world, laptop) = world(&[secret.path(), &nothing, other.path()]).await;

        // When a laptop asks for them,
        let mut replies = asks(&laptop, true).await;

        // then all of both comes.
        let first = next(&mut replies).await.expect("the Secret");
        assert_eq!(first.path, secret.path());
        assert_eq!(first.says(""), "a directory");
        assert_eq!((first.says("token"), first.says("..data")), ("to ..data/token", "to ..2026_1"));
        assert_eq!(first.says("..2026_1/token"), "one");
        let second = next(&mut replies).await.expect("the file");
        assert_eq!((second.path.as_path(), second.says("")), (other.path(), content.as_str()));
        assert_eq!(next(&mut replies).await, None);

        // When the Secret changes, it is sent again, and nothing else is.
        rotate(secret.path(), "..2026_2", "two");
        let again = next(&mut replies).await.expect("the Secret");
        assert_eq!((again.says("..data"), again.says("..2026_2/token")), ("to ..2026_2", "two"));
        assert_eq!(again.says("..2026_1"), "nothing");

        // So is a file that is replaced by another one.
        let beside = tempfile::NamedTempFile::new().expect("a file");
        fs::write(beside.path(), "short").expect("written");
        fs::rename(beside.path(), other.path()).expect("renamed");
        assert_eq!(next(&mut replies).await.expect("the file").says(""), "short");
    })
    .await;
}

#[tokio::test]
async fn omitted_files_are_named_and_the_rest_comes() {
    story(async {
        let secret = secret("one");
        let huge = fs::File::create(secret.path().join("huge")).expect("a file");
        huge.set_len(bridge_proto::files::MAX_BYTES).expect("it costs nothing");
        let (_world, laptop) = world(&[secret.path()]).await;
        let mut replies = asks(&laptop, false).await;
        let volume = next(&mut replies).await.expect("the Secret");
        assert_eq!(volume.says("..2026_1/token"), "one");
        let [left_out] = volume.left_out.as_slice() else { panic!("one file: {:?}", volume.left_out) };
        assert_eq!(left_out.path, secret.path().join("huge").into_os_string().into_encoded_bytes());
        assert_eq!(left_out.reason(), LeftOutReason::Bytes);
        // A laptop that does not follow has got everything.
        assert_eq!(next(&mut replies).await, None);
        assert_eq!(replies.message().await.expect("an orderly end"), None);
    })
    .await;
}

#[tokio::test]
async fn volumes_are_sent_to_sessions_and_end_with_them() {
    story(async {
        let secret = secret("one");
        let (_world, mut laptop) = world(&[secret.path()]).await;
        let request = with_token(FilesRequest { follow: true }, "guessed");
        let refused = laptop.client.files(request).await.expect_err("no token");
        assert_eq!(refused.code(), Code::Unauthenticated);

        let mut replies = asks(&laptop, true).await;
        while next(&mut replies).await.is_some() {}
        laptop.stops_attending();
        laptop.is_ended().await;
        let ended = replies.message().await.expect_err("the session has ended");
        assert_eq!(ended.code(), Code::Cancelled, "{ended}");
    })
    .await;
}
