//! The agent's own answers: a plain sentence with what happened and what to do.

use super::head::Method;
use super::rewrite::SERVED_BY;
use crate::hops::Loop;
use crate::routes::Entry;

/// Why a request has no answer of a laptop.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Failure {
    /// 503: it was not delivered.
    #[error(
        "nothing listens on port {port} of {user}'s laptop ({detail}): \
         start the local process, or run `bridge disconnect`"
    )]
    Refused { user: String, port: u16, detail: String },
    /// 503: the session has used up its share of this agent.
    #[error(
        "too many requests are waiting for {user}'s laptop, and this agent has no memory left for another. Let \
         them finish or cancel them, then retry"
    )]
    Full { user: String },
    /// 503: the laptop has no room for another connection.
    #[error(
        "{user}'s laptop takes no further connection ({detail}). Let requests finish or cancel them, then retry"
    )]
    Crowded { user: String, detail: String },
    /// 502: it may have been delivered.
    #[error(
        "the connection to {user}'s laptop was lost during this request, which was not sent again. Requests go \
         to the cluster until the laptop is back"
    )]
    Lost { user: String },
    /// 502: the local process ended the connection.
    #[error(
        "the process on port {port} of {user}'s laptop ended the connection {}",
        if *.begun { "in the middle of its answer" } else { "before it answered" }
    )]
    Ended { user: String, port: u16, begun: bool },
    /// 502: no strict reading of the answer is possible.
    #[error(
        "the process on port {port} of {user}'s laptop sent an answer that is not valid HTTP/1.1: {flaw}"
    )]
    Malformed { user: String, port: u16, flaw: String },
    /// 502: it does not speak HTTP/2, or breaks its rules.
    #[error(
        "the process on port {port} of {user}'s laptop does not speak valid HTTP/2, which this request uses: {flaw}"
    )]
    NotHttp2 { user: String, port: u16, flaw: String },
    /// 508: it would go where it has been. Since then it was at `through`.
    #[error(
        "loop: this request has already been to {user}'s laptop (session {session}, port {target_port} of \
         {agent}){} \
         and would go there again. A forward or port-forward on local port {port} leads back to the Service: \
         stop it, or pass another port to `bridge connect --port`",
        if .through.is_empty() { String::new() } else { format!(", then via {},", .through.join(", ")) }
    )]
    Loop { user: String, session: String, agent: String, target_port: u16, port: u16, through: Vec<String> },
    /// 508: it has been to too many laptops.
    #[error(
        "this request has been to the maximum number of laptops, and would go to {user}'s next (session {session}, \
         port {target_port} of {agent}). Forwards or port-forwards lead from one laptop to the next, perhaps \
         in a loop: stop those on the local ports, here {port}"
    )]
    TooFar { user: String, session: String, agent: String, target_port: u16, port: u16 },
    /// 508: the laptop reports that its port leads back.
    #[error("loop at {user}'s laptop: {detail}")]
    LeadsBack { user: String, detail: String },
    /// 400: the request's body turned out to be unreadable.
    #[error("the body of this request is not valid HTTP/1.1: {flaw}")]
    BadRequest { user: String, flaw: String },
}

impl Failure {
    /// A request that this agent, named by its pod, does not let go to the route's laptop.
    pub(crate) fn of_loop(agent: &str, route: &Entry, why: &Loop) -> Self {
        let (user, session) = (route.session.user.clone(), route.session.id.clone());
        let (agent, target_port, port) = (agent.to_owned(), route.port.number, route.local_port);
        match why {
            Loop::Back(through) => {
                Failure::Loop { user, session, agent, target_port, port, through: through.clone() }
            }
            Loop::TooFar => Failure::TooFar { user, session, agent, target_port, port },
        }
    }

    fn status_line(&self) -> (u16, &'static str) {
        match self {
            Failure::Refused { .. } | Failure::Full { .. } | Failure::Crowded { .. } => {
                (503, "Service Unavailable")
            }
            Failure::Lost { .. }
            | Failure::Ended { .. }
            | Failure::Malformed { .. }
            | Failure::NotHttp2 { .. } => (502, "Bad Gateway"),
            Failure::Loop { .. } | Failure::TooFar { .. } | Failure::LeadsBack { .. } => {
                (508, "Loop Detected")
            }
            Failure::BadRequest { .. } => (400, "Bad Request"),
        }
    }

    pub(crate) fn status(&self) -> u16 {
        self.status_line().0
    }

    pub(crate) fn user(&self) -> &str {
        match self {
            Failure::Refused { user, .. }
            | Failure::Full { user }
            | Failure::Crowded { user, .. }
            | Failure::Lost { user }
            | Failure::Ended { user, .. }
            | Failure::Malformed { user, .. }
            | Failure::NotHttp2 { user, .. }
            | Failure::Loop { user, .. }
            | Failure::TooFar { user, .. }
            | Failure::LeadsBack { user, .. }
            | Failure::BadRequest { user, .. } => user,
        }
    }

    /// The answer's bytes. `closes`: the connection ends with it.
    pub(crate) fn answer(&self, method: Method, closes: bool) -> Vec<u8> {
        let sentence = format!("bridge: {self}\n");
        let connection = if closes { "connection: close\r\n" } else { "" };
        let (status, reason) = self.status_line();
        let mut answer = format!(
            "HTTP/1.1 {status} {reason}\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: {}\r\n\
             cache-control: no-store\r\n{SERVED_BY}: {}\r\n{connection}\r\n",
            sentence.len(),
            self.user(),
        );
        if method != Method::Head {
            answer.push_str(&sentence);
        }
        answer.into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_user_port_and_remedy() {
        let failure =
            Failure::Refused { user: "alice".into(), port: 3000, detail: "connection refused".into() };
        let answer = String::from_utf8(failure.answer(Method::Other, false)).expect("text");
        assert!(answer.starts_with("HTTP/1.1 503 "));
        assert!(
            answer.contains("port 3000 of alice's laptop") && answer.contains("bridge disconnect"),
            "{answer}"
        );
        assert!(!answer.contains("connection: close"));
    }

    #[test]
    fn a_loop_is_named_and_how_to_end_it() {
        let by_way_of = |through: &[&str]| Failure::Loop {
            user: "alice".into(),
            session: "1a2b3c4d".into(),
            agent: "checkout-bridge-7f3a-x".into(),
            target_port: 8080,
            port: 5050,
            through: through.iter().map(|&entry| entry.to_owned()).collect(),
        };
        let direct = by_way_of(&[]);
        assert_eq!(
            direct.to_string(),
            "loop: this request has already been to alice's laptop (session 1a2b3c4d, port 8080 of \
             checkout-bridge-7f3a-x) and would go there again. A forward or port-forward on local port 5050 leads \
             back to the Service: stop it, or pass another port to `bridge connect --port`"
        );
        assert!(direct.answer(Method::Other, false).starts_with(b"HTTP/1.1 508 Loop Detected\r\n"));
        let by_bobs = by_way_of(&["5e6f7a8b:50051"]).to_string();
        assert!(by_bobs.contains("x), then via 5e6f7a8b:50051, and would"), "{by_bobs}");
    }

    #[test]
    fn an_answer_to_head_has_no_body() {
        let failure = Failure::Lost { user: "alice".into() };
        let answer = failure.answer(Method::Head, true);
        assert!(answer.ends_with(b"connection: close\r\n\r\n"));
    }
}
