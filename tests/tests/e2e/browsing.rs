//! An application in the browser: `bridge open`, with a program in the browser's place.

use std::path::Path;

use bridge_tests::process::{Done, USUAL};
use bridge_tests::{Laptop, Local, World, eventually};
use serde_json::json;

/// Two hosts of one application.
const INGRESS: &str = "
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: shop}
spec:
  tls: [{hosts: [shop.example.com]}]
  rules:
    - host: shop.example.com
      http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {name: http}}}}]}
    - host: orders.example.com
      http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: orders, port: {number: 80}}}}]}
";

/// Switches to a WebSocket, reads what it says first, sends "a" and prints the answer.
const WEB_SOCKET: &str = r#"
import socket, sys
port, host, origin, cookie = sys.argv[1:]
browser = socket.create_connection(("127.0.0.1", int(port)))
browser.settimeout(20)
head = ["GET /ws HTTP/1.1", f"Host: {host}", f"Origin: {origin}", f"Cookie: {cookie}", "Connection: Upgrade",
        "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="]
browser.sendall("\r\n".join(head + ["", ""]).encode())
read = b""
def until(end):
    global read
    while end not in read:
        more = browser.recv(4096)
        if not more:
            sys.exit(f"it ended after {read}")
        read += more
until(b"hello from")
until(b"laptop")
before, read = read, b""
browser.sendall(b"\x81\x81\0\0\0\0a")
until(b": a")
print((before + read).decode(errors="replace"))
"#;

#[test]
#[ignore = "needs a cluster: make test"]
fn an_application_in_the_browser_is_mine() {
    let world = World::with("browsing", &["orders", "prices", "stock", "web", "client"]);
    let _ = world.apply(INGRESS);
    let alice = world.laptop("alice");
    let before = world.objects();
    let orders = alice.runs("orders");
    let _ = alice.bridge(&["connect", "orders", "--port", &orders.for_port("http")]).succeeds();
    let browser = Browser::new(&alice, &["open", "web", "--print"]);

    only_the_printed_url_lets_a_browser_in(&browser);
    every_request_is_mine_and_the_site_sees_the_real_host(&browser, &orders);
    pages_from_elsewhere_and_other_users_get_nothing(&browser);
    web_sockets_and_events_pass(&browser, &orders);
    a_page_says_what_is_wrong(&alice);
    it_goes_on_when_the_daemon_dies(&browser, &orders);
    browser.open.ends();
    let _ = alice.bridge(&["disconnect"]).succeeds();
    world.is_given_back(&before);
}

/// A program in its place, and the `bridge open` that it uses.
struct Browser<'a> {
    alice: &'a Laptop,
    open: Local,
    /// "/.bridge/TOKEN/"
    entrance: String,
    /// "bridge-open-PORT=TOKEN"
    cookie: String,
}

impl<'a> Browser<'a> {
    fn new(alice: &'a Laptop, args: &[&str]) -> Self {
        let open = alice.opens_for_browsers(args);
        let (_, path) = open.said.split_once(&format!(":{}/", open.port)).expect("a port");
        let token = path.trim_start_matches(".bridge/").trim_end_matches('/');
        let cookie = format!("bridge-open-{}={token}", open.port);
        Self { alice, entrance: format!("/{path}"), cookie, open }
    }

    /// "shop.example.com.localhost:PORT"
    fn host(&self, real: &str) -> String {
        format!("{real}.localhost:{}", self.open.port)
    }

    /// One request, and its whole answer.
    fn asks(&self, real: &str, path: &str, headers: &[&str]) -> Done {
        let port = self.open.port;
        let resolved = format!("{real}.localhost:{port}:127.0.0.1");
        let url = format!("http://{}{path}", self.host(real));
        let headers = headers.iter().flat_map(|header| ["--header", header]);
        let args = ["--silent", "--include", "--max-time", "30", "--resolve", &resolved, &url];
        let args: Vec<&str> = args.into_iter().chain(headers).collect();
        self.alice.start(Path::new("curl"), &args).ends(USUAL).succeeds()
    }

    /// The same with the cookie.
    fn visits(&self, real: &str, path: &str, headers: &[&str]) -> Done {
        let cookie = format!("Cookie: session=1; {}", self.cookie);
        self.asks(real, path, &[&[cookie.as_str()], headers].concat())
    }
}

#[track_caller]
fn is(answer: &Done, status: u16) {
    assert!(answer.stdout.starts_with(&format!("HTTP/1.1 {status}")), "expected {status}: {answer}");
}

