//! The volumes of the target's container, as files of this machine for as long as a command runs.
//!
//! `private` is the directory that they are in, `unpack` makes files of an agent's messages, `tree` replaces a changed
//! volume so that no reader sees half of it; `own_paths` plans a view in which they are at the container's paths,
//! `guarded` keeps them from this machine's own places, and `loss` finds what a command would lose by the view.

mod guarded;
mod loss;
mod own_paths;
mod private;
mod tree;
mod unpack;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bridge_os::view::View;
use bridge_proto::v1::{FilesReply, LeftOut};
use futures::{Stream, StreamExt};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};

use self::guarded::Guarded;
pub use self::loss::Loss;
pub use self::own_paths::{NoPlace, Plan};
use self::private::Private;
pub use self::unpack::UnpackError;
use self::unpack::{Heard, Unpack};

/// Longer than a daemon waits for an agent.
const FIRST_WITHIN: Duration = Duration::from_secs(15);
/// For all of them: 64 MiB take this long at 4 Mbit/s.
const ALL_WITHIN: Duration = Duration::from_secs(130);
/// The pause before the stream is opened again after it was cut off.
const PAUSE: Duration = Duration::from_secs(1);

/// The source of the files: an agent, through the daemon.
pub trait Teller: Send + Sync + 'static {
    type Replies: Stream<Item = Result<FilesReply, Status>> + Unpin + Send + 'static;

    fn tell(&self) -> impl Future<Output = Result<Self::Replies, Status>> + Send;
}

