//! Builds the request to the daemon from the command line, variables and the config file.

use std::{
    ffi::OsString,
    path::PathBuf,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bridge_client::{chain, environment};
use bridge_proto::matching::{self, Condition, HeaderMatch, Match};
use bridge_proto::target::Target;
use bridge_proto::v1;

use super::{
    args::{ClusterArgs, ConnectArgs},
    choices::{Compat, Fallback, Mode},
    config::{self, Config, ConfigError},
    error::Failed,
    exit::Exit,
    names::{PortMap, UserName},
};

/// The config file's defaults, or its error.
pub(crate) fn config() -> Result<Config, Failed> {
    config::load().map_err(|error| {
        let advice = match &error {
            ConfigError::Wrong { nearest: Some(nearest), .. } => format!("did you mean {nearest}?"),
            ConfigError::Wrong { .. } => "`bridge --help` lists the keys".to_owned(),
            ConfigError::Io { .. } => String::new(),
        };
        Failed::new(Exit::Usage, chain(&error), advice)
    })
}

/// The cluster and the credentials to use.
pub(crate) fn cluster(args: &ClusterArgs, config: &Config) -> Result<v1::Cluster, Failed> {
    let files = match &args.kubeconfig {
        Some(file) => vec![file.clone()],
        None => std::env::var_os("KUBECONFIG").map(split_paths).unwrap_or_default(),
    };
    let chosen = |flag: &Option<String>, config: &Option<String>| {
        flag.clone().filter(|value| !value.is_empty()).or_else(|| config.clone()).unwrap_or_default()
    };
    Ok(v1::Cluster {
        kubeconfig: files.into_iter().map(absolute).collect::<Result<_, _>>()?,
        context: chosen(&args.context, &config.context),
        namespace: chosen(&args.namespace, &config.namespace),
        environment: environment(),
    })
}

/// The part that the user has named. An empty field matches anything.
pub(crate) fn named(context: String, namespace: String) -> v1::Cluster {
    v1::Cluster { context, namespace, environment: environment(), ..v1::Cluster::default() }
}

fn split_paths(list: OsString) -> Vec<PathBuf> {
    std::env::split_paths(&list).filter(|path| !path.as_os_str().is_empty()).collect()
}

/// Makes a path absolute: the daemon's working directory is not the caller's.
fn absolute(path: PathBuf) -> Result<String, Failed> {
    let wrong =
        |why: String| Failed::new(Exit::Usage, format!("the kubeconfig path {}: {why}", path.display()), "");
    let absolute = std::path::absolute(&path).map_err(|error| wrong(error.to_string()))?;
    absolute.to_str().map(str::to_owned).ok_or_else(|| wrong("it is not UTF-8".to_owned()))
}

/// Input from elsewhere than the command line, separate for tests.
#[derive(Debug, Default)]
struct Surroundings {
    /// `$BRIDGE_HEADER`, one header.
    header: Option<String>,
    /// `$BRIDGE_ME`.
    me: Option<String>,
    user_name: Option<String>,
}

impl Surroundings {
    fn of_this_process() -> Self {
        let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let (header, me) = (variable("BRIDGE_HEADER"), variable("BRIDGE_ME"));
        Surroundings { header, me, user_name: bridge_os::machine::user_name() }
    }
}

/// The user's name, if known.
pub(crate) fn me() -> Option<String> {
    let around = Surroundings::of_this_process();
    let configured = || config().ok()?.me.map(|me| me.as_str().to_owned());
    around.me.or_else(configured).or(around.user_name)
}

/// The user's name, as a connect of this target would have it.
pub(crate) fn me_for(target: &Target) -> Result<String, Failed> {
    let args = ConnectArgs::plain(target.clone(), ClusterArgs::default());
    let me = user(&args, &config()?, &Surroundings::of_this_process(), &target.to_string())?;
    Ok(me.as_str().to_owned())
}

/// The request, complete.
pub(crate) fn complete(args: &ConnectArgs) -> Result<v1::ConnectRequest, Failed> {
    let config = config()?;
    let mut request = connect(args, &config, &Surroundings::of_this_process())?;
    request.cluster = Some(cluster(&args.cluster, &config)?);
    Ok(request)
}

/// The request of a session in whose place the target has no pods: everything that came to them comes to the laptop.
pub(crate) fn in_place(args: &ConnectArgs) -> Result<v1::ConnectRequest, Failed> {
    Ok(v1::ConnectRequest { everything: true, replace: true, ..complete(args)? })
}

/// The request without the cluster.
fn connect(
    args: &ConnectArgs,
    config: &Config,
    surroundings: &Surroundings,
) -> Result<v1::ConnectRequest, Failed> {
    let target = args.target.to_string();
    let headers = if args.everything { Vec::new() } else { headers(&args.headers, config, surroundings)? };
    let ports = match config.targets.get(&target) {
        Some(configured) if args.ports.is_empty() => &configured.port,
        _ => &args.ports,
    };
    if let Some(map) = PortMap::contradiction(ports) {
        let message = format!("--port {map} contradicts another --port for the same port of the Service");
        return Err(Failed::new(Exit::Usage, message, "name the Service's port: --port LOCAL:REMOTE"));
    }
    if let Some(path) = matching::contradiction(&args.paths) {
        let message = format!("--path {path} contradicts another --path: no request has both");
        return Err(Failed::new(
            Exit::Usage,
            message,
            "use one pattern for several paths: --path '~=^/(a|b)$'",
        ));
    }
    let compat = if args.everything { None } else { args.compat.or(config.compat) };
    // With everything, most requests are other people's.
    let usual = if args.everything { Fallback::Origin } else { Fallback::Answer };
    let fallback = match args.fallback.or(config.fallback).unwrap_or(usual) {
        Fallback::Answer => v1::Fallback::Answer,
        Fallback::Origin => v1::Fallback::Origin,
    };
    let (paths, method) = (args.paths.iter().map(|path| &path.0), args.method.iter().map(|method| &method.0));
    Ok(v1::ConnectRequest {
        cluster: None,
        user: user(args, config, surroundings, &target)?.as_str().to_owned(),
        target,
        r#match: match_of(&headers)?,
        everything: args.everything,
        ports: ports.iter().map(PortMap::to_message).collect(),
        fallback: fallback.into(),
        replicas: args.replicas.or(config.replicas).unwrap_or_default(),
        agent_image: args.agent_image.clone().or_else(|| config.agent_image.clone()).unwrap_or_default(),
        keep_cache_headers: args.keep_cache_headers,
        narrowed_by: paths.chain(method).map(Condition::to_message).collect(),
        // With the user's own headers there is no default route to add it to.
        kubernetes_route_as: headers.is_empty() && compat == Some(Compat::BridgeToKubernetes),
        for_command: false,
        copy: args.copy,
        restart_origin: false,
        restart_callers: Vec::new(),
        replace: false,
        ends_ms: 0,
        lasts_ms: 0,
        mode: match args.mode {
            None => v1::Mode::Unspecified,
            Some(Mode::StandIn) => v1::Mode::StandIn,
            Some(Mode::Sidecar) => v1::Mode::Sidecar,
        }
        .into(),
    })
}

/// Since the epoch.
pub(crate) fn now_ms() -> u64 {
    millis(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The match of all headers; without headers, the daemon's default for the user.
fn match_of(headers: &[HeaderMatch]) -> Result<Option<v1::Match>, Failed> {
    if headers.is_empty() {
        return Ok(None);
    }
    let chosen = Match::all_of(headers.iter().map(|header| header.0.clone()).collect());
    let wrong = |bad| Failed::new(Exit::Usage, format!("--header: the match {bad}"), "");
    chosen.map(|chosen| Some(chosen.to_message())).map_err(wrong)
}

fn headers(
    typed: &[HeaderMatch],
    config: &Config,
    surroundings: &Surroundings,
) -> Result<Vec<HeaderMatch>, Failed> {
    match &surroundings.header {
        _ if !typed.is_empty() => Ok(typed.to_vec()),
        Some(header) => {
            let wrong = |error| Failed::new(Exit::Usage, format!("BRIDGE_HEADER is {header:?}: {error}"), "");
            Ok(vec![header.parse().map_err(wrong)?])
        }
        None => Ok(config.header.clone()),
    }
}

fn user(
    args: &ConnectArgs,
    config: &Config,
    surroundings: &Surroundings,
    target: &str,
) -> Result<UserName, Failed> {
    let variable = surroundings.me.as_ref().map(|me| {
        me.parse().map_err(|error| Failed::new(Exit::Usage, format!("BRIDGE_ME is {me:?}: {error}"), ""))
    });
    if let Some(me) = args.me.clone().map(Ok).or(variable).or(config.me.clone().map(Ok)) {
        return me;
    }
    let name = surroundings.user_name.as_deref().unwrap_or_default();
    name.parse().map_err(|error| {
        let message = match name {
            "" => "cannot determine your user name".to_owned(),
            name => format!("your user name {name:?} cannot be used: {error}"),
        };
        let suggestion = UserName::suggestion(name).unwrap_or_else(|| "alice".to_owned());
        Failed::new(Exit::Usage, message, format!("bridge connect {target} --me {suggestion}"))
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::args::{Cli, Command};

    fn args(line: &str) -> ConnectArgs {
        match Cli::try_parse_from(line.split_whitespace()).unwrap().command {
            Command::Connect { connect, .. } => connect,
            other => panic!("{other:?}"),
        }
    }

    fn alice() -> Surroundings {
        Surroundings { header: None, me: None, user_name: Some("alice".to_owned()) }
    }

    #[test]
    fn with_no_options_the_daemon_chooses() {
        let request = connect(&args("bridge connect orders"), &Config::default(), &alice()).unwrap();
        let expected = v1::ConnectRequest {
            target: "orders".to_owned(),
            user: "alice".to_owned(),
            ..Default::default()
        };
        assert_eq!(request, expected);
    }

    #[test]
    fn arguments_come_before_the_config_file() {
        let config: Config = toml::from_str(
            "me = 'carol'\nheader = 'a=1'\nfallback = 'origin'\nreplicas = 4\n[targets.orders]\nport = '3000:http'",
        )
        .unwrap();
        let request = connect(&args("bridge connect orders"), &config, &alice()).unwrap();
        assert_eq!((request.user.as_str(), request.replicas), ("carol", 4));
        assert_eq!(request.fallback(), v1::Fallback::Origin);
        assert_eq!(request.ports[0].local, 3000);
        assert_eq!(request.r#match, match_of(&["a=1".parse().unwrap()]).unwrap());

        let line = "bridge connect orders --me bob --header b=2 --fallback answer --replicas 1 --port 1:http";
        let request = connect(&args(line), &config, &alice()).unwrap();
        assert_eq!((request.user.as_str(), request.replicas), ("bob", 1));
        assert_eq!(request.fallback(), v1::Fallback::Answer);
        assert_eq!(request.ports[0].local, 1);
        assert_eq!(request.r#match, match_of(&["b=2".parse().unwrap()]).unwrap());

        let request = connect(&args("bridge connect orders --everything"), &config, &alice()).unwrap();
        assert!(request.everything && request.r#match.is_none());
    }

    #[test]
    fn of_everything_the_origin_answers_what_the_laptop_cannot_unless_it_is_asked_otherwise() {
        for (line, config, expected) in [
            ("bridge connect orders", "", v1::Fallback::Answer),
            ("bridge connect orders --everything", "", v1::Fallback::Origin),
            ("bridge connect orders --everything --fallback answer", "", v1::Fallback::Answer),
            ("bridge connect orders --everything", "fallback = 'answer'", v1::Fallback::Answer),
        ] {
            let request = connect(&args(line), &toml::from_str(config).unwrap(), &alice()).unwrap();
            assert_eq!(request.fallback(), expected, "{line}, with {config:?} in the config file");
        }
    }

    #[test]
    fn path_and_method_narrow_the_default_or_the_headers() {
        let line = "bridge connect orders --path ^=/v1/ --method get";
        let request = connect(&args(line), &Config::default(), &alice()).unwrap();
        assert_eq!(request.r#match, None, "the daemon's default");
        let narrowed: Vec<_> =
            request.narrowed_by.iter().map(|one| Condition::read(one).unwrap().to_string()).collect();
        assert_eq!(narrowed, ["path ^=/v1/", "method GET"]);
        let contradiction = args("bridge connect orders --path /a --path /b");
        let failed = connect(&contradiction, &Config::default(), &alice()).unwrap_err();
        assert_eq!((failed.exit, failed.message.contains("--path /b")), (Exit::Usage, true), "{failed:?}");
    }

    #[test]
    fn another_tool_s_header_comes_beside_the_default_and_never_beside_a_header_of_one_s_own() {
        let config: Config = toml::from_str("compat = 'bridge-to-kubernetes'").unwrap();
        let wanted = |line: &str, config: &Config| connect(&args(line), config, &alice()).unwrap();
        let typed = wanted("bridge connect orders --compat bridge-to-kubernetes", &Config::default());
        assert!(typed.kubernetes_route_as);
        assert!(wanted("bridge connect orders", &config).kubernetes_route_as);
        assert!(!wanted("bridge connect orders --header a=1", &config).kubernetes_route_as);
        assert!(!wanted("bridge connect orders --everything", &config).kubernetes_route_as);
    }

    #[test]
    fn copies_are_asked_for_and_never_the_default() {
        let copy = |line: &str| connect(&args(line), &Config::default(), &alice()).unwrap().copy;
        assert!(copy("bridge connect orders --copy") && copy("bridge connect orders --copy --everything"));
        assert!(!copy("bridge connect orders"));
    }

    #[test]
    fn a_variable_is_between_the_two() {
        let config: Config = toml::from_str("header = 'a=1'\nme = 'carol'").unwrap();
        let around = |header: &str| Surroundings { header: Some(header.to_owned()), ..alice() };
        let request = connect(&args("bridge connect orders"), &config, &around("c=3")).unwrap();
        assert_eq!(request.r#match, match_of(&["c=3".parse().unwrap()]).unwrap());
        let failed = connect(&args("bridge connect orders"), &config, &around("c")).unwrap_err();
        assert!(failed.message.starts_with("BRIDGE_HEADER is \"c\": "), "{}", failed.message);

        let around = |me: &str| Surroundings { me: Some(me.to_owned()), ..alice() };
        let user = |line: &str, me: &str| connect(&args(line), &config, &around(me)).map(|it| it.user);
        assert_eq!(user("bridge connect orders", "dave"), Ok("dave".to_owned()));
        assert_eq!(user("bridge connect orders --me bob", "dave"), Ok("bob".to_owned()));
        let failed = user("bridge connect orders", "root").unwrap_err();
        assert!(failed.message.starts_with("BRIDGE_ME is \"root\": "), "{}", failed.message);
    }

    #[test]
    fn a_user_name_that_cannot_be_used_is_an_error_with_a_way_out() {
        for (name, advice) in [
            (Some("root"), "bridge connect orders --me alice"),
            (Some("Ann Lee"), "bridge connect orders --me ann-lee"),
            (None, "bridge connect orders --me alice"),
        ] {
            let around = Surroundings { user_name: name.map(str::to_owned), ..alice() };
            let failed = connect(&args("bridge connect orders"), &Config::default(), &around).unwrap_err();
            assert_eq!((failed.exit, failed.advice.as_str()), (Exit::Usage, advice));
        }
    }

    #[test]
    fn two_local_ports_for_one_of_the_service_are_refused() {
        let line = "bridge connect orders --port 1:http --port 2:http";
        let failed = connect(&args(line), &Config::default(), &alice()).unwrap_err();
        assert!(failed.message.starts_with("--port 2:http contradicts"), "{}", failed.message);
    }

    #[test]
    fn kubeconfig_paths_become_absolute() {
        let args = ClusterArgs { kubeconfig: Some("some/file".into()), ..Default::default() };
        let cluster = cluster(&args, &Config::default()).unwrap();
        let expected = std::env::current_dir().unwrap().join("some/file");
        assert_eq!(cluster.kubeconfig, [expected.to_str().unwrap()]);
    }
}
