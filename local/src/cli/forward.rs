//! `bridge forward`: ports of this machine that lead to Services, for programs that run already.

pub(crate) mod wanted;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bridge_client::{Attached, Reachable};
use serde::Serialize;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use self::wanted::Wanted;
use super::args::ForwardArgs;
use super::attach;
use super::error::Failed;
use super::exit::Exit;
use super::interrupt::asked_to_end;
use super::output::{self, BOLD, line, styled};
use bridge_inside::forward::{Ended, Names, pass};
use bridge_inside::loopback::Door;
use bridge_inside::network::Streams;

/// Lower ports are for root.
const FIRST_FREE: u16 = 1024;
/// The pause after an accept that failed, as when descriptors have run out.
const PAUSE: Duration = Duration::from_millis(100);

/// The output. The names of the fields are stable.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Forwarded {
    /// "127.0.0.1:5432"
    local: SocketAddr,
    service: String,
    port: u16,
    #[serde(skip)]
    address: SocketAddr,
}

pub(crate) async fn run(args: ForwardArgs) -> Result<(), Failed> {
    let Some(mut attached) = attach::existing(args.via.as_ref(), &args.cluster).await? else {
        let message = match &args.via {
            Some(target) => format!("{target} is not connected from your laptop"),
            None => "no --via given, and not exactly one target is connected".to_owned(),
        };
        return Err(Failed::new(
            Exit::Usage,
            message,
            "run `bridge connect SERVICE`, then `bridge forward … --via SERVICE`",
        ));
    };
    let listening = match listen_all(&mut attached, &args).await {
        Ok(listening) => listening,
        Err(failed) => return attach::end(attached).await.and(Err(failed)),
    };
    let attached = attached.kept(output::teller());
    let served = serve_all(&attached, listening, &args).await;
    let ended = attach::end(attached).await;
    served.and(ended)
}

type Listening = Vec<(TcpListener, Forwarded)>;

/// Listens for all wanted ports, on local ports without incoming requests.
async fn listen_all(attached: &mut Attached, args: &ForwardArgs) -> Result<Listening, Failed> {
    let all = attached.services().await?;
    let wanted = if args.all { everything(&all) } else { args.services.clone() };
    let taken = attached.taken().await?;
    let mut listening = Vec::new();
    for wanted in &wanted {
        for (service, port) in ports(wanted, &all)? {
            listening.push(listen(wanted, service, port, &taken).await?);
        }
    }
    let ports = listening.iter().map(|(_, forwarded): &(_, Forwarded)| forwarded.local.port().into());
    attached.listens(ports.collect(), "bridge forward").await?;
    Ok(listening)
}

async fn serve_all(attached: &Attached, listening: Listening, args: &ForwardArgs) -> Result<(), Failed> {
    let forwarded: Vec<&Forwarded> = listening.iter().map(|(_, forwarded)| forwarded).collect();
    output::print_as(args.output.output, &forwarded, || table(&forwarded))?;

    let streams = Arc::new(Streams::new(attached.runtime_dir.streams(), attached.via.clone()));
    let door = Arc::new(Door::new(output::teller()));
    let mut listeners = JoinSet::new();
    for (listener, forwarded) in listening {
        let names = Names::new(&forwarded.service, &attached.namespace, forwarded.address.ip());
        let to = Arc::new(To { forwarded, names });
        listeners.spawn(serve(listener, to, streams.clone(), door.clone()));
    }
    tokio::select! {
        () = async { while listeners.join_next().await.is_some() {} } => Ok(()),
        () = asked_to_end() => Ok(()),
    }
}

fn everything(all: &[Reachable]) -> Vec<Wanted> {
    all.iter().map(|service| Wanted { local: None, service: service.name.clone(), port: None }).collect()
}

/// The wanted Service and ports.
fn ports<'a>(wanted: &Wanted, all: &'a [Reachable]) -> Result<Vec<(&'a Reachable, u16)>, Failed> {
    let Some(service) = all.iter().find(|service| service.name == wanted.service) else {
        let names: Vec<&str> = all.iter().map(|service| service.name.as_str()).collect();
        let message = format!("Service {} not found, or it has no cluster IP", wanted.service);
        return Err(Failed::new(Exit::Target, message, format!("available: {}", names.join(", "))));
    };
    let is_meant = |port: &bridge_client::Port| {
        wanted.port.as_ref().is_none_or(|text| *text == port.name || *text == port.number.to_string())
    };
    let meant: Vec<_> =
        service.ports.iter().filter(|port| is_meant(port)).map(|port| (service, port.number)).collect();
    let known = || {
        let ports =
            service.ports.iter().map(|port| format!("{} {}", port.number, port.name).trim().to_owned());
        format!("its ports: {}", ports.collect::<Vec<_>>().join(", "))
    };
    match (meant.len(), wanted.local) {
        (0, _) => {
            let text = wanted.port.clone().unwrap_or_default();
            Err(Failed::new(
                Exit::Target,
                format!("Service {} has no TCP port {text}", service.name),
                known(),
            ))
        }
        (2.., Some(_)) => {
            Err(Failed::new(Exit::Usage, format!("Service {} has several ports", service.name), known()))
        }
        _ => Ok(meant),
    }
}

