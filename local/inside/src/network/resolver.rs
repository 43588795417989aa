//! Answers DNS questions as the target's pod would see them, and questions about names that the cluster does not know
//! as this machine does (RFC 1035; EDNS of RFC 6891 goes through).

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bridge_proto::dns;
use bytes::Bytes;
use futures::future::join_all;
use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, Record};
use tonic::Status;

use super::destinations::{Destinations, is_local};
use super::names::Search;

/// The number of answers to keep.
const MOST_KEPT: usize = 4096;
/// How long to remember that the cluster does not know a name.
const UNKNOWN_FOR: Duration = Duration::from_secs(5);
/// The longest time for which an answer is kept.
const KNOWN_FOR: Duration = Duration::from_secs(30);
/// The limit for one of this machine's resolvers, each time.
const UPSTREAM_WITHIN: Duration = Duration::from_secs(5);

/// The cluster's resolver: one message there, one back.
pub trait Ask: Send + Sync + 'static {
    fn ask(&self, message: Bytes) -> impl Future<Output = Result<Bytes, Status>> + Send;
}

/// The source of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The cluster, by this name.
    Cluster(Name),
    Laptop(SocketAddr),
    /// The cluster was not reached, and no other answer may be trusted.
    Nobody(String),
}

#[derive(Debug, Clone)]
pub struct Answered {
    pub message: Bytes,
    pub source: Source,
}

pub struct Resolver<A> {
    search: Search,
    cluster: A,
    destinations: Arc<Destinations>,
    kept: Mutex<HashMap<Query, Kept>>,
}

/// The cluster's answer to a question.
#[derive(Debug, Clone)]
enum Verdict {
    Knows(Name, Box<Message>),
    /// It has no such name.
    Unknown,
    Unreached(String),
}

#[derive(Debug, Clone)]
struct Kept {
    verdict: Verdict,
    since: Instant,
    lasts: Duration,
}

impl<A: Ask> Resolver<A> {
    pub fn new(search: Search, cluster: A, destinations: Arc<Destinations>) -> Self {
        Self { search, cluster, destinations, kept: Mutex::default() }
    }

    /// Answers one message that was meant for one of this machine's resolvers.
    pub async fn answer(&self, message: Bytes, upstream: SocketAddr) -> Answered {
        let question = Message::from_vec(&message).ok().and_then(|asked| Some((question(&asked)?, asked)));
        let Some((query, asked)) = question else {
            // An update, a zone transfer or no DNS at all: nothing for the cluster.
            return self.by_the_laptop(&message, upstream).await;
        };
        let candidates = self.candidates(&query);
        if candidates.is_empty() {
            return self.by_the_laptop(&message, upstream).await;
        }
        let only_the_cluster_s = self.search.is_the_cluster_s(&query.name);
        let verdict = self.verdict(&query, &asked, &candidates).await;
        match verdict {
            Verdict::Knows(name, answer) => {
                let answer = renamed(*answer, &name, &query);
                Answered { message: encode(&asked, answer), source: Source::Cluster(name) }
            }
            Verdict::Unknown if only_the_cluster_s => {
                let missing = failed(&asked, ResponseCode::NXDomain);
                Answered { message: missing, source: Source::Cluster(query.name) }
            }
            Verdict::Unknown => self.by_the_laptop(&message, upstream).await,
            Verdict::Unreached(why) => {
                // A positive answer of this machine is no lie; a negative one might be.
                let answered = if only_the_cluster_s {
                    None
                } else {
                    Some(self.by_the_laptop(&message, upstream).await)
                };
                answered.filter(has_answers).unwrap_or_else(|| Answered {
                    message: failed(&asked, ResponseCode::ServFail),
                    source: Source::Nobody(why),
                })
            }
        }
    }

    /// The names to ask the cluster for: the search candidates, or the name of an address of its own.
    fn candidates(&self, query: &Query) -> Vec<Name> {
        match query.name.parse_arpa_name() {
            Ok(net) if self.destinations.overlaps(&net) => vec![query.name.clone()],
            Ok(_) => Vec::new(),
            Err(_) => self.search.candidates(&query.name),
        }
    }

    async fn verdict(&self, query: &Query, asked: &Message, candidates: &[Name]) -> Verdict {
        if let Some(kept) = self.kept(query) {
            return kept;
        }
        let answers = join_all(candidates.iter().map(|name| self.ask(asked, query, name))).await;
        let mut verdict = Verdict::Unknown;
        let mut unreached = None;
        for (name, answer) in candidates.iter().zip(answers) {
            match answer {
                Ok(answer) if answer.metadata.response_code == ResponseCode::NoError => {
                    self.learn(&answer);
                    verdict = Verdict::Knows(name.clone(), Box::new(answer));
                    break;
                }
                Ok(answer) if answer.metadata.response_code == ResponseCode::NXDomain => {}
                Ok(answer) => unreached = Some(answer.metadata.response_code.to_string()),
                Err(why) => unreached = Some(why),
            }
        }
        match (verdict, unreached) {
            // Not kept: it may be reachable again at once.
            (Verdict::Unknown, Some(why)) => Verdict::Unreached(why),
            (verdict, _) => {
                self.keep(query, &verdict);
                verdict
            }
        }
    }

