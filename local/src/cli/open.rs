//! `bridge open`: a URL on loopback at which the browser is the user.

mod found;
pub(crate) mod typed;

use std::io::{self, IsTerminal as _};
use std::process::Stdio;

use bridge_client::{Attached, ClientError, RuntimeDir};
use bridge_inside::network::Streams;
use bridge_inside::open::{Destination, Listening, Marks, Opened, Origin, Site, Sites};
use bridge_proto::matching::Match;
use bridge_proto::v1;

use self::found::Meant;
use self::typed::Also;
use super::args::OpenArgs;
use super::attach;
use super::call::reachable;
use super::error::Failed;
use super::exit::Exit;
use super::interrupt::asked_to_end;
use super::output::{self, line};
use super::request;

/// The listener's name, for people.
const WHAT: &str = "bridge open";
/// Hosts to name.
const MOST_SHOWN: usize = 8;

pub(crate) async fn run(args: OpenArgs) -> Result<(), Failed> {
    match &args.url {
        Some(url) => from_here(&args, url).await,
        None => through_the_cluster(&args).await,
    }
}

async fn through_the_cluster(args: &OpenArgs) -> Result<(), Failed> {
    let mut attached = attach::near(&args.service.target(), &args.cluster).await?;
    let (listening, opened, path) = match prepared(&mut attached, args).await {
        Ok(prepared) => prepared,
        Err(failed) => return attach::end(attached).await.and(Err(failed)),
    };
    let attached = attached.kept(output::teller());
    let served = serve(listening, opened, &path, args).await;
    let ended = attach::end(attached).await;
    served.and(ended)
}

/// Listens, and knows what to serve there.
async fn prepared(attached: &mut Attached, args: &OpenArgs) -> Result<(Listening, Opened, String), Failed> {
    let services = attached.services().await?;
    let to = |called| {
        let (service, port) = reachable(&services, called, &attached.namespace)?;
        Ok::<_, Failed>(Destination::Service {
            name: service.name.clone(),
            address: (service.address, port).into(),
        })
    };
    let meant =
        Meant { name: &args.service.service, port: args.service.port.as_deref(), to: to(&args.service)? };
    let mut also = Vec::new();
    for another in &args.also {
        also.push(match another {
            Also::Service(host, called) => site(&host.origin, to(called)?),
            Also::Url(origin) => site(origin, Destination::Host(origin.clone())),
        });
    }
    let fronts = fronts(attached, args).await?;
    let (mut sites, path) = found::sites(&meant, args.host.as_ref(), &fronts, &services);
    // What is typed counts more than what is found.
    sites.splice(1..1, also);

    let matches = matches(&attached.runtime_dir, |session| {
        session.user == attached.user
            && session.namespace == attached.namespace
            && session.context == attached.context
    });
    let marks = Marks::of(&attached.user, &in_order(matches.await?, &args.service.service));
    let listening = listen(args.listen).await?;
    attached.listens(vec![listening.port.into()], WHAT).await?;
    let streams = Streams::new(attached.runtime_dir.streams(), attached.via.clone());
    let sites = Sites::new(listening.port, sites);
    Ok((listening, Opened::new(sites, marks, Some(streams), output::teller()), path))
}

/// Without a session: the real host is outside.
async fn from_here(args: &OpenArgs, url: &Origin) -> Result<(), Failed> {
    let me = request::me_for(&args.service.target())?;
    let mut sites = vec![site(url, Destination::Host(url.clone()))];
    for another in &args.also {
        let Also::Url(origin) = another else {
            let message = "with --url, --also takes URLs: a Service is reached through the cluster";
            return Err(Failed::new(Exit::Usage, message, "leave out --url, or give its URL"));
        };
        sites.push(site(origin, Destination::Host(origin.clone())));
    }
    let matches = matches(&RuntimeDir::find()?, |session| session.user == me).await?;
    let marks = Marks::of(&me, &in_order(matches, &args.service.service));
    let listening = listen(args.listen).await?;
    let sites = Sites::new(listening.port, sites);
    serve(listening, Opened::new(sites, marks, None, output::teller()), "/", args).await
}

async fn serve(listening: Listening, opened: Opened, path: &str, args: &OpenArgs) -> Result<(), Failed> {
    let url = opened
        .url(args.path.as_ref().map_or(path, |path| path.path_and_query().map_or("/", |it| it.as_str())));
    output::print(&format!("{url}\n"))?;
    output::note(&described(&opened));
    if !args.print && can_show() {
        show(&url);
    }
    tokio::select! {
        never = opened.serve(listening) => match never {},
        () = asked_to_end() => Ok(()),
    }
}

