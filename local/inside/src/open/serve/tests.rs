//! The server over real sockets, with a pretended site behind it.

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinHandle;

use super::*;
use crate::open::names::Origin;

const HOST: &str = "shop.example.com.localhost";
const SOON: Duration = Duration::from_secs(10);

/// `bridge open`, with shop.example.com and api.example.com at one pretended server.
struct World {
    port: u16,
    site: TcpListener,
    token: String,
    serving: JoinHandle<Infallible>,
}

impl Drop for World {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl World {
    async fn new() -> Self {
        Self::with_patience(SOON).await
    }

    async fn with_patience(answer_within: Duration) -> Self {
        let site = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = site.local_addr().unwrap();
        let listening = Listening::bind(0).await.unwrap();
        let port = listening.port;
        let behind = Destination::Host(Origin::parse(&format!("http://{at}")).unwrap());
        let to = |url: &str| Site {
            origin: Origin::parse(url).unwrap(),
            ways: Vec::new(),
            otherwise: behind.clone(),
        };
        let sites = Sites::new(port, vec![to("https://shop.example.com"), to("https://api.example.com")]);
        let opened = Opened::new(sites, Marks::of("alice", &[]), None, Arc::new(|_| {}));
        let opened = Opened { answer_within, ..opened };
        let token = opened.token.as_str().to_owned();
        let serving = tokio::spawn(opened.serve(listening));
        Self { port, site, token, serving }
    }

    /// A request's head, with the host and these lines.
    fn head(&self, line: &str, lines: &[&str]) -> String {
        let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
        format!("{line} HTTP/1.1\r\nHost: {HOST}:{}\r\n{lines}\r\n", self.port)
    }

    fn cookie(&self) -> String {
        format!("Cookie: bridge-open-{}={}", self.port, self.token)
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(("127.0.0.1", self.port)).await.unwrap()
    }

    /// Sends this, and returns the whole answer, as bridge itself gives it.
    async fn ask(&self, text: &str) -> String {
        let mut connection = self.connect().await;
        connection.write_all(text.as_bytes()).await.unwrap();
        whole(&mut connection).await
    }

    /// The same where the site answers this. Returns the head that the site got, too.
    async fn ask_site(&self, text: &str, answer: &[u8]) -> (String, String) {
        let mut connection = self.connect().await;
        connection.write_all(text.as_bytes()).await.unwrap();
        let (mut behind, got) = self.accepts().await;
        behind.write_all(answer).await.unwrap();
        drop(behind);
        (got, whole(&mut connection).await)
    }

    /// The next connection to the site, and the head that comes on it.
    async fn accepts(&self) -> (TcpStream, String) {
        let (mut connection, _) = soon(self.site.accept()).await.unwrap();
        let head = until(&mut connection, "\r\n\r\n").await;
        (connection, head)
    }

    /// Nobody has connected to the site.
    async fn is_untouched(&self) {
        let connected = tokio::time::timeout(Duration::from_millis(50), self.site.accept()).await;
        assert!(connected.is_err(), "expected no connection to the site");
    }
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, future).await.expect("it comes soon")
}

/// Reads up to and including this text.
async fn until(from: &mut (impl AsyncRead + Unpin), end: &str) -> String {
    let mut text = Vec::new();
    while !text.ends_with(end.as_bytes()) {
        match soon(from.read_u8()).await {
            Ok(byte) => text.push(byte),
            Err(error) => panic!("{error} after {:?}", String::from_utf8_lossy(&text)),
        }
    }
    String::from_utf8(text).unwrap()
}

/// Reads one answer with a length, or up to the end.
async fn whole(from: &mut TcpStream) -> String {
    let head = until(from, "\r\n\r\n").await;
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    soon(from.read_exact(&mut body)).await.unwrap();
    head + &String::from_utf8(body).unwrap()
}

fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("{answer}"))
}

fn has(answer: &str, line: &str) -> bool {
    answer.lines().any(|one| one == line)
}

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nStrict-Transport-Security: max-age=1\r\n\
    Set-Cookie: a=b; Domain=example.com; Secure\r\n\r\nhi";

