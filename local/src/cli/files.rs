//! The files of the target's container for a command that runs here, and what is said about them.

use bridge_proto::files::{MAX_BYTES, MAX_ENTRIES};
use bridge_proto::v1::{FilesQuery, FilesReply, LeftOut, LeftOutReason};
use tonic::{Status, Streaming};

use super::args::FilesAt;
use super::attached::Attached;
use super::error::chain;
use super::output::{self, printable};
use crate::files::{Files, Teller};
use crate::network::DaemonClient;

/// Tells a command where they are.
pub(crate) const ROOT: &str = "BRIDGE_ROOT";
/// Of what is left out, as much is named.
const NAMED: usize = 4;

/// All of them, kept up to date; `None` if none are wanted, or there are none. What does not work is said, and the command
/// runs without them.
pub(crate) async fn fetch(attached: &Attached, wanted: FilesAt) -> Option<Files> {
    if wanted == FilesAt::None {
        return None;
    }
    let teller = ByDaemon { daemon: attached.daemon.client.clone(), session: attached.session.clone() };
    let outdated = |error: &crate::files::UnpackError| {
        let why = printable(&chain(error));
        output::warn(&format!("the target's files are no longer kept up to date: {why}"));
    };
    match Files::fetch(teller, attached.place.directory(), outdated).await {
        Ok(files) => files,
        Err(error) => {
            let why = printable(&chain(&error));
            output::warn(&format!("the target's files are not here, and ${ROOT} is not set: {why}"));
            None
        }
    }
}

/// Says where they are, and what is not there.
pub(crate) fn say(files: &Files) {
    output::note(&format!("  the files of its volumes are in ${ROOT}: {}\n", files.root().display()));
    if let Some(sentence) = sentence(files.left_out()) {
        output::warn(&sentence);
    }
}

struct ByDaemon {
    daemon: DaemonClient,
    session: String,
}

impl Teller for ByDaemon {
    async fn tell(&self) -> Result<Streaming<FilesReply>, Status> {
        let query = FilesQuery { session: self.session.clone(), follow: true };
        Ok(self.daemon.clone().files(query).await?.into_inner())
    }
}

/// What is not there, and why.
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
        LeftOutReason::Changing => "it changes all the time".to_owned(),
        LeftOutReason::Unspecified => "the agent does not say why".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_is_said_in_one_sentence() {
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
