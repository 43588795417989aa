//! Sends the volumes of the target's container: each as a whole, and again whenever it changes.
//!
//! `listing` reads the entries. A volume is sent between two equal listings, so the laptop gets its state at one
//! moment, even while the kubelet replaces it.

mod listing;

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bridge_proto::files::{CHUNK, MAX_BYTES, MAX_ENTRIES};
use bridge_proto::v1::files_reply::Kind as Reply;
use bridge_proto::v1::{
    AllThere, Directory, FileEntry, FilesReply, LeftOut, LeftOutReason as Reason, VolumeBegins, VolumeEnds,
    file_entry,
};
use bytes::Bytes;
use rustix::fs::OFlags;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tonic::Status;

use self::listing::{Kind, Listed, Listing, Room, below};
use super::Outbound;
use crate::session::{Session, share};

/// The time between two looks at the volumes.
const PERIOD: Duration = Duration::from_secs(1);
/// Attempts to send a volume that changes while it is read,
const ATTEMPTS: usize = 3;
/// and the pause after the last of them.
const REST: Duration = Duration::from_secs(30);

pub(crate) type ToDaemon = mpsc::Sender<Result<FilesReply, Status>>;

/// Serves one call of a session.
pub(crate) async fn files(outbound: &Outbound, session: Arc<Session>, follow: bool, to_daemon: ToDaemon) {
    let sending = async {
        let _room =
            session.budget.begin(share::FILES).ok_or_else(|| Status::resource_exhausted(share::FULL))?;
        // If nobody listens any more, that is an end like any other.
        let _ = Teller::new(&outbound.volumes, &to_daemon).tell(follow).await;
        Ok(())
    };
    let over = Err(Status::cancelled("the session has ended"));
    if let Err(status) = session.ended.run_until_cancelled(sending).await.unwrap_or(over) {
        let _ = to_daemon.send(Err(status)).await;
    }
}

/// Nobody listens any more.
struct Gone;

struct Teller<'a> {
    volumes: Vec<Volume>,
    to_daemon: &'a ToDaemon,
}

struct Volume {
    path: PathBuf,
    /// Other volumes within this one.
    borders: Vec<PathBuf>,
    /// The listing that was sent last.
    stamp: Option<u64>,
    size: Room,
    not_before: Instant,
}

impl<'a> Teller<'a> {
    fn new(paths: &[PathBuf], to_daemon: &'a ToDaemon) -> Self {
        let volume = |path: &PathBuf| Volume {
            path: path.clone(),
            borders: paths
                .iter()
                .filter(|other| *other != path && other.starts_with(path))
                .cloned()
                .collect(),
            stamp: None,
            size: Room { bytes: 0, entries: 0 },
            not_before: Instant::now(),
        };
        Self { volumes: paths.iter().map(volume).collect(), to_daemon }
    }

    async fn tell(&mut self, follow: bool) -> Result<(), Gone> {
        self.tell_changed().await?;
        self.say(Reply::AllThere(AllThere {})).await?;
        if !follow {
            return Ok(());
        }
        loop {
            tokio::select! {
                () = tokio::time::sleep(PERIOD) => self.tell_changed().await?,
                () = self.to_daemon.closed() => return Err(Gone),
            }
        }
    }

    async fn tell_changed(&mut self) -> Result<(), Gone> {
        for index in 0..self.volumes.len() {
            if self.volumes[index].not_before <= Instant::now() {
                self.refresh(index).await?;
            }
        }
        Ok(())
    }

    /// Sends a volume if it differs from the version sent before.
    async fn refresh(&mut self, index: usize) -> Result<(), Gone> {
        let mut looked = self.look(index).await;
        for _ in 0..ATTEMPTS {
            // A mount of the pod that does not exist has no content, such as a token that the pod does not get.
            let Some(listing) = looked else { return Ok(()) };
            let (stamp, size) = (listing.stamp(), listing.size());
            if self.volumes[index].stamp == Some(stamp) {
                return Ok(());
            }
            let as_listed = self.tell_volume(index, listing).await?;
            looked = self.look(index).await;
            if as_listed && looked.as_ref().map(Listing::stamp) == Some(stamp) {
                let volume = &mut self.volumes[index];
                (volume.stamp, volume.size) = (Some(stamp), size);
                return self.say(Reply::Ends(VolumeEnds {})).await;
            }
        }
        let volume = &mut self.volumes[index];
        volume.not_before = Instant::now() + REST;
        let changing = left_out(&volume.path, Reason::Changing);
        self.say(changing).await
    }

