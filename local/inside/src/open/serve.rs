//! The server of `bridge open`: HTTP/1.1 on loopback. Bodies pass as they come, in both directions.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bridge_client::{Said, Say};
use bytes::Bytes;
use futures::future::join_all;
use futures::{StreamExt as _, stream};
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::{self, OnUpgrade};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::admission::{Refusal, Token, Verdict, is_navigation, judge, wants_html};
use super::marks::Marks;
use super::names::{Destination, Site, Sites};
use super::pages::{self, Page};
use super::upstream::{Body, Trouble, Upstream};
use super::{cookies, heads};
use crate::loopback::Door;
use crate::network::Streams;

/// A browser opens six for each site, and one for each WebSocket.
const MOST_CONNECTIONS: usize = 512;
/// The time between two requests on a connection, and for the head of each.
const HEAD_WITHIN: Duration = Duration::from_secs(60);
/// The largest head of a request: cookies can be long.
const LARGEST_HEAD: usize = 64 * 1024;
const MOST_HEADERS: usize = 128;
/// The default time for an answer's head. Developers stay at breakpoints; browsers give up after five minutes.
const ANSWER_WITHIN: Duration = Duration::from_secs(600);
/// A body that is an error message comes at once.
const MESSAGE_WITHIN: Duration = Duration::from_secs(1);
/// The pause after an accept that failed, as when descriptors have run out.
const PAUSE: Duration = Duration::from_millis(100);
/// The least time between two reports of refused requests: a page can send many.
const SAID_EVERY: Duration = Duration::from_secs(1);
/// Attempts to find a port that is free for both families.
const ATTEMPTS: usize = 16;

/// A port of loopback, for IPv4 and, where there is one, for IPv6: browsers try both.
#[derive(Debug)]
pub struct Listening {
    listeners: Vec<TcpListener>,
    pub port: u16,
}

/// What a browser reaches by one port, and as whom.
pub struct Opened {
    sites: Sites,
    marks: Marks,
    token: Token,
    upstream: Upstream,
    answer_within: Duration,
    say: Say,
    /// The last report of a refused request.
    said: Mutex<Option<Instant>>,
}

impl Listening {
    /// Listens on this port, or on any (0).
    ///
    /// # Errors
    ///
    /// If the port is taken, for one of the families: a browser would find someone else there.
    pub async fn bind(port: u16) -> io::Result<Self> {
        let mut attempts = 0;
        loop {
            attempts += 1;
            match Self::both(port).await {
                Err(error)
                    if error.kind() == io::ErrorKind::AddrInUse && port == 0 && attempts < ATTEMPTS => {}
                bound => return bound,
            }
        }
    }

    async fn both(port: u16) -> io::Result<Self> {
        let four = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        let port = four.local_addr()?.port();
        let listeners = match TcpListener::bind((Ipv6Addr::LOCALHOST, port)).await {
            Ok(six) => vec![four, six],
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Err(error),
            // A machine without IPv6.
            Err(_) => vec![four],
        };
        Ok(Self { listeners, port })
    }
}

impl Opened {
    /// `streams`: for Services.
    #[must_use]
    pub fn new(sites: Sites, marks: Marks, streams: Option<Streams>, say: Say) -> Self {
        let (token, upstream) = (Token::random(), Upstream::new(streams));
        Self { sites, marks, token, upstream, answer_within: ANSWER_WITHIN, say, said: Mutex::default() }
    }

    /// The URL that lets a browser in, and leads to this path of the first site.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        let site = self.sites.first().map(|site| self.sites.url(site)).unwrap_or_default();
        format!("{site}{}{path}", self.token.path())
    }

    #[must_use]
    pub fn sites(&self) -> &Sites {
        &self.sites
    }

    #[must_use]
    pub fn marks(&self) -> &Marks {
        &self.marks
    }

    /// Serves this user's browser until the future is dropped, and all connections end with it.
    pub async fn serve(self, listening: Listening) -> Infallible {
        let door = Arc::new(Door::new(self.say.clone()));
        let opened = Arc::new(self);
        let room = Arc::new(Semaphore::new(MOST_CONNECTIONS));
        let listeners = listening.listeners.into_iter();
        join_all(listeners.map(|listener| accept(listener, opened.clone(), door.clone(), room.clone())))
            .await;
        std::future::pending().await
    }
}

