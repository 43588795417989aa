//! Decides where a request goes, and why. Pure: routes and a request's head in, a decision out.
//!
//! `head` is the part of a request that the decision depends on; which requests a route takes is
//! `bridge_proto::matching`.

pub(crate) mod head;

use std::sync::Arc;

use bridge_proto::matching::{BadMatch, Match, Miss, RequestHead};
use bridge_proto::v1::{self, Fallback};
use tokio::sync::Semaphore;

use crate::hops::{self, HOPS, Loop};
use crate::port::Port;
use crate::session::Session;

/// Limits on the routes of one session.
const MAX_ROUTES: usize = 256;
const MAX_PATTERNS: usize = 64;
/// Limit for a route that takes everything: connections on which neither side has sent anything.
const MAX_UNHEARD: usize = 64;
/// Other users' requests are compared with all of them.
const MAX_CONDITIONS: usize = 1024;
/// The cost in bytes of a pattern with everything that searching takes, and of any other condition.
const PATTERN: u64 = 128 << 10;
const CONDITION: u64 = 1 << 10;

/// All routes in force, by the place of the port.
#[derive(Debug, Default)]
pub(crate) struct Table {
    ports: Vec<Vec<Arc<Entry>>>,
}

/// A session's route on one port.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) session: Arc<Session>,
    pub(crate) port: Port,
    pub(crate) matching: Match,
    pub(crate) local_port: u16,
    pub(crate) fallback: Fallback,
    pub(crate) keep_cache_headers: bool,
    /// The origin answers its requests, and the laptop gets copies.
    pub(crate) copies: bool,
    /// For connections with an open stream to the laptop on which neither side has sent anything.
    pub(crate) unheard: Semaphore,
}

/// Where a request goes, and why.
#[derive(Debug)]
pub(crate) enum Decision<'a> {
    Laptop(Way),
    /// To the origin, and a copy to a laptop.
    Copied(CopyWay),
    /// To the origin. `None`: the port has no route; else the reason why it missed the route that it came closest to.
    Origin(Option<Miss<'a>>),
}

/// A request's way to a laptop.
#[derive(Debug)]
pub(crate) struct Way {
    pub(crate) route: Arc<Entry>,
    /// The alternative of the route's match that holds, by index.
    pub(crate) rule: usize,
    /// The `x-bridge-hops` to send, or why the request may not go there.
    pub(crate) hops: Result<String, Loop>,
}

/// A copy's way to a laptop.
#[derive(Debug)]
pub(crate) struct CopyWay {
    pub(crate) route: Arc<Entry>,
    /// As of a `Way`.
    pub(crate) rule: usize,
    /// The `x-bridge-hops` to send.
    pub(crate) hops: String,
}

/// Where a request goes.
#[derive(Debug)]
pub(crate) enum Goes {
    Origin,
    Laptop(Way),
    /// To the origin, and a copy to a laptop.
    Copied(Box<CopyWay>),
}

/// Why routes are refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("this agent does not listen on port {0}")]
    NoSuchPort(u32),
    #[error("{0} is not a port")]
    NotAPort(u32),
    #[error("more than {0} {1}")]
    TooMany(usize, &'static str),
    #[error("the route for port {0} has no match")]
    NoMatch(u32),
    #[error("the route for port {0} {1}")]
    BadMatch(u32, BadMatch),
    #[error("too many routes: this session has no memory left for them")]
    Full,
    #[error("{holder} already takes these requests of port {port}")]
    Taken { holder: String, port: u16 },
    #[error("this agent is shutting down")]
    Stopping,
}

impl Table {
    /// Sorts the entries into the order in which they are tried: the oldest session first, everything last.
    pub(crate) fn new(ports: usize, entries: impl Iterator<Item = Arc<Entry>>) -> Self {
        let mut table = Self { ports: vec![Vec::new(); ports] };
        for entry in entries {
            if let Some(port) = table.ports.get_mut(usize::from(entry.port.place)) {
                port.push(entry);
            }
        }
        for port in &mut table.ports {
            port.sort_by(|a, b| {
                let rank = |entry: &Entry| (entry.matching == Match::Everything, entry.session.since_ms);
                rank(a).cmp(&rank(b)).then_with(|| a.session.id.cmp(&b.session.id))
            });
        }
        table
    }

