//! `bridge call`: one request from inside the cluster with the user's mark: its answer, who answered, and why.

pub(crate) mod typed;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bridge_client::{Attached, Port, Reachable, RuntimeDir, chain, running};
use bridge_inside::call::send;
use bridge_inside::network::Streams;
use bridge_proto::matching;
use bridge_proto::v1;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, header};
use http_body_util::Full;
use serde::Serialize;
use tokio::time::timeout;

use self::typed::{Body, Called, Expected};
use super::args::CallArgs;
use super::attach;
use super::error::Failed;
use super::exit::Exit;
use super::output::{self, Format, line, milliseconds};
use super::requests::Seen;

/// After the answer, agents report within this time which requests they have seen.
const SEEN_WITHIN: Duration = Duration::from_secs(2);
/// The same if none of them has to have seen the request itself.
const SEEN_BELOW_WITHIN: Duration = Duration::from_millis(600);

/// The output of `call -o json`. The names of the fields are stable.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Outcome {
    url: String,
    status: u16,
    headers: Vec<Header>,
    /// None if it is not UTF-8.
    body: Option<String>,
    duration_ms: f64,
    /// laptop if one of the hops went to the user's, else origin.
    answered_by: &'static str,
    /// The requests of this trace that agents of the user's sessions saw, in the order in which they began.
    hops: Vec<Seen>,
    /// None if nothing was expected.
    as_expected: Option<bool>,
    #[serde(skip)]
    raw: Bytes,
}

#[derive(Debug, Serialize)]
struct Header {
    name: String,
    value: String,
}

/// Returns the exit code: 1 if the answer is not as expected.
pub(crate) async fn run(args: CallArgs) -> Result<u8, Failed> {
    let body =
        args.data.as_ref().map(Body::read).transpose().map_err(|why| Failed::new(Exit::Usage, why, ""))?;
    let mut attached = attach::near(&args.service.target(), &args.cluster).await?;
    let called = call(&mut attached, &args, body.unwrap_or_default()).await;
    let ended = attach::end(attached).await;
    let outcome = called?;
    ended?;
    show(&outcome, args.output.output)?;
    let Some(expected) = args.expect.filter(|_| outcome.as_expected == Some(false)) else { return Ok(0) };
    let (status, by) = (outcome.status, outcome.answered_by);
    output::note(&line(&format!("  expected {expected}, but it was {status} by the {by}")));
    Ok(1)
}

async fn call(attached: &mut Attached, args: &CallArgs, body: Bytes) -> Result<Outcome, Failed> {
    let service = &args.service.service;
    let all = attached.services().await?;
    let (found, port) = reachable(&all, &args.service, &attached.namespace)?;
    let trace = format!("{:032x}", rand::random::<u128>());
    let request = request(args, &attached.user, &trace, body)?;
    let url = format!("http://{service}:{port}{}", args.path);

    let mut hops = Hops::follow(&trace, service).await?;
    let streams = Streams::new(attached.runtime_dir.streams(), attached.via.clone());
    let begun = Instant::now();
    let answer = timeout(args.timeout, send(&streams, SocketAddr::new(found.address, port), request)).await;
    let took = begun.elapsed();
    let unanswered = |why: String| Failed::new(Exit::Unreachable, format!("{url}: {why}"), "bridge requests");
    let answer = answer
        .map_err(|_| unanswered(format!("no answer within {}", output::duration(args.timeout))))?
        .map_err(|error| unanswered(chain(&error)))?;
    let hops = hops.seen().await?;
    Ok(outcome(url, &answer, took, hops, &attached.user, args.expect))
}

/// The Service of that name, and the port that is meant.
pub(super) fn reachable<'a>(
    all: &'a [Reachable],
    called: &Called,
    namespace: &str,
) -> Result<(&'a Reachable, u16), Failed> {
    let Called { service, port, .. } = called;
    let Some(found) = all.iter().find(|one| one.name == *service) else {
        let message =
            format!("Service {service} not found in namespace {namespace}, or it has no cluster IP");
        return Err(Failed::new(Exit::Target, message, "bridge list"));
    };
    Ok((found, port_of(service, port.as_deref(), &found.ports)?))
}

fn port_of(service: &str, wanted: Option<&str>, ports: &[Port]) -> Result<u16, Failed> {
    let known = || {
        let known = ports.iter().map(|port| format!("{} {}", port.number, port.name).trim().to_owned());
        format!("its ports: {}", known.collect::<Vec<_>>().join(", "))
    };
    let named =
        |wanted: &str| ports.iter().find(|port| port.name == *wanted || port.number.to_string() == *wanted);
    let found = match wanted {
        Some(wanted) => named(wanted),
        // The one that a URL without a port means.
        None => named("80").or_else(|| named("http")).or_else(|| ports.first().filter(|_| ports.len() == 1)),
    };
    found.map(|port| port.number).ok_or_else(|| {
        let message = match wanted {
            Some(wanted) => format!("Service {service} has no TCP port {wanted}"),
            None => format!("Service {service} has several ports, or none by TCP"),
        };
        Failed::new(Exit::Target, message, known())
    })
}