async fn accept(
    listener: TcpListener,
    opened: Arc<Opened>,
    door: Arc<Door>,
    room: Arc<Semaphore>,
) -> Infallible {
    let mut connections = JoinSet::new();
    loop {
        // One that is never closed.
        let Ok(permit) = room.clone().acquire_owned().await else { return std::future::pending().await };
        let accepted = loop {
            tokio::select! {
                accepted = listener.accept() => break accepted,
                Some(_) = connections.join_next() => {}
            }
        };
        match accepted {
            Ok((connection, from)) if door.lets_in(&connection, from) => {
                let opened = opened.clone();
                connections.spawn(async move {
                    opened.connection(connection).await;
                    drop(permit);
                });
            }
            Ok(_) => {}
            Err(error) => {
                (opened.say)(&Said::Note(format!("cannot accept: {error}")));
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// A connection that has switched to another protocol, on both sides.
type Switched = Arc<Mutex<Option<(OnUpgrade, OnUpgrade)>>>;

impl Opened {
    /// Serves one connection to its end, or to the end of what it has switched to.
    async fn connection(self: Arc<Self>, connection: TcpStream) {
        let _ = connection.set_nodelay(true);
        let switched = Switched::default();
        let answer = |request| {
            let (opened, switched) = (self.clone(), switched.clone());
            async move { Ok::<_, Infallible>(opened.answer(request, &switched).await) }
        };
        let served = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_WITHIN)
            .max_buf_size(LARGEST_HEAD)
            .max_headers(MOST_HEADERS)
            .serve_connection(TokioIo::new(connection), service_fn(answer))
            .with_upgrades()
            .await;
        // A browser that is gone, or sent nonsense, has got its answer.
        drop(served);
        let switched = switched.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((near, far)) = switched {
            let Ok((near, far)) = tokio::try_join!(near, far) else { return };
            // If one of the two breaks off, the other sees it.
            let _ = copy_bidirectional(&mut TokioIo::new(near), &mut TokioIo::new(far)).await;
        }
    }

    async fn answer(&self, mut request: Request<Incoming>, switched: &Switched) -> Response<Body> {
        let html = wants_html(request.headers());
        let verdict = judge(request.method(), request.uri(), request.headers(), &self.sites, &self.token);
        let (site, cookie) = match verdict {
            Verdict::Admitted { site, cookie } => (site, cookie),
            Verdict::Enters { site, to, as_own } => return self.enter(site, &to, as_own, request.method()),
            Verdict::Refused(refusal) => return self.refuse(&refusal, &request, html),
        };
        let to = site.way(request.uri().path()).clone();
        let near = upgrade::on(&mut request);
        match self.pass(site, &to, request).await {
            Ok(mut answer) => {
                if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
                    let far = upgrade::on(&mut answer);
                    *switched.lock().unwrap_or_else(PoisonError::into_inner) = Some((near, far));
                }
                if cookie {
                    self.let_in(&mut answer);
                }
                answer
            }
            Err(trouble) => Page::trouble(&trouble, &to).answer(html),
        }
    }

    async fn pass(
        &self,
        site: &Site,
        to: &Destination,
        mut request: Request<Incoming>,
    ) -> Result<Response<Body>, Trouble> {
        let navigation = is_navigation(request.headers());
        let by_service = matches!(to, Destination::Service { .. });
        heads::for_site(request.headers_mut(), site, &self.sites, &self.marks, by_service);
        let asked = heads::upgrade(request.headers());
        let mut answer = self.upstream.send(to, request, self.answer_within).await?;
        let switches = answer.status() == StatusCode::SWITCHING_PROTOCOLS;
        let protocol = heads::upgrade(answer.headers()).filter(|_| switches);
        if switches && (asked.is_none() || protocol.is_none()) {
            return Err(Trouble::NotHttp(
                "it switches to another protocol, which nobody asked for".to_owned(),
            ));
        }
        heads::for_browser(answer.headers_mut(), site, &self.sites, &self.token, navigation);
        if let Some(protocol) = protocol {
            answer.headers_mut().insert(header::CONNECTION, http::HeaderValue::from_static("upgrade"));
            answer.headers_mut().insert(header::UPGRADE, protocol);
        }
        match answer.status() {
            StatusCode::BAD_REQUEST => unless_about_tls(answer).await,
            _ => Ok(answer.map(|body| body.map_err(Into::into).boxed_unsync())),
        }
    }

    /// Sends a browser that has the token on, with the cookie.
    fn enter(&self, site: &Site, to: &str, as_own: bool, method: &Method) -> Response<Body> {
        // Whole, as a path that begins with two slashes would be another host.
        let to = format!("{}{to}", self.sites.url(site));
        let reads = matches!(*method, Method::GET | Method::HEAD);
        let mut answer = match (reads, as_own) {
            (true, true) => pages::entrance(&to),
            (true, false) => pages::redirect(&to, StatusCode::SEE_OTHER),
            // With its body once more.
            (false, _) => pages::redirect(&to, StatusCode::TEMPORARY_REDIRECT),
        };
        self.let_in(&mut answer);
        answer
    }

    fn let_in(&self, answer: &mut Response<Body>) {
        let cookie = cookies::letting_in(self.sites.port(), self.token.as_str());
        if let Some(cookie) = cookie {
            answer.headers_mut().append(header::SET_COOKIE, cookie);
        }
    }

    fn refuse(&self, refusal: &Refusal, request: &Request<Incoming>, html: bool) -> Response<Body> {
        let of = |name| request.headers().get(name).map(|value| format!("{value:?}"));
        let why = match refusal {
            Refusal::Host => of(header::HOST).map(|host| format!("a request for {host} was refused")),
            Refusal::Foreign => of(header::ORIGIN)
                .or_else(|| of(header::REFERER))
                .map(|origin| format!("a request of a page of {origin} was refused")),
            Refusal::Unknown | Refusal::Meaningless => None,
        };
        if let Some(why) = why.filter(|_| self.may_say()) {
            (self.say)(&Said::Note(why));
        }
        Page::refusal(refusal, self.sites.port()).answer(html)
    }

    fn may_say(&self) -> bool {
        let (now, mut said) = (Instant::now(), self.said.lock().unwrap_or_else(PoisonError::into_inner));
        let is_due = said.is_none_or(|last| now >= last + SAID_EVERY);
        if is_due {
            *said = Some(now);
        }
        is_due
    }
}

/// Servers with TLS answer requests without it in plain HTTP, some of them.
async fn unless_about_tls(answer: Response<Incoming>) -> Result<Response<Body>, Trouble> {
    let (head, mut body) = answer.into_parts();
    let first = tokio::time::timeout(MESSAGE_WITHIN, body.frame()).await;
    // A body that takes its time is no such message.
    let first = match first {
        Ok(Some(Ok(frame))) => Some(frame),
        Ok(Some(Err(_)) | None) | Err(_) => None,
    };
    let beginning = first.as_ref().and_then(Frame::data_ref).cloned().unwrap_or_else(Bytes::new);
    if Page::is_about_tls(head.status, &beginning) {
        return Err(Trouble::SpeaksTls);
    }
    let rest = http_body_util::BodyStream::new(body).map(|frame| frame.map_err(Into::into));
    let whole = StreamBody::new(stream::iter(first.map(Ok)).chain(rest));
    Ok(Response::from_parts(head, whole.boxed_unsync()))
}

#[cfg(test)]
mod tests;