#[tokio::test]
async fn a_browser_is_let_in_by_the_url_and_no_other_is() {
    let world = World::new().await;
    let closed = world.ask(&world.head("GET /x", &["Accept: text/html"])).await;
    assert_eq!(status(&closed), 403, "{closed}");
    assert!(closed.contains("<h1>This browser has not been let in."), "{closed}");
    let text = world.ask(&world.head("GET /x", &["Accept: */*"])).await;
    assert!(text.contains("content-type: text/plain") && text.contains("\n→ Open the URL"), "{text}");
    let wrong = world.ask(&world.head("GET /.bridge/AAAAAAAAAAAAAAAAAAAAAA/", &[])).await;
    assert_eq!(status(&wrong), 403, "{wrong}");
    world.is_untouched().await;

    let entered = world.ask(&world.head(&format!("GET /.bridge/{}/x?y", world.token), &[])).await;
    assert_eq!(status(&entered), 303, "{entered}");
    assert!(has(&entered, &format!("location: http://{HOST}:{}/x?y", world.port)), "{entered}");
    assert!(!entered.contains("referrer-policy"), "a page that led here stays named: {entered}");
    let cookie = format!("bridge-open-{}={}; Path=/; HttpOnly; SameSite=Lax", world.port, world.token);
    assert!(has(&entered, &format!("set-cookie: {cookie}")), "{entered}");

    let (got, answer) = world.ask_site(&world.head("GET /x?y", &[&world.cookie()]), ANSWER).await;
    assert!(got.starts_with("GET /x?y HTTP/1.1\r\n"), "{got}");
    for line in ["host: shop.example.com", "baggage: bridge=alice", "x-bridge: alice"] {
        assert!(has(&got, line), "{line} is not in {got}");
    }
    assert!(!got.contains("bridge-open") && !got.contains(&world.token), "{got}");
    assert!(answer.ends_with("\r\n\r\nhi") && !answer.contains("strict-transport"), "{answer}");
    assert!(has(&answer, "set-cookie: a=b; Domain=example.com.localhost"), "{answer}");
}

#[tokio::test]
async fn foreign_pages_and_foreign_names_get_nothing() {
    let world = World::new().await;
    let cookie = world.cookie();
    for line in [
        "Origin: https://evil.example",
        "Origin: http://localhost:3000",
        "Origin: null",
        "Sec-Fetch-Site: cross-site",
        "Sec-Fetch-Site: same-site",
        "Referer: https://evil.example/",
    ] {
        for method in ["GET", "POST"] {
            let text = world.head(&format!("{method} /x"), &[&cookie, line, "Content-Length: 0"]);
            assert_eq!(status(&world.ask(&text).await), 403, "{method} {line}");
        }
        let socket = ["Connection: Upgrade", "Upgrade: websocket", &cookie, line];
        assert_eq!(status(&world.ask(&world.head("GET /ws", &socket)).await), 403, "{line}");
    }
    for host in ["evil.example", "localhost", "127.0.0.1"] {
        let text = format!("GET / HTTP/1.1\r\nHost: {host}:{}\r\n{cookie}\r\n\r\n", world.port);
        assert_eq!(status(&world.ask(&text).await), 421, "{host}");
    }
    world.is_untouched().await;
}

