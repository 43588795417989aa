//! The files of the target's container for a local command, and what bridge prints about them.

use std::path::PathBuf;
use std::process::Command;

use bridge_client::{Attached, DaemonClient, Via, chain};
use bridge_proto::files::{MAX_BYTES, MAX_ENTRIES};
use bridge_proto::v1::{FilesQuery, FilesReply, LeftOut, LeftOutReason};
use tonic::{Status, Streaming};

use super::args::FilesAt;
use super::error::Failed;
use super::exit::Exit;
use super::output::{self, printable};
use bridge_inside::files::{Files, OwnPathsError, Plan, Teller, UnaskedError};

/// The variable with their directory, for the command.
pub(crate) const ROOT: &str = "BRIDGE_ROOT";
/// The number of omitted files to name.
const NAMED: usize = 4;

/// Fetches all of them, kept up to date; `None` if none are wanted, or there are none. On failure prints a warning, and
/// the command runs without them.
pub(crate) async fn fetch(attached: &Attached, wanted: FilesAt) -> Option<Files> {
    if wanted == FilesAt::None {
        return None;
    }
    let teller = ByDaemon { daemon: attached.daemon.client.clone(), via: attached.via.clone() };
    let outdated = |error: &bridge_inside::files::UnpackError| {
        let why = printable(&chain(error));
        output::warn(&format!("the target's files are no longer kept up to date: {why}"));
    };
    match Files::fetch(teller, attached.runtime_dir.directory(), outdated).await {
        Ok(files) => files,
        Err(error) => {
            let why = printable(&chain(&error));
            output::warn(&format!("the target's files are not available, and ${ROOT} is not set: {why}"));
            None
        }
    }
}

/// Gives the files to the command, and tells the user where they are and what is different for the command.
pub(crate) fn give(files: &Files, wanted: FilesAt, command: &mut Command) -> Result<(), Failed> {
    command.env(ROOT, files.root());
    let (view, why_not) = match wanted {
        FilesAt::Dir | FilesAt::None => (None, None),
        FilesAt::Mount => (Some(files.at_their_own_paths().map_err(|error| impossible(&error))?), None),
        FilesAt::Auto => match files.at_their_own_paths_without_loss() {
            Ok(view) => (Some(view), None),
            Err(error) => (None, Some(error)),
        },
    };
    let own_paths = if view.is_some() { "at their own paths, and " } else { "" };
    output::note(&format!(
        "  the files of its volumes are {own_paths}in ${ROOT}: {}\n",
        files.root().display()
    ));
    if let Some(error) = why_not {
        output::note(&format!("  not at their own paths: {}\n", unasked(&error)));
    }
    if let Some((view, plan)) = view {
        view.give(command);
        say_what_is_different(&plan);
    }
    if let Some(sentence) = sentence(files.left_out()) {
        output::warn(&sentence);
    }
    Ok(())
}

fn impossible(error: &OwnPathsError) -> Failed {
    let message = format!("cannot put the target's files at their own paths: {}", chain(error));
    Failed::new(Exit::NotRun, message, format!("use --files dir to have them in ${ROOT}"))
}

fn unasked(error: &UnaskedError) -> String {
    let why = printable(&chain(error));
    match error {
        UnaskedError::Impossible(_) => why,
        UnaskedError::Loss(_) => format!("{why} (--files mount does it anyway)"),
    }
}

/// Prints how the command's file system differs from this machine's.
fn say_what_is_different(plan: &Plan) {
    if let Some(kept) = list(&plan.kept) {
        output::note(&format!("  only in ${ROOT}, because these paths belong to your laptop: {kept}\n"));
    }
    if let Some(hidden) = list(&plan.hidden) {
        output::warn(&format!("the target's files hide your laptop's own in {hidden}"));
    }
    if let Some(covered) = list(&plan.covered) {
        output::note(&format!(
            "  the command does not see what is created directly in {covered} from now on\n"
        ));
    }
}

