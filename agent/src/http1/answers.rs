//! The answers that the agent gives itself: a plain sentence that says what happened and what to do.

use super::head::Method;
use super::rewrite::SERVED_BY;

/// Why a request has no answer of a laptop.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Failure {
    /// 503: it was not delivered.
    #[error(
        "nothing listens on port {port} of {user}'s laptop ({detail}): \
         start the local process, or give the traffic back with `bridge disconnect`"
    )]
    Refused { user: String, port: u16, detail: String },
    /// 502: it may have been delivered.
    #[error(
        "the connection to {user}'s laptop was lost while this request was there; it was not sent again. \
         Later requests go to the cluster until the laptop is back"
    )]
    Lost { user: String },
    /// 502: the local process ended the connection.
    #[error("the process on port {port} of {user}'s laptop ended the connection before it answered")]
    Ended { user: String, port: u16 },
    /// 502: no strict reading of the answer is possible.
    #[error("the process on port {port} of {user}'s laptop gave an answer that breaks HTTP/1.1: {flaw}")]
    Malformed { user: String, port: u16, flaw: String },
    /// 502: it does not speak HTTP/2, or breaks its rules.
    #[error(
        "the process on port {port} of {user}'s laptop does not speak HTTP/2 as this request does, \
         or not correctly: {flaw}"
    )]
    NotHttp2 { user: String, port: u16, flaw: String },
    /// 400: the request's body turned out to be unreadable.
    #[error("the body of this request breaks HTTP/1.1: {flaw}")]
    BadRequest { user: String, flaw: String },
}

impl Failure {
    fn status_line(&self) -> (u16, &'static str) {
        match self {
            Failure::Refused { .. } => (503, "Service Unavailable"),
            Failure::Lost { .. }
            | Failure::Ended { .. }
            | Failure::Malformed { .. }
            | Failure::NotHttp2 { .. } => (502, "Bad Gateway"),
            Failure::BadRequest { .. } => (400, "Bad Request"),
        }
    }

    pub(crate) fn status(&self) -> u16 {
        self.status_line().0
    }

    pub(crate) fn user(&self) -> &str {
        match self {
            Failure::Refused { user, .. }
            | Failure::Lost { user }
            | Failure::Ended { user, .. }
            | Failure::Malformed { user, .. }
            | Failure::NotHttp2 { user, .. }
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
    fn an_answer_to_head_has_no_body() {
        let failure = Failure::Lost { user: "alice".into() };
        let answer = failure.answer(Method::Head, true);
        assert!(answer.ends_with(b"connection: close\r\n\r\n"));
    }
}