    /// Asks the routes of a port; the first that takes the request has it.
    pub(crate) fn decide<'a>(&'a self, port: Port, head: &'a impl RequestHead) -> Decision<'a> {
        let mut closest: Option<Miss<'a>> = None;
        for entry in self.of(port) {
            match entry.matching.judge(head) {
                Ok(rule) => return Decision::by(entry, rule, head),
                Err(miss) => closest = Some(closest.map_or(miss, |other| other.or_closer(miss))),
            }
        }
        Decision::Origin(closest)
    }

    /// Whether the port has any route.
    pub(crate) fn any(&self, port: Port) -> bool {
        !self.of(port).is_empty()
    }

    /// The route that takes connections as a whole, and requests that no other route takes. Connections are not copied.
    pub(crate) fn everything(&self, port: Port) -> Option<Arc<Entry>> {
        let takes_all = |entry: &&Arc<Entry>| entry.matching == Match::Everything && !entry.copies;
        self.of(port).last().filter(takes_all).cloned()
    }

    fn of(&self, port: Port) -> &[Arc<Entry>] {
        self.ports.get(usize::from(port.place)).map_or(&[], Vec::as_slice)
    }
}

impl Decision<'_> {
    /// A request that this route takes. One that comes back from the laptop goes nowhere, even if it is a copy.
    fn by(entry: &Arc<Entry>, rule: usize, head: &impl RequestHead) -> Self {
        let route = entry.clone();
        match hops::onward(head.values(HOPS), &entry.session.id, entry.port.number) {
            Ok(hops) if entry.copies => Decision::Copied(CopyWay { route, rule, hops }),
            hops => Decision::Laptop(Way { route, rule, hops }),
        }
    }

    /// The same without the reason.
    pub(crate) fn goes(self) -> Goes {
        match self {
            Decision::Laptop(way) => Goes::Laptop(way),
            Decision::Copied(way) => Goes::Copied(Box::new(way)),
            Decision::Origin(_) => Goes::Origin,
        }
    }
}

impl Entry {
    /// Whether both lead to the same port of the same laptop: a session may send some requests to another port than the
    /// rest.
    pub(crate) fn leads_where(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.session, &other.session) && self.local_port == other.local_port
    }

    /// Reads a session's route. `ports` are those that the agent listens on.
    pub(crate) fn read(session: &Arc<Session>, ports: &[Port], route: &v1::Route) -> Result<Self, Refusal> {
        let target = route.target_port;
        let port =
            *ports.iter().find(|port| u32::from(port.number) == target).ok_or(Refusal::NoSuchPort(target))?;
        let local_port = match u16::try_from(route.local_port) {
            Ok(local_port) if local_port > 0 => local_port,
            _ => return Err(Refusal::NotAPort(route.local_port)),
        };
        let matching = Match::read(route.r#match.as_ref().ok_or(Refusal::NoMatch(target))?)
            .map_err(|bad| Refusal::BadMatch(target, bad))?;
        Ok(Self {
            session: session.clone(),
            port,
            matching,
            local_port,
            fallback: route.fallback(),
            keep_cache_headers: route.keep_cache_headers,
            copies: route.copy,
            unheard: Semaphore::new(MAX_UNHEARD),
        })
    }
}

/// Reads all routes of a session.
pub(crate) fn read(
    session: &Arc<Session>,
    ports: &[Port],
    routes: &[v1::Route],
) -> Result<Vec<Arc<Entry>>, Refusal> {
    if routes.len() > MAX_ROUTES {
        return Err(Refusal::TooMany(MAX_ROUTES, "routes"));
    }
    let (mut patterns, mut conditions) = (0, 0);
    let read = routes.iter().map(|route| {
        let entry = Entry::read(session, ports, route)?;
        patterns += entry.matching.patterns();
        conditions += entry.matching.conditions();
        if patterns > MAX_PATTERNS {
            Err(Refusal::TooMany(MAX_PATTERNS, "patterns"))
        } else if conditions > MAX_CONDITIONS {
            Err(Refusal::TooMany(MAX_CONDITIONS, "conditions"))
        } else {
            Ok(Arc::new(entry))
        }
    });
    read.collect()
}

/// The memory of these routes, in bytes.
pub(crate) fn size(routes: &[Arc<Entry>]) -> u64 {
    let size = |matching: &Match| {
        matching.patterns() as u64 * PATTERN + (1 + matching.conditions()) as u64 * CONDITION
    };
    routes.iter().map(|entry| size(&entry.matching)).sum()
}

#[cfg(test)]
mod tests;