fn only_the_printed_url_lets_a_browser_in(browser: &Browser<'_>) {
    let shop = "shop.example.com";
    assert!(
        browser.open.said.starts_with(&format!("http://{}/.bridge/", browser.host(shop))),
        "the Ingress is known"
    );
    let closed = browser.asks(shop, "/", &["Accept: text/html"]);
    is(&closed, 403);
    assert!(closed.stdout.contains("<h1>This browser has not been let in."), "{closed}");

    let entered = browser.asks(shop, &browser.entrance, &[]);
    is(&entered, 303);
    assert!(entered.stdout.contains(&format!("location: http://{}/\r\n", browser.host(shop))), "{entered}");
    let cookie = format!("set-cookie: {}; Path=/; HttpOnly; SameSite=Lax\r\n", browser.cookie);
    assert!(entered.stdout.contains(&cookie), "{entered}");
}

fn every_request_is_mine_and_the_site_sees_the_real_host(browser: &Browser<'_>, orders: &Local) {
    // Two hops on, by what web hands on.
    let page = browser.visits("shop.example.com", "/", &[]);
    is(&page, 200);
    assert!(page.stdout.contains(r#""service":"web""#) && page.stdout.contains(&orders.name), "{page}");

    let origin = format!("Origin: http://{}", browser.host("shop.example.com"));
    let seen = browser.visits("orders.example.com", "/headers", &[&origin]);
    is(&seen, 200);
    let body = seen.stdout.split_once("\r\n\r\n").expect("a body").1;
    let seen: serde_json::Value = serde_json::from_str(body).expect("JSON");
    let header = |name: &str| seen["headers"][name][0].clone();
    assert_eq!((&seen["answered_by"], &seen["host"]), (&json!(orders.name), &json!("orders.example.com")));
    for (name, expected) in [
        ("X-Bridge", "alice"),
        ("Baggage", "bridge=alice"),
        ("Origin", "https://shop.example.com"),
        ("X-Forwarded-Host", "orders.example.com"),
        ("X-Forwarded-Proto", "http"),
        ("Cookie", "session=1"),
    ] {
        assert_eq!(header(name), expected, "{name}: {seen}");
    }
}

fn pages_from_elsewhere_and_other_users_get_nothing(browser: &Browser<'_>) {
    for line in
        ["Origin: https://evil.example", "Origin: http://localhost:3000", "Sec-Fetch-Site: cross-site"]
    {
        let refused = browser.visits("orders.example.com", "/headers", &[line]);
        is(&refused, 403);
        assert!(!refused.stdout.contains("answered_by"), "{refused}");
    }
    // A name that was pointed to loopback,
    let host = format!("Host: evil.example:{}", browser.open.port);
    is(&browser.visits("orders.example.com", "/headers", &[&host]), 421);
    // and another user of the machine, who knows everything.
    let url = format!("http://127.0.0.1:{}/headers", browser.open.port);
    let host = format!("Host: {}", browser.host("orders.example.com"));
    let cookie = format!("Cookie: {}", browser.cookie);
    let args = ["--silent", "--max-time", "10", "--header", &host, "--header", &cookie, &url];
    if let Some(asked) = Laptop::start_by_another("curl", &args) {
        let asked = asked.ends(USUAL);
        assert!(asked.code != Some(0) && asked.stdout.is_empty(), "expected no answer: {asked}");
    }
}

fn web_sockets_and_events_pass(browser: &Browser<'_>, orders: &Local) {
    let events = browser.visits("orders.example.com", "/sse?n=2&ms=50", &[]);
    is(&events, 200);
    assert!(events.stdout.contains(&format!("id: 2\ndata: {}\n\n", orders.name)), "{events}");

    let (port, host) = (browser.open.port.to_string(), browser.host("orders.example.com"));
    let origin = format!("http://{}", browser.host("shop.example.com"));
    let args = ["-c", WEB_SOCKET, &port, &host, &origin, &browser.cookie];
    let said = browser.alice.start(Path::new("python3"), &args).ends(USUAL).succeeds();
    assert!(said.stdout.starts_with("HTTP/1.1 101"), "{said}");
    assert!(said.stdout.contains(&format!("hello from {}", orders.name)), "{said}");
    assert!(said.stdout.contains(&format!("{}: a", orders.name)), "{said}");
}

fn a_page_says_what_is_wrong(alice: &Laptop) {
    // gRPC only, under the Service's own name.
    let prices = Browser::new(alice, &["open", "prices", "--print"]);
    let page = prices.visits("prices", "/", &["Accept: text/html"]);
    is(&page, 502);
    assert!(page.stdout.contains("<h1>prices:"), "{page}");
    alice.bridge(&["open", "nothing", "--print"]).fails(3, "nothing");
    alice.bridge(&["open", "web", "--print", "--listen", &prices.open.port.to_string()]).fails(1, "--listen");
}

fn it_goes_on_when_the_daemon_dies(browser: &Browser<'_>, orders: &Local) {
    assert!(browser.alice.kill_daemon(), "expected a daemon");
    eventually("the browser's requests are mine again", USUAL, || {
        let page = browser.visits("shop.example.com", "/", &[]);
        page.stdout.contains(&orders.name).then_some(()).ok_or_else(|| page.to_string())
    });
}
