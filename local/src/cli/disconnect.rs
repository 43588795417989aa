//! `bridge disconnect`: has the daemon disconnect targets and restore their Services, and shows each step.

use bridge_client::{Place, running};
use bridge_proto::v1;

use super::{
    args::DisconnectArgs,
    error::Failed,
    exit::Exit,
    names::Target,
    output::{self, GREEN, Progress, line, styled},
    sessions::Session,
};

pub(crate) async fn run(args: DisconnectArgs) -> Result<(), Failed> {
    let Some(mut daemon) = running(&Place::find()?).await? else { return nothing(&args) };
    let sessions: Vec<Session> = daemon.status().await?.sessions.into_iter().map(Session::from).collect();
    let chosen = choose(&args, &sessions)?;
    if chosen.is_empty() {
        return nothing(&args);
    }

    let mut failed = None;
    for session in chosen {
        let cluster = v1::Cluster {
            context: session.context.clone(),
            namespace: session.namespace.clone(),
            ..Default::default()
        };
        let request = v1::DisconnectRequest {
            all: false,
            target: session.target.clone(),
            cluster: Some(cluster),
            wait: args.wait,
            user: session.user.clone(),
            session: session.id.clone(),
        };
        let progress = Progress::new();
        let done = bridge_client::disconnect(&mut daemon, request, |said| progress.say(said)).await;
        drop(progress);
        let done = done.map_err(Failed::from).and_then(|done| output::print(&text(&done)));
        if let Err(failure) = done
            && let Some(earlier) = failed.replace(failure)
        {
            output::fail(&earlier);
        }
    }
    failed.map_or(Ok(()), Err)
}

/// Nothing to give back is what was wanted; a daemon that was killed may have left something, though.
fn nothing(args: &DisconnectArgs) -> Result<(), Failed> {
    output::print(&format!("{}\n", not_connected(args.target.as_ref())))?;
    output::note("  → to clean up after a daemon that was killed: bridge clean\n");
    Ok(())
}

/// For people: that a target, or any, is not connected.
pub(super) fn not_connected(target: Option<&Target>) -> String {
    match target {
        Some(target) => format!("{target} is not connected from your laptop"),
        None => "nothing is connected from your laptop".to_owned(),
    }
}

/// The sessions that are meant: one by its target, the only one there is, or all.
fn choose<'a>(args: &DisconnectArgs, sessions: &'a [Session]) -> Result<Vec<&'a Session>, Failed> {
    let is = |wanted: &Option<String>, value: &str| wanted.as_ref().is_none_or(|wanted| wanted == value);
    let chosen: Vec<&Session> = sessions
        .iter()
        .filter(|session| is(&args.context, &session.context) && is(&args.namespace, &session.namespace))
        .filter(|session| args.me.as_ref().is_none_or(|me| me.as_str() == session.user))
        .filter(|session| args.target.as_ref().is_none_or(|target| target.name() == session.target))
        .collect();
    if args.all || chosen.len() < 2 {
        return Ok(chosen);
    }
    let several_names = chosen.iter().any(|session| session.user != chosen[0].user);
    let candidate = |session: &&Session| {
        let Session { target, namespace, context, user, .. } = session;
        let me = if several_names { format!(" --me {user}") } else { String::new() };
        format!("bridge disconnect {target} -n {namespace} --context {context}{me}")
    };
    let candidates: Vec<String> = chosen.iter().map(candidate).collect();
    let message = format!("{} sessions match", chosen.len());
    Err(Failed::new(Exit::Usage, message, format!("{}\nor --all", candidates.join("\n"))))
}

fn text(done: &v1::Disconnected) -> String {
    let v1::Disconnected { target, namespace, context, restored, .. } = done;
    let now = match restored {
        true => "all requests go to the pods",
        false => "other sessions continue",
    };
    let sign = styled(GREEN, "✓");
    line(&format!(
        "{sign} disconnected from Service {target} in namespace {namespace} (context {context}): {now}"
    ))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{
        args::{Cli, Command},
        sessions::tests::orders,
    };

    fn args(line: &str) -> DisconnectArgs {
        match Cli::try_parse_from(line.split_whitespace()).unwrap().command {
            Command::Disconnect(args) => args,
            other => panic!("{other:?}"),
        }
    }

    fn sessions(names: &[(&str, &str)]) -> Vec<Session> {
        let session = |(target, namespace): &(&str, &str)| v1::SessionStatus {
            target: (*target).to_owned(),
            namespace: (*namespace).to_owned(),
            ..orders()
        };
        names.iter().map(session).map(Session::from).collect()
    }

    #[test]
    fn which_sessions_are_meant() {
        let sessions = sessions(&[("orders", "shop"), ("orders", "other"), ("web", "shop")]);
        let chosen = |line: &str| {
            choose(&args(line), &sessions)
                .map(|chosen| {
                    chosen.iter().map(|s| format!("{}/{}", s.namespace, s.target)).collect::<Vec<_>>()
                })
                .map_err(|failed| failed.advice)
        };
        assert_eq!(chosen("bridge disconnect web").unwrap(), ["shop/web"]);
        assert_eq!(chosen("bridge disconnect deploy/web").unwrap(), ["shop/web"]);
        assert_eq!(chosen("bridge disconnect orders -n other").unwrap(), ["other/orders"]);
        assert_eq!(chosen("bridge disconnect prices").unwrap(), Vec::<String>::new());
        assert_eq!(chosen("bridge disconnect --all").unwrap().len(), 3);
        assert_eq!(
            chosen("bridge disconnect orders").unwrap_err(),
            "bridge disconnect orders -n shop --context kind-dev\n\
             bridge disconnect orders -n other --context kind-dev\nor --all"
        );
        assert!(chosen("bridge disconnect").is_err());
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

    #[test]
    fn of_two_names_at_one_target_one_is_chosen_by_name() {
        let of = |user: &str| Session::from(v1::SessionStatus { user: user.to_owned(), ..orders() });
        let both = [of("alice"), of("bob")];
        let failed = choose(&args("bridge disconnect orders"), &both).unwrap_err();
        assert_eq!(
            failed.advice,
            "bridge disconnect orders -n shop --context kind-dev --me alice\n\
             bridge disconnect orders -n shop --context kind-dev --me bob\nor --all"
        );
        let chosen = choose(&args("bridge disconnect orders --me bob"), &both).unwrap();
        assert_eq!(chosen.iter().map(|session| session.user.as_str()).collect::<Vec<_>>(), ["bob"]);
    }

    #[test]
    fn the_only_session_needs_no_name() {
        assert_eq!(choose(&args("bridge disconnect"), &sessions(&[("orders", "shop")])).unwrap().len(), 1);
    }
}