/// Why there are no files.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    #[error("cannot use {path:?}")]
    Place { path: PathBuf, source: std::io::Error },
    #[error("{}", .0.message())]
    Answered(#[from] Status),
    #[error("the daemon or the agent is older than this command and does not send them")]
    Older,
    #[error("no data for {} s", FIRST_WITHIN.as_secs())]
    Silent,
    #[error("they did not all arrive within {} s", ALL_WITHIN.as_secs())]
    Slow,
    #[error("the agent stopped before it had sent them all")]
    CutOff,
    #[error(transparent)]
    Unpack(#[from] UnpackError),
}

/// Why the files are not at the container's paths.
#[derive(Debug, thiserror::Error)]
pub enum OwnPathsError {
    #[error(transparent)]
    NoPlace(#[from] NoPlace),
    #[error("cannot create a staging directory")]
    Stage(#[source] std::io::Error),
    #[error("this system does not allow users their own view of the file system (user and mount namespaces)")]
    Refused(#[source] std::io::Error),
}

/// Why they are not there without an option.
#[derive(Debug, thiserror::Error)]
pub enum UnaskedError {
    #[error(transparent)]
    Impossible(#[from] OwnPathsError),
    #[error(transparent)]
    Loss(#[from] Loss),
}

/// The files of the volumes, kept up to date until they are removed.
pub struct Files {
    private: Private,
    /// The container's paths.
    volumes: Vec<PathBuf>,
    left_out: Vec<LeftOut>,
    stop: CancellationToken,
    follower: JoinHandle<()>,
}

impl Files {
    /// Fetches all of them into a directory of their own in the runtime directory; `None` if there are no volumes.
    /// `complain` gets the reason if they can no longer be kept up to date.
    pub async fn fetch(
        teller: impl Teller,
        runtime: &Path,
        complain: impl Fn(&UnpackError) + Send + 'static,
    ) -> Result<Option<Self>, FilesError> {
        let place = |source| FilesError::Place { path: runtime.to_owned(), source };
        let private = Private::make(runtime).map_err(place)?;
        let mut unpack = Unpack::into(private.path()).map_err(place)?;
        let replies = tokio::time::timeout(ALL_WITHIN, first(&teller, &mut unpack)).await;
        let replies = replies.map_err(|_| FilesError::Slow)??;
        if unpack.is_empty() {
            return Ok(None);
        }
        let volumes = unpack.volumes();
        let (stop, left_out) = (CancellationToken::new(), std::mem::take(&mut unpack.left_out));
        let (stopped, runtime) = (stop.clone(), tokio::runtime::Handle::current());
        // On a thread of its own: it writes files, and the command's connections must not wait for a disk.
        let follower = tokio::task::spawn_blocking(move || {
            let following = follow(&teller, replies, &mut unpack);
            if let Some(error) = runtime.block_on(stopped.run_until_cancelled(following)) {
                complain(&error);
            }
        });
        Ok(Some(Self { private, volumes, left_out, stop, follower }))
    }

    /// The directory that stands for the root of the container.
    pub fn root(&self) -> PathBuf {
        tree::root(self.private.path())
    }

    pub fn left_out(&self) -> &[LeftOut] {
        &self.left_out
    }

    /// A view of the file system with the files at the container's paths, and its other differences. Can be built once.
    pub fn at_their_own_paths(&self) -> Result<(View, Plan), OwnPathsError> {
        let plan = self.plan()?;
        Ok((possible(&plan)?, plan))
    }

    /// The same, unless something is lost by it. Can be built once.
    pub fn at_their_own_paths_without_loss(&self) -> Result<(View, Plan), UnaskedError> {
        loss::none_by_any_view()?;
        let plan = self.plan()?;
        loss::none_by(&plan)?;
        Ok((possible(&plan)?, plan))
    }

    fn plan(&self) -> Result<Plan, OwnPathsError> {
        let stage = self.private.path().join("view");
        std::fs::create_dir(&stage).map_err(OwnPathsError::Stage)?;
        Ok(own_paths::plan(&self.volumes, &self.root(), &stage, &Guarded::here())?)
    }

    /// Removes them.
    pub async fn remove(mut self) {
        self.stop.cancel();
        // It ends between two of its steps; if it panicked, it has ended as well.
        let _ = (&mut self.follower).await;
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Why no volumes would be at their own paths without an option, whichever they are.
pub fn at_their_own_paths_here() -> Result<(), UnaskedError> {
    loss::none_by_any_view()?;
    Ok(possible(&Plan::default()).map(drop)?)
}

/// Builds the view, if this system permits it.
fn possible(plan: &Plan) -> Result<View, OwnPathsError> {
    let view = View::new(&plan.steps).and_then(|view| view.try_out().map(|()| view));
    view.map_err(OwnPathsError::Refused)
}

/// Reads all of them once; the stream then brings the changes.
async fn first<T: Teller>(teller: &T, unpack: &mut Unpack) -> Result<T::Replies, FilesError> {
    let replies = tokio::time::timeout(FIRST_WITHIN, teller.tell()).await;
    let mut replies = replies.map_err(|_| FilesError::Silent)?.map_err(refused)?;
    loop {
        let message = tokio::time::timeout(FIRST_WITHIN, replies.next()).await;
        let message = message.map_err(|_| FilesError::Silent)?.ok_or(FilesError::CutOff)?.map_err(refused)?;
        if unpack.take(message, Instant::now())? == Heard::AllThere {
            return Ok(replies);
        }
    }
}

fn refused(status: Status) -> FilesError {
    if status.code() == Code::Unimplemented { FilesError::Older } else { FilesError::Answered(status) }
}

/// Keeps the files up to date, forever or until they cannot be written.
async fn follow<T: Teller>(teller: &T, mut replies: T::Replies, unpack: &mut Unpack) -> UnpackError {
    loop {
        if let Err(error) = listen(&mut replies, unpack).await {
            return error;
        }
        // Without a source, they stay as they are.
        replies = loop {
            tokio::time::sleep(PAUSE).await;
            if let Ok(again) = teller.tell().await {
                break again;
            }
        };
    }
}

/// Takes volumes as they arrive, until the stream ends.
async fn listen(
    replies: &mut (impl Stream<Item = Result<FilesReply, Status>> + Unpin),
    unpack: &mut Unpack,
) -> Result<(), UnpackError> {
    loop {
        let sweep_at = unpack.sweep(Instant::now())?;
        let due = async {
            match sweep_at {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            message = replies.next() => match message {
                Some(Ok(reply)) => {
                    let _ = unpack.take(reply, Instant::now())?;
                }
                None | Some(Err(_)) => return Ok(()),
            },
            () = due => {}
        }
    }
}

#[cfg(test)]
mod tests;