#[tokio::test]
async fn the_sites_of_an_application_reach_each_other() {
    let world = World::new().await;
    let api = format!("api.example.com.localhost:{}", world.port);
    let shop = format!("http://{HOST}:{}", world.port);
    // A fetch that sends no cookies,
    let fetch =
        format!("GET /v1 HTTP/1.1\r\nHost: {api}\r\nOrigin: {shop}\r\nSec-Fetch-Site: same-site\r\n\r\n");
    let allows = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nAccess-Control-Allow-Origin: https://shop.example.com\r\n\r\n";
    let (got, answer) = world.ask_site(&fetch, allows).await;
    assert!(has(&got, "host: api.example.com") && has(&got, "origin: https://shop.example.com"), "{got}");
    assert!(has(&answer, &format!("access-control-allow-origin: {shop}")), "{answer}");
    // a link, which gets the cookie of the other site,
    let link =
        format!("GET /v1 HTTP/1.1\r\nHost: {api}\r\nReferer: {shop}/\r\nSec-Fetch-Mode: navigate\r\n\r\n");
    let (_, answer) = world.ask_site(&link, ANSWER).await;
    assert!(answer.contains(&format!("set-cookie: bridge-open-{}={}", world.port, world.token)), "{answer}");
    // and a redirect, which goes by its entrance.
    let page = world.head("GET /login", &[&world.cookie(), "Sec-Fetch-Mode: navigate"]);
    let redirect =
        b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: https://api.example.com/login\r\n\r\n";
    let (_, answer) = world.ask_site(&page, redirect).await;
    let entrance = format!("/.bridge/{}/login", world.token);
    assert!(has(&answer, &format!("location: http://{api}{entrance}")), "{answer}");
    let from = "Sec-Fetch-Site: same-site\r\nSec-Fetch-Mode: navigate";
    let entered = world.ask(&format!("GET {entrance} HTTP/1.1\r\nHost: {api}\r\n{from}\r\n\r\n")).await;
    assert_eq!(status(&entered), 200, "{entered}");
    assert!(entered.contains(&format!("href='http://{api}/login'")), "{entered}");
}

#[tokio::test]
async fn bodies_pass_as_they_come() {
    let world = World::new().await;
    let mut browser = world.connect().await;
    let head = world.head("POST /x", &[&world.cookie(), "Transfer-Encoding: chunked"]);
    browser.write_all((head + "3\r\none\r\n").as_bytes()).await.unwrap();
    let (mut site, got) = world.accepts().await;
    assert!(has(&got, "transfer-encoding: chunked"), "{got}");
    assert_eq!(until(&mut site, "one\r\n").await, "3\r\none\r\n");
    // The answer begins before the request has ended, as with server-sent events.
    site.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n")
        .await
        .unwrap();
    let answer = until(&mut browser, "data: 1\n\n\r\n").await;
    assert_eq!(status(&answer), 200);
    browser.write_all(b"3\r\ntwo\r\n0\r\n\r\n").await.unwrap();
    assert_eq!(until(&mut site, "0\r\n\r\n").await, "3\r\ntwo\r\n0\r\n\r\n");
    site.write_all(b"9\r\ndata: 2\n\n\r\n0\r\n\r\n").await.unwrap();
    assert_eq!(until(&mut browser, "0\r\n\r\n").await, "9\r\ndata: 2\n\n\r\n0\r\n\r\n");
}

#[tokio::test]
async fn a_browser_that_goes_ends_its_request() {
    let world = World::new().await;
    let mut browser = world.connect().await;
    browser.write_all(world.head("GET /x", &[&world.cookie()]).as_bytes()).await.unwrap();
    let (mut site, _) = world.accepts().await;
    drop(browser);
    assert_eq!(soon(site.read(&mut [0])).await.unwrap(), 0, "the end");
}

#[tokio::test]
async fn web_sockets_pass() {
    let world = World::new().await;
    let mut browser = world.connect().await;
    let origin = format!("Origin: http://{HOST}:{}", world.port);
    let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
    let lines = [&origin, &world.cookie(), "Connection: keep-alive, Upgrade", "Upgrade: websocket", key];
    browser.write_all(world.head("GET /ws", &lines).as_bytes()).await.unwrap();
    let (mut site, got) = world.accepts().await;
    for line in ["connection: upgrade", "upgrade: websocket", "origin: https://shop.example.com"] {
        assert!(has(&got, line), "{line} is not in {got}");
    }
    assert!(got.contains("sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ=="), "{got}");
    let switches = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\n";
    site.write_all(format!("{switches}hello").as_bytes()).await.unwrap();
    let answer = until(&mut browser, "\r\n\r\n").await;
    assert_eq!(status(&answer), 101);
    assert!(has(&answer, "upgrade: websocket") && has(&answer, "sec-websocket-accept: x"), "{answer}");
    assert_eq!(until(&mut browser, "hello").await, "hello");
    browser.write_all(b"\x81\x05there").await.unwrap();
    let mut frame = [0; 7];
    soon(site.read_exact(&mut frame)).await.unwrap();
    assert_eq!(&frame, b"\x81\x05there");
    drop(browser);
    assert_eq!(soon(site.read(&mut [0])).await.unwrap(), 0, "the end of one is the end of both");
}

