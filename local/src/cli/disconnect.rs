//! `bridge disconnect`: has the daemon disconnect targets and restore their Services, and shows each step.

use bridge_client::{Daemon, RuntimeDir, running};
use bridge_proto::target::Target;
use bridge_proto::v1;
use serde::Serialize;

use super::{
    args::DisconnectArgs,
    error::Failed,
    exit::Exit,
    output::{self, Format, GREEN, Progress, line, styled},
    request,
    sessions::{Session, title},
};

/// The output of `disconnect -o json`. The names of the fields are stable.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Listing {
    disconnected: Vec<Disconnected>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Disconnected {
    target: String,
    namespace: String,
    context: String,
    user: String,
    /// Nobody else was connected: the Service is as it was.
    restored: bool,
}

pub(crate) async fn run(args: DisconnectArgs) -> Result<(), Failed> {
    let Some(mut daemon) = running(&RuntimeDir::find()?).await? else { return nothing(&args) };
    let sessions: Vec<Session> = meant(&mut daemon, &args).await?.into_iter().map(Session::from).collect();
    if sessions.is_empty() {
        return nothing(&args);
    }
    if !args.all && sessions.len() > 1 {
        return Err(several(&sessions));
    }

    let (mut listing, mut failed) = (Listing::default(), None);
    let format = args.output.output;
    for session in sessions {
        let Session { id, target, namespace, context, user, .. } = session;
        let cluster = Some(v1::Cluster { context, namespace, ..Default::default() });
        let request =
            v1::DisconnectRequest { all: false, target, cluster, wait: args.wait, user, session: id };
        let progress = Progress::new();
        let done = bridge_client::disconnect(&mut daemon, request, |said| progress.say(said)).await;
        drop(progress);
        match done.map_err(Failed::from) {
            Ok(done) => {
                if format == Format::Text {
                    output::print(&text(&done))?;
                }
                listing.disconnected.push(done.into());
            }
            Err(failure) => {
                if let Some(earlier) = failed.replace(failure) {
                    output::fail(&earlier);
                }
            }
        }
    }
    if listing.disconnected.is_empty()
        && let Some(failed) = failed
    {
        return Err(failed);
    }
    output::print_as(format, &listing, String::new)?;
    failed.map_or(Ok(()), |failed| Err(failed.beside_result()))
}

impl From<v1::Disconnected> for Disconnected {
    fn from(done: v1::Disconnected) -> Self {
        let v1::Disconnected { target, namespace, context, user, restored } = done;
        Self { target, namespace, context, user, restored }
    }
}

/// The result when nothing is connected: that is success; a daemon that was killed may have left something, though.
fn nothing(args: &DisconnectArgs) -> Result<(), Failed> {
    let text = || format!("{}\n", not_connected(args.target.as_ref()));
    output::print_as(args.output.output, &Listing::default(), text)?;
    output::note("  → to clean up after a daemon that was killed: bridge clean\n");
    Ok(())
}

/// That a target, or any, is not connected, for people.
pub(super) fn not_connected(target: Option<&Target>) -> String {
    match target {
        Some(target) => format!("{target} is not connected from your laptop"),
        None => "nothing is connected from your laptop".to_owned(),
    }
}

/// The sessions to disconnect: those of a target, of a place and of a user, or all.
async fn meant(daemon: &mut Daemon, args: &DisconnectArgs) -> Result<Vec<v1::SessionStatus>, Failed> {
    let DisconnectArgs { target, all, wait: _, me, namespace, context, output: _ } = args;
    if *all && me.is_none() && namespace.is_none() && context.is_none() {
        // Daemons of earlier versions understand this, too.
        return Ok(daemon.status().await?.sessions);
    }
    let given = |text: &Option<String>| text.clone().unwrap_or_default();
    let request = v1::FindRequest {
        target: target.as_ref().map(Target::to_string).unwrap_or_default(),
        cluster: Some(request::named(given(context), given(namespace))),
        user: me.as_ref().map(|me| me.as_str().to_owned()).unwrap_or_default(),
        ..v1::FindRequest::default()
    };
    Ok(bridge_client::meant(daemon, request).await?)
}

/// More than one session is meant: the message lists a command for each.
fn several(sessions: &[Session]) -> Failed {
    let several_names = sessions.iter().any(|session| session.user != sessions[0].user);
    let candidate = |session: &Session| {
        let Session { target, namespace, context, user, .. } = session;
        let me = if several_names { format!(" --me {user}") } else { String::new() };
        format!("bridge disconnect {target} -n {namespace} --context {context}{me}")
    };
    let candidates: Vec<String> = sessions.iter().map(candidate).collect();
    let message = format!("{} sessions match", sessions.len());
    Failed::new(Exit::Usage, message, format!("{}\nor --all", candidates.join("\n")))
}

fn text(done: &v1::Disconnected) -> String {
    let v1::Disconnected { target, namespace, context, restored, .. } = done;
    let now = match restored {
        // A session aside names its target with the kind.
        true if target.contains('/') => "its agent is removed",
        true => "all requests go to the pods",
        false => "other sessions continue",
    };
    let (sign, target) = (styled(GREEN, "✓"), title(target));
    line(&format!("{sign} disconnected from {target} in namespace {namespace} (context {context}): {now}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::sessions::tests::orders;

    #[test]
    fn of_several_sessions_each_has_a_command() {
        let at = |namespace: &str| v1::SessionStatus { namespace: namespace.to_owned(), ..orders() };
        let failed = several(&[at("shop"), at("other")].map(Session::from));
        assert_eq!(
            failed.advice,
            "bridge disconnect orders -n shop --context kind-dev\n\
             bridge disconnect orders -n other --context kind-dev\nor --all"
        );
        let of = |user: &str| v1::SessionStatus { user: user.to_owned(), ..orders() };
        let failed = several(&[of("alice"), of("bob")].map(Session::from));
        assert_eq!(
            failed.advice,
            "bridge disconnect orders -n shop --context kind-dev --me alice\n\
             bridge disconnect orders -n shop --context kind-dev --me bob\nor --all"
        );
        assert_eq!(failed.message, "2 sessions match");
    }

    #[test]
    fn no_name_steers_the_terminal() {
        let hostile = || output::HOSTILE.to_owned();
        let done = v1::Disconnected {
            target: hostile(),
            namespace: hostile(),
            context: hostile(),
            user: hostile(),
            restored: true,
        };
        assert!(output::is_harmless(&text(&done), 1), "{:?}", text(&done));
    }
}