/// `None` if there are none.
fn list(paths: &[PathBuf]) -> Option<String> {
    let paths: Vec<String> = paths.iter().map(|path| printable(&path.to_string_lossy())).collect();
    (!paths.is_empty()).then(|| paths.join(", "))
}

struct ByDaemon {
    daemon: DaemonClient,
    via: Via,
}

impl Teller for ByDaemon {
    type Replies = Streaming<FilesReply>;

    async fn tell(&self) -> Result<Streaming<FilesReply>, Status> {
        let session = self.via.now().ok_or_else(|| Status::unavailable("the daemon is gone"))?;
        let query = FilesQuery { session: session.to_string(), follow: true };
        Ok(self.daemon.clone().files(query).await?.into_inner())
    }
}

/// The omitted files, with the reasons.
fn sentence(left_out: &[LeftOut]) -> Option<String> {
    let named = left_out.iter().filter(|left| !left.path.is_empty()).take(NAMED);
    let named: Vec<String> = named
        .map(|left| {
            format!("{} ({})", printable(&String::from_utf8_lossy(&left.path)), reason(left.reason()))
        })
        .collect();
    let one_or_more = |left: &LeftOut| left.more + u64::from(!left.path.is_empty());
    let others = left_out.iter().map(one_or_more).sum::<u64>().saturating_sub(named.len() as u64);
    let and = if others > 0 { format!(" and {others} more") } else { String::new() };
    (!named.is_empty()).then(|| format!("not in ${ROOT}: {}{and}", named.join(", ")))
}

fn reason(reason: LeftOutReason) -> String {
    match reason {
        LeftOutReason::Bytes => format!("more than {} MiB in all", MAX_BYTES >> 20),
        LeftOutReason::Entries => format!("more than {MAX_ENTRIES} files in all"),
        LeftOutReason::Depth => "its path is too long".to_owned(),
        LeftOutReason::Unreadable => "the container's user may not read it".to_owned(),
        LeftOutReason::Special => "neither a file nor a directory nor a link".to_owned(),
        LeftOutReason::Changing => "it keeps changing".to_owned(),
        LeftOutReason::Undeclared => "its Deployment does not mount it there".to_owned(),
        LeftOutReason::Link => "a link that may lead out of its volume".to_owned(),
        LeftOutReason::Name => "its name has control characters".to_owned(),
        LeftOutReason::Unspecified => "the agent does not say why".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bridge_inside::files::Loss;

    #[test]
    fn why_they_are_not_at_their_own_paths_is_said_and_what_to_do_about_it() {
        let hidden = UnaskedError::Loss(Loss::Hidden { path: PathBuf::from("/etc/ssl") });
        assert_eq!(
            unasked(&hidden),
            r#"they would hide your laptop's own "/etc/ssl" (--files mount does it anyway)"#
        );
        let refused = OwnPathsError::Refused(std::io::ErrorKind::PermissionDenied.into());
        assert_eq!(
            unasked(&UnaskedError::Impossible(refused)),
            "this system does not allow users their own view of the file system (user and mount namespaces): \
             permission denied"
        );
    }

    #[test]
    fn omitted_files_are_reported_in_one_sentence() {
        let left = |path: &str, reason: LeftOutReason, more: u64| LeftOut {
            path: path.as_bytes().to_vec(),
            reason: reason.into(),
            more,
        };
        let socket = left("/data/socket\u{1b}[2J", LeftOutReason::Special, 0);
        let huge = left("/data/huge", LeftOutReason::Bytes, 0);
        let other = || left("/x", LeftOutReason::Depth, 0);
        assert_eq!(sentence(&[]), None);
        assert_eq!(
            sentence(&[huge.clone(), socket]).unwrap(),
            "not in $BRIDGE_ROOT: /data/huge (more than 64 MiB in all), \
             /data/socket\\u{1b}[2J (neither a file nor a directory nor a link)"
        );
        let many = [huge, other(), other(), other(), other(), left("", LeftOutReason::Unspecified, 7)];
        assert!(sentence(&many).unwrap().ends_with(" and 8 more"), "{:?}", sentence(&many));
    }
}