/// Listens on the named port, else on the Service's own number if that is free, else on any. One that requests come to
/// is not free.
async fn listen(
    wanted: &Wanted,
    service: &Reachable,
    port: u16,
    taken: &[u32],
) -> Result<(TcpListener, Forwarded), Failed> {
    let bind = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port));
    let listener = match wanted.local {
        Some(local) => bind(local).await,
        None if port < FIRST_FREE || taken.contains(&port.into()) => bind(0).await,
        None => match bind(port).await {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => bind(0).await,
            bound => bound,
        },
    };
    let failed = |error: io::Error| {
        let local = wanted.local.unwrap_or(port);
        Failed::new(
            Exit::Internal,
            format!("cannot listen on port {local}: {error}"),
            "choose another: LOCAL:SERVICE:PORT",
        )
    };
    let listener = listener.map_err(failed)?;
    let local = listener.local_addr().map_err(failed)?;
    let address = SocketAddr::new(service.address, port);
    Ok((listener, Forwarded { local, service: service.name.clone(), port, address }))
}

/// The destination of a port, and the names by which it may be asked for.
struct To {
    forwarded: Forwarded,
    names: Names,
}

async fn serve(listener: TcpListener, to: Arc<To>, streams: Arc<Streams>, door: Arc<Door>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((connection, from)) if door.lets_in(&connection, from) => {
                    connections.spawn(pass_on(connection, to.clone(), streams.clone()));
                }
                Ok(_) => {}
                Err(error) => {
                    output::note(&format!("  {}: cannot accept: {error}\n", to.forwarded.local));
                    tokio::time::sleep(PAUSE).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn pass_on(connection: TcpStream, to: Arc<To>, streams: Arc<Streams>) {
    let To { forwarded, names } = &*to;
    let why = match pass(connection, names, streams.dial(forwarded.address)).await {
        Ok(()) => return,
        Err(Ended::Failed(why)) => why,
        Err(Ended::Foreign(foreign)) => foreign.describe(),
    };
    output::note(&line(&format!("  {} → {}:{}: {why}", forwarded.local, forwarded.service, forwarded.port)));
}

fn table(forwarded: &[&Forwarded]) -> String {
    if forwarded.is_empty() {
        return "no Service in this namespace has a cluster IP and a TCP port\n".to_owned();
    }
    let locals: Vec<String> = forwarded.iter().map(|forwarded| forwarded.local.to_string()).collect();
    let width = locals.iter().map(String::len).max().unwrap_or_default();
    let mut text = format!("{}\n", styled(BOLD, &format!("{:width$}   SERVICE", "LOCAL")));
    for (local, forwarded) in locals.iter().zip(forwarded) {
        text.push_str(&line(&format!("{local:width$} → {}:{}", forwarded.service, forwarded.port)));
    }
    text.push_str("stop with Ctrl-C\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(local: Option<u16>, service: &str, port: Option<&str>) -> Wanted {
        Wanted { local, service: service.into(), port: port.map(str::to_owned) }
    }

    #[test]
    fn ports_are_found_by_number_and_name() {
        let port = |number, name: &str| bridge_client::Port { number, name: name.into() };
        let all = [Reachable {
            name: "db".into(),
            address: "10.96.0.9".parse().unwrap(),
            ports: vec![port(5432, "sql"), port(9187, "metrics")],
        }];
        let found = |local, name: Option<&str>| {
            ports(&wanted(local, "db", name), &all)
                .map(|found| found.into_iter().map(|(_, port)| port).collect::<Vec<_>>())
                .map_err(|failed| failed.message)
        };
        assert_eq!(found(None, None), Ok(vec![5432, 9187]));
        assert_eq!(found(Some(1), Some("sql")), Ok(vec![5432]));
        assert_eq!(found(None, Some("9187")), Ok(vec![9187]));
        assert_eq!(found(None, Some("1")), Err("Service db has no TCP port 1".into()));
        assert_eq!(found(Some(1), None), Err("Service db has several ports".into()));
        assert!(ports(&wanted(None, "cache", None), &all).unwrap_err().advice.contains("db"));
    }
}