/// The request with the user's marks, unless one of them is typed.
fn request(args: &CallArgs, user: &str, trace: &str, body: Bytes) -> Result<Request<Full<Bytes>>, Failed> {
    let Called { service, port, .. } = &args.service;
    let host = match port {
        Some(port) if port.parse::<u16>().is_ok() => format!("{service}:{port}"),
        _ => service.clone(),
    };
    let mut headers = HeaderMap::new();
    for header in &args.headers {
        headers.append(header.name.clone(), header.value.clone());
    }
    let value =
        |text: String| HeaderValue::try_from(text).map_err(|error| Failed::internal(error.to_string()));
    let marks = [
        (header::HOST.as_str(), host),
        (header::USER_AGENT.as_str(), format!("bridge/{}", env!("CARGO_PKG_VERSION"))),
        (header::ACCEPT.as_str(), "*/*".to_owned()),
        ("baggage", matching::member_of(user)),
        (matching::HEADER, user.to_owned()),
        ("traceparent", format!("00-{trace}-{:016x}-01", rand::random::<u64>() | 1)),
    ];
    for (name, text) in marks {
        if !headers.contains_key(name) {
            headers.insert(name, value(text)?);
        }
    }
    let method =
        args.method.clone().unwrap_or(if body.is_empty() { http::Method::GET } else { http::Method::POST });
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = method;
    *request.uri_mut() = args.path.clone();
    *request.headers_mut() = headers;
    Ok(request)
}

/// What the agents of the user's sessions see of the request and of those that follow from it.
struct Hops {
    seen: Option<bridge_client::Seen>,
    trace: String,
    /// The user's session at this Service, if there is one, sees the request itself.
    target: Option<String>,
}

impl Hops {
    async fn follow(trace: &str, service: &str) -> Result<Self, Failed> {
        let mut hops = Self { seen: None, trace: trace.to_owned(), target: None };
        let Some(mut daemon) = running(&RuntimeDir::find()?).await? else { return Ok(hops) };
        let sessions = daemon.status().await?.sessions;
        if sessions.is_empty() {
            return Ok(hops);
        }
        hops.target =
            sessions.iter().map(|session| &session.target).find(|target| *target == service).cloned();
        let ids = sessions.into_iter().map(|session| session.id).collect();
        let query = v1::RequestsQuery { sessions: ids, follow: true };
        let mut seen = bridge_client::Seen::by(&mut daemon, query).await?;
        // From here on, nothing is missed.
        let _ = seen.next().await?;
        hops.seen = Some(seen);
        Ok(hops)
    }

    /// In the order in which they began.
    async fn seen(&mut self) -> Result<Vec<Seen>, Failed> {
        let mut hops = Vec::new();
        let within = if self.target.is_some() { SEEN_WITHIN } else { SEEN_BELOW_WITHIN };
        let Some(seen) = &mut self.seen else { return Ok(hops) };
        let reading = async {
            while let Some(batch) = seen.next().await? {
                let of_trace = batch.requests.into_iter().map(Seen::from);
                hops.extend(of_trace.filter(|one| one.trace.as_deref() == Some(&self.trace)));
                // It ends after all that follow from it.
                if self.target.as_ref().is_some_and(|target| hops.iter().any(|one| one.target == *target)) {
                    break;
                }
            }
            Ok::<(), Failed>(())
        };
        if let Ok(read) = timeout(within, reading).await {
            read?;
        }
        hops.sort_by_key(|one| one.begun_us);
        Ok(hops)
    }
}

fn outcome(
    url: String,
    answer: &Response<Bytes>,
    took: Duration,
    hops: Vec<Seen>,
    me: &str,
    expected: Option<Expected>,
) -> Outcome {
    let is_mine = |one: &Seen| one.to == "laptop" && one.user.as_deref() == Some(me);
    let answered_by = if hops.iter().any(is_mine) { "laptop" } else { "origin" };
    let status = answer.status().as_u16();
    let header = |(name, value): (&http::HeaderName, &HeaderValue)| Header {
        name: name.as_str().to_owned(),
        value: String::from_utf8_lossy(value.as_bytes()).into_owned(),
    };
    Outcome {
        url,
        status,
        headers: answer.headers().iter().map(header).collect(),
        body: std::str::from_utf8(answer.body()).ok().map(str::to_owned),
        duration_ms: took.as_secs_f64() * 1000.0,
        answered_by,
        hops,
        as_expected: expected.map(|expected| expected.is(status, answered_by)),
        raw: answer.body().clone(),
    }
}

fn show(outcome: &Outcome, format: Format) -> Result<(), Failed> {
    if format != Format::Text {
        return output::print_as(format, outcome, String::new);
    }
    output::print_bytes(&outcome.raw)?;
    output::note(&outcome.describe());
    Ok(())
}

impl Outcome {
    fn describe(&self) -> String {
        let mut text = line(&format!("  {} {} in {}", self.url, self.status, milliseconds(self.duration_ms)));
        for hop in &self.hops {
            text.push_str(&line(&format!("  {}: {}, {}", hop.target, hop.destination(), hop.why)));
        }
        if self.hops.is_empty() {
            text.push_str("  none of your sessions has seen it, or what followed from it\n");
        }
        text
    }
}

#[cfg(test)]
mod tests;