#[tokio::test]
async fn nobody_switches_protocols_unasked() {
    let world = World::new().await;
    let switches = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n";
    let (_, answer) = world.ask_site(&world.head("GET /", &[&world.cookie()]), switches).await;
    assert_eq!(status(&answer), 502, "{answer}");
}

#[tokio::test]
async fn a_connection_that_the_site_has_closed_is_made_once_more() {
    let world = World::new().await;
    let text = world.head("GET /x", &[&world.cookie()]);
    let (_, answer) = world.ask_site(&text, ANSWER).await;
    assert_eq!(status(&answer), 200);
    let mut browser = world.connect().await;
    browser.write_all(text.as_bytes()).await.unwrap();
    let (site, _) = world.accepts().await;
    drop(site);
    let (mut site, _) = world.accepts().await;
    site.write_all(ANSWER).await.unwrap();
    assert_eq!(status(&whole(&mut browser).await), 200);
}

#[tokio::test]
async fn trouble_has_a_page() {
    let world = World::new().await;
    let request = world.head("GET /", &[&world.cookie(), "Accept: text/html"]);
    for (answer, expected) in [
        (&b"\x15\x03\x01\x00\x02\x02\x46"[..], "speaks TLS"),
        (b"\0\0\x06\x04\0\0\0\0\0\0\x03\0\0\0\x64", "speaks only HTTP/2"),
        (b"-ERR unknown command\r\n", "did not answer in HTTP/1"),
        (b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n", "speaks TLS"),
    ] {
        let (_, page) = world.ask_site(&request, answer).await;
        assert!(page.contains(expected), "{expected} is not in {page}");
    }
    let silent = World::with_patience(Duration::from_millis(50)).await;
    let page = silent.ask(&silent.head("GET /", &[&silent.cookie()])).await;
    assert_eq!(status(&page), 504, "{page}");

    let mut gone = World::new().await;
    gone.site = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let page = gone.ask(&gone.head("GET /", &[&gone.cookie()])).await;
    assert_eq!(status(&page), 502, "{page}");
    assert!(page.contains("cannot be reached from this machine"), "{page}");
}

#[tokio::test]
async fn a_server_that_says_nothing_in_http_is_asked_in_other_protocols() {
    for (hello, answer, expected) in [
        (&b"\x16\x03"[..], &b"\x15\x03\x01\x00\x02\x02\x46"[..], "speaks TLS"),
        (b"PR", b"\0\0\0\x04\0\0\0\0\0", "speaks only HTTP/2"),
        (b"??", b"", "closed the connection"),
    ] {
        let world = World::new().await;
        let text = world.head("GET /", &[&world.cookie()]);
        let site = async {
            loop {
                let (mut connection, _) = world.site.accept().await.unwrap();
                let mut first = [0; 2];
                let _ = connection.read_exact(&mut first).await;
                if first == hello {
                    connection.write_all(answer).await.unwrap();
                }
            }
        };
        let page = tokio::select! {
            page = world.ask(&text) => page,
            () = site => unreachable!(),
        };
        assert!(page.contains(expected), "{expected} is not in {page}");
    }
}

#[tokio::test]
async fn a_head_without_end_is_not_read_to_its_end() {
    let world = World::new().await;
    let mut browser = world.connect().await;
    let text = world.head("GET /", &[&format!("X: {}", "a".repeat(2 * LARGEST_HEAD))]);
    // It may be closed before all of it is sent.
    let _ = browser.write_all(text.as_bytes()).await;
    let answer = until(&mut browser, "\r\n\r\n").await;
    assert_eq!(status(&answer), 431, "{answer}");
    world.is_untouched().await;
}

#[tokio::test]
async fn a_port_is_ours_for_both_families() {
    let listening = Listening::bind(0).await.unwrap();
    let again = Listening::bind(listening.port).await.map(|listening| listening.port);
    assert_eq!(again.map_err(|error| error.kind()), Err(io::ErrorKind::AddrInUse));
    if listening.listeners.len() == 2 {
        assert!(TcpStream::connect((Ipv6Addr::LOCALHOST, listening.port)).await.is_ok());
    }
}