    async fn look(&self, index: usize) -> Option<Listing> {
        let others = self.volumes.iter().enumerate().filter(|(other, _)| *other != index);
        let used = others.fold((0, 0), |(bytes, entries), (_, volume)| {
            (bytes + volume.size.bytes, entries + volume.size.entries)
        });
        let room =
            Room { bytes: MAX_BYTES.saturating_sub(used.0), entries: MAX_ENTRIES.saturating_sub(used.1) };
        let Volume { path, borders, .. } = &self.volumes[index];
        let (path, borders) = (path.clone(), borders.clone());
        aside(move || Listing::of(&path, &borders, room)).await.ok()
    }

    /// Returns whether everything was found as listed.
    async fn tell_volume(&self, index: usize, listing: Listing) -> Result<bool, Gone> {
        let volume = &self.volumes[index].path;
        let path = volume.as_os_str().as_bytes().to_vec();
        self.say(Reply::Begins(VolumeBegins { path })).await?;
        for entry in listing.entries {
            let found = match entry.kind {
                Kind::File { size } => self.tell_file(volume, &listing.place, entry, size).await?,
                _ => {
                    self.say(described(entry)).await?;
                    true
                }
            };
            if !found {
                return Ok(false);
            }
        }
        for (path, reason) in listing.left_out {
            self.say(left_out(&path, reason)).await?;
        }
        if listing.more > 0 {
            self.say(Reply::LeftOut(LeftOut { more: listing.more, ..LeftOut::default() })).await?;
        }
        Ok(true)
    }

    /// Returns whether it was found as listed.
    async fn tell_file(&self, volume: &Path, place: &Path, entry: Listed, size: u64) -> Result<bool, Gone> {
        let path = below(place, &entry.path);
        let mut file = match aside(move || open(&path)).await {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(_) => {
                self.say(left_out(&below(volume, &entry.path), Reason::Unreadable)).await?;
                return Ok(true);
            }
        };
        self.say(described(entry)).await?;
        let mut left = size;
        while left > 0 {
            let most = left.min(CHUNK as u64);
            let Ok((rest, content)) = aside(move || read(file, most)).await else { return Ok(false) };
            if content.is_empty() {
                return Ok(false);
            }
            left -= content.len() as u64;
            file = rest;
            self.say(Reply::Content(content)).await?;
        }
        Ok(true)
    }

    async fn say(&self, kind: Reply) -> Result<(), Gone> {
        self.to_daemon.send(Ok(FilesReply { kind: Some(kind) })).await.map_err(|_| Gone)
    }
}

fn described(entry: Listed) -> Reply {
    let kind = match entry.kind {
        Kind::Directory => Some(file_entry::Kind::Directory(Directory {})),
        Kind::Link(target) => Some(file_entry::Kind::Link(target.into_os_string().into_vec())),
        Kind::File { .. } => None,
    };
    Reply::Entry(FileEntry { path: entry.path.into_os_string().into_vec(), mode: entry.mode, kind })
}

fn left_out(path: &Path, reason: Reason) -> Reply {
    let path = path.as_os_str().as_bytes().to_vec();
    Reply::LeftOut(LeftOut { path, reason: reason.into(), more: 0 })
}

/// Follows no link, and never waits for the other end of a pipe: a listed file may have become either.
fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::ErrorKind::NotFound.into()) }
}

fn read(mut file: File, most: u64) -> io::Result<(File, Bytes)> {
    let mut content = Vec::with_capacity(usize::try_from(most).unwrap_or(CHUNK));
    file.by_ref().take(most).read_to_end(&mut content)?;
    Ok((file, content.into()))
}

/// Runs work off the threads that serve callers: a file system may be slow.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)))
}