    async fn ask(&self, asked: &Message, query: &Query, name: &Name) -> Result<Message, String> {
        let mut message = asked.clone();
        let mut question = query.clone();
        question.set_name(name.clone());
        message.queries = vec![question];
        let message = message.to_vec().map_err(|error| error.to_string())?;
        let answer = self.cluster.ask(message.into()).await.map_err(|status| status.message().to_owned())?;
        let mut answer = Message::from_vec(&answer).map_err(|error| error.to_string())?;
        answer.answers.retain(|record| !leads_here(record));
        Ok(answer)
    }

    fn learn(&self, answer: &Message) {
        for record in answer.all_sections() {
            match &record.data {
                RData::A(address) => self.destinations.learn(IpAddr::V4(address.0)),
                RData::AAAA(address) => self.destinations.learn(IpAddr::V6(address.0)),
                _ => {}
            }
        }
    }

    fn kept(&self, query: &Query) -> Option<Verdict> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner).get(&key(query)).cloned()?;
        let age = kept.since.elapsed();
        if age >= kept.lasts {
            return None;
        }
        let mut verdict = kept.verdict;
        if let Verdict::Knows(_, answer) = &mut verdict {
            let seconds = u32::try_from(age.as_secs()).unwrap_or(u32::MAX);
            for record in &mut answer.answers {
                record.decrement_ttl(seconds);
            }
        }
        Some(verdict)
    }

    fn keep(&self, query: &Query, verdict: &Verdict) {
        let lasts = match verdict {
            Verdict::Knows(_, answer) => shortest(&answer.answers).unwrap_or(UNKNOWN_FOR).min(KNOWN_FOR),
            _ => UNKNOWN_FOR,
        };
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= MOST_KEPT {
            kept.retain(|_, kept| kept.since.elapsed() < kept.lasts);
        }
        if kept.len() < MOST_KEPT {
            let entry = Kept { verdict: verdict.clone(), since: Instant::now(), lasts };
            kept.insert(key(query), entry);
        }
    }

    async fn by_the_laptop(&self, message: &Bytes, upstream: SocketAddr) -> Answered {
        let source = Source::Laptop(upstream);
        match tokio::time::timeout(UPSTREAM_WITHIN, dns::ask(upstream, message)).await {
            Ok(Ok(message)) => Answered { message, source },
            // As if it did not exist: the program asks the next resolver.
            _ => {
                let asked = Message::from_vec(message).unwrap_or_else(|_| Message::query());
                Answered { message: failed(&asked, ResponseCode::ServFail), source }
            }
        }
    }
}

/// Whether a name of the cluster would lead to this machine itself: the program would find another server there than in
/// the pod, which has its own loopback.
fn leads_here(record: &Record) -> bool {
    match &record.data {
        RData::A(address) => is_local(IpAddr::V4(address.0)),
        RData::AAAA(address) => is_local(IpAddr::V6(address.0).to_canonical()),
        _ => false,
    }
}

/// The one question of an ordinary query.
fn question(message: &Message) -> Option<Query> {
    let ordinary =
        message.metadata.message_type == MessageType::Query && message.metadata.op_code == OpCode::Query;
    match message.queries.as_slice() {
        [query] if ordinary => Some(query.clone()),
        _ => None,
    }
}

fn key(query: &Query) -> Query {
    let mut key = query.clone();
    key.set_name(query.name.to_lowercase());
    key
}

fn shortest(records: &[Record]) -> Option<Duration> {
    records.iter().map(|record| Duration::from_secs(record.ttl.into())).min()
}

/// Turns the answer to a longer name into one to the name that was asked for.
fn renamed(mut answer: Message, name: &Name, query: &Query) -> Message {
    for record in &mut answer.answers {
        if record.name == *name {
            record.name = query.name.clone();
        }
    }
    answer
}

/// The answer, with the id and the question of the query.
fn encode(asked: &Message, mut answer: Message) -> Bytes {
    answer.metadata.id = asked.metadata.id;
    answer.queries.clone_from(&asked.queries);
    // A decoded message can be encoded; if not, that is a bug of ours.
    answer.to_vec().map_or_else(|_| failed(asked, ResponseCode::ServFail), Bytes::from)
}

fn failed(asked: &Message, code: ResponseCode) -> Bytes {
    let mut answer = Message::response(asked.metadata.id, asked.metadata.op_code);
    answer.metadata.recursion_desired = asked.metadata.recursion_desired;
    answer.metadata.recursion_available = true;
    answer.metadata.response_code = code;
    answer.queries.clone_from(&asked.queries);
    answer.to_vec().unwrap_or_default().into()
}

fn has_answers(answered: &Answered) -> bool {
    Message::from_vec(&answered.message).is_ok_and(|message| !message.answers.is_empty())
}

#[cfg(test)]
#[path = "resolver_tests.rs"]
mod tests;