/// What it serves, and as whom.
fn described(opened: &Opened) -> String {
    let mut text = line(&format!("  every request carries {}", opened.marks().describe().join(" and ")));
    let sites = opened.sites();
    for site in sites.all().iter().take(MOST_SHOWN) {
        text.push_str(&line(&format!("  {} is {}", site.origin.url(), sites.url(site))));
    }
    if sites.all().len() > MOST_SHOWN {
        text.push_str(&line(&format!("  and {} other hosts", sites.all().len() - MOST_SHOWN)));
    }
    text.push_str("  this URL lets in the browser that opens it; stop with Ctrl-C\n");
    text
}

fn site(origin: &Origin, to: Destination) -> Site {
    Site { origin: origin.clone(), ways: Vec::new(), otherwise: to }
}

async fn listen(port: u16) -> Result<Listening, Failed> {
    let failed = |error: io::Error| {
        Failed::new(
            Exit::Internal,
            format!("cannot listen on port {port}: {error}"),
            "choose another with --listen",
        )
    };
    Listening::bind(port).await.map_err(failed)
}

/// What leads from outside to the Services of the namespace. Without it, there is the Service's own name.
async fn fronts(attached: &mut Attached, args: &OpenArgs) -> Result<Vec<v1::Front>, Failed> {
    let cluster = v1::Cluster {
        context: attached.context.clone(),
        namespace: attached.namespace.clone(),
        ..request::cluster(&args.cluster, &request::config()?)?
    };
    let query = v1::DescribeRequest { cluster: Some(cluster), target: args.service.target().to_string() };
    let reply = attached.daemon.client.describe(query).await.map_err(ClientError::from)?.into_inner();
    if let Some(failure) = reply.failed {
        output::warn(&format!("cannot read which hosts lead to the Service: {}", failure.message));
        return Ok(Vec::new());
    }
    Ok(reply.fronts)
}

/// The matches of sessions, each with its Service.
async fn matches(
    runtime_dir: &RuntimeDir,
    is_meant: impl Fn(&v1::SessionStatus) -> bool,
) -> Result<Vec<(String, Match)>, Failed> {
    let sessions = bridge_client::sessions(runtime_dir).await?;
    let mut matches = Vec::new();
    for session in sessions.into_iter().filter(|session| is_meant(session)) {
        let taken = session.routes.iter().filter_map(|route| route.taken.as_ref());
        let read = taken.filter_map(|taken| Match::read(taken).ok());
        matches.extend(read.map(|taken| (session.target.clone(), taken)));
    }
    Ok(matches)
}

/// Those of the Service first.
fn in_order(mut matches: Vec<(String, Match)>, service: &str) -> Vec<Match> {
    matches.sort_by_key(|(target, _)| target != service);
    matches.into_iter().map(|(_, taken)| taken).collect()
}

/// Whether somebody would see a browser.
fn can_show() -> bool {
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    io::stderr().is_terminal() && ["BROWSER", "DISPLAY", "WAYLAND_DISPLAY"].into_iter().any(is_set)
}

/// Opens the URL as the desktop would, or by `$BROWSER`. It goes on by itself.
fn show(url: &str) {
    let browser = std::env::var("BROWSER").unwrap_or_default();
    let (program, arguments) = browser_command(&browser, url);
    let started = tokio::process::Command::new(&program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    if let Err(error) = started {
        output::note(&line(&format!("  cannot start {program}: {error}; open the URL yourself")));
    }
}

/// `$BROWSER` is a list with colons; each may have arguments, and `%s` for the URL.
fn browser_command(browser: &str, url: &str) -> (String, Vec<String>) {
    let first = browser.split(':').next().unwrap_or_default();
    let mut words = first.split_whitespace().map(str::to_owned);
    let program = words.next().unwrap_or_else(|| "xdg-open".to_owned());
    let mut arguments: Vec<String> = words.map(|word| word.replace("%s", url)).collect();
    if !first.contains("%s") {
        arguments.push(url.to_owned());
    }
    (program, arguments)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_browser_is_the_user_s() {
        for (browser, expected) in [
            ("", "xdg-open URL"),
            ("firefox", "firefox URL"),
            ("firefox:chromium", "firefox URL"),
            ("open -a 'x' %s --new", "open -a 'x' URL --new"),
        ] {
            let (program, arguments) = browser_command(browser, "URL");
            assert_eq!([&[program], arguments.as_slice()].concat().join(" "), expected);
        }
    }

    #[test]
    fn the_service_s_own_match_counts_first() {
        let (web, orders) = (Match::of_user("web", false), Match::of_user("orders", false));
        let all = vec![("orders".to_owned(), orders.clone()), ("web".to_owned(), web.clone())];
        assert_eq!(in_order(all, "web"), [web, orders]);
    }
}
