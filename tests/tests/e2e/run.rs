//! A process of the laptop that runs as if it were in the target's pod.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use bridge_tests::process::USUAL;
use bridge_tests::{Laptop, World, eventually, soak};
use serde_json::Value;

#[test]
#[ignore = "needs a cluster: make test"]
fn a_local_command_has_the_target_s_network_environment_and_files() {
    let world = World::with("run", &["orders", "prices", "stock", "web", "client"]);
    let alice = world.laptop("alice");
    // A user who may edit the target's settings has added variables that local shells would run.
    let hook = format!("$(touch {})", alice.path("ran").display());
    let hooks =
        serde_json::json!({"data": {"BASH_ENV": hook, "NODE_OPTIONS": "--require /tmp/x"}}).to_string();
    let _ = world.kubectl(&["patch", "configmap", "orders-config", "--type=merge", "-p", &hooks]).succeeds();
    let before = world.objects();
    a_native_process_takes_the_place_of_a_service(&world, &alice);
    world.is_given_back(&before);
    it_outlives_the_daemon(&world, &alice);
    world.is_given_back(&before);
    the_port_by_which_callers_know_a_service_is_found(&world, &alice);
    two_services_that_run_here_find_each_other(&world, &alice);
    // One session for all steps that follow. Each leaves it connected, even the one that kills the daemon.
    let _ = alice.bridge(&["connect", "orders"]).succeeds();
    a_command_ends_as_it_would_outside(&alice);
    nothing_of_the_target_runs_here_unasked(&alice);
    nobody_looks_into_the_daemon(&alice);
    the_volumes_are_files_here_as_long_as_a_command_runs(&world, &alice);
    ports_and_proxies_lead_into_the_cluster(&world, &alice);
    without_supervision_a_command_has_a_proxy(&alice);
    a_network_that_both_have_is_said(&alice);
    let _ = alice.bridge(&["disconnect", "orders"]).succeeds();
}

fn a_native_process_takes_the_place_of_a_service(world: &World, alice: &Laptop) {
    // Given a static program that Alice runs in place of orders, on a port of its own choice, which bridge prints.
    let orders = alice.runs_inside("orders");
    let _ = alice.bridge(&["connect", "orders", "--port", &orders.for_port("http")]).succeeds();

    // When a request with her header comes,
    let order = world.client(&["http", "http://orders/", "--header", "x-bridge=alice"]).succeeds().json();

    // then it is answered here, with the help of the cluster's Services by their short names, and with the environment
    // of the pod.
    assert_eq!(order["answered_by"], orders.name.as_str(), "{order}");
    let by = |part: &str| order[part]["answered_by"].as_str().unwrap_or_default().to_owned();
    assert!(by("price").starts_with("prices-"), "expected a pod of prices, by gRPC: {order}");
    assert!(by("stock").starts_with("stock-"), "expected a pod of stock, by TCP: {order}");
    assert_eq!(order["greeting"], "Welcome to the shop", "of a ConfigMap: {order}");
    assert_eq!(order["secret_set"], true, "of a Secret: {order}");

    // `bridge dns` shows which resolver answered.
    let named = alice.bridge(&["dns", "prices", "-o", "json"]).succeeds().json();
    assert_eq!(named["source"], "cluster", "{named}");
    assert_eq!(named["records"][0]["data"], world.service("prices")["spec"]["clusterIP"], "{named}");
    let environment = alice.bridge(&["env", "orders", "--format", "json"]).succeeds().json();
    assert_eq!(environment["GREETING"], "Welcome to the shop");
    assert!(environment["PATH"].is_null() && environment["BRIDGE_POD_NAME"].is_null(), "{environment}");

    // When the program ends, the session of `connect` stays until it is disconnected.
    orders.ends();
    assert_eq!(alice.session()["state"], "routing");
    let _ = alice.bridge(&["disconnect", "orders"]).succeeds();
    has_no_session(alice);
}

fn it_outlives_the_daemon(world: &World, alice: &Laptop) {
    // Given orders, run by Alice, and then connected to another port.
    let begun = Instant::now();
    let orders = alice.runs_inside("orders");
    let connecting = begun.elapsed();
    let _ = alice.bridge(&["connect", "orders", "--port", &orders.for_port("http")]).succeeds();

    // When the daemon is killed, and nobody runs a command,
    assert!(alice.kill_daemon(), "expected a daemon");
    let killed = Instant::now();

    // then her requests come to her program again, and it reaches the cluster's Services by their names: sooner than it
    // was connected at first, when there were no agents yet. Both take long when many stories share two cores.
    let within = connecting.max(Duration::from_secs(5));
    eventually("her program takes her orders, and asks for their prices", within, || {
        let done = world.client(&["http", "http://orders/", "--header", "x-bridge=alice"]);
        let order: Value = serde_json::from_str(&done.stdout).map_err(|_| done.to_string())?;
        let price = order["price"]["answered_by"].as_str().unwrap_or_default();
        let is_alices = order["answered_by"] == orders.name.as_str() && price.starts_with("prices-");
        is_alices.then_some(()).ok_or_else(|| done.to_string())
    });
    println!("a command whose daemon was killed was back after {:.2} s", killed.elapsed().as_secs_f64());

    // When it ends, the session of `connect` stays, as if that daemon had lived,
    orders.ends();
    assert_eq!(alice.session()["state"], "routing");
    let _ = alice.bridge(&["disconnect", "orders"]).succeeds();
    has_no_session(alice);

    // and the target is also restored if it ends so soon after the daemon that there is no other yet.
    let orders = alice.runs_inside("orders");
    assert!(alice.kill_daemon(), "expected a daemon");
    orders.ends();
}

fn has_no_session(alice: &Laptop) {
    eventually("no session is left", Duration::from_secs(10), || {
        let sessions = alice.status()["sessions"].clone();
        (sessions == serde_json::json!([])).then_some(()).ok_or_else(|| sessions.to_string())
    });
}

fn the_port_by_which_callers_know_a_service_is_found(world: &World, alice: &Laptop) {
    // Given a Service whose port is another than its pods',
    let port = alice.free_port();
    let _ = world.apply(&format!(
        r#"{{"apiVersion": "v1", "kind": "Service", "metadata": {{"name": "by-number"}},
            "spec": {{"selector": {{"app": "orders"}}, "ports": [{{"port": {port}, "targetPort": "http"}}]}}}}"#
    ));
    // when Alice's program listens on that,
    let orders = alice.runs_inside_at("by-number", "orders", port);
    // then her requests come there.
    assert_eq!(orders.port, port);
    let url = format!("http://by-number:{port}/whoami");
    let answer = world.client(&["http", &url, "--header", "x-bridge=alice"]).succeeds().stdout;
    assert_eq!(answer.trim(), format!("orders {}", orders.name));
    orders.ends();
    let _ = world.kubectl(&["delete", "service", "by-number"]).succeeds();
}

fn two_services_that_run_here_find_each_other(world: &World, alice: &Laptop) {
    // Given web and orders, both run by Alice, in two terminals,
    let (web, orders) = (alice.runs_inside("web"), alice.runs_inside("orders"));
    // (a warning says that both would by default listen on the same port)
    let said = alice.bridge(&["run", "web", "true"]).succeeds().stderr;
    assert!(said.contains("your requests to orders come to port 8080, too"), "{said}");
    let _ = alice.bridge(&["connect", "web", "--port", &web.for_port("http")]).succeeds();
    let _ = alice.bridge(&["connect", "orders", "--port", &orders.for_port("http")]).succeeds();
    let who = |headers: &[&str]| {
        let args = [&["http", "http://web/"], headers].concat();
        let page = world.client(&args).succeeds().json();
        let by = |page: &serde_json::Value| page["answered_by"].as_str().unwrap_or_default().to_owned();
        (by(&page), by(&page["orders"]))
    };

    // when a request with her header comes to web, her web asks for orders by the cluster's name, and her orders answers:
    let alices = (web.name.clone(), orders.name.clone());
    assert_eq!(who(&["--header", "x-bridge=alice"]), alices);
    assert_eq!(who(&["--header", "baggage=bridge=alice"]), alices);
    // everyone else sees the pods.
    let others = who(&[]);
    assert!(others.0.starts_with("web-") && others.1.starts_with("orders-"), "{others:?}");

    // When one ends, the other goes on, and finds the pods.
    let _ = alice.bridge(&["disconnect", "orders"]).succeeds();
    orders.ends();
    eventually("orders is given back", Duration::from_secs(10), || {
        let seen = who(&["--header", "x-bridge=alice"]);
        let as_expected = seen.0 == web.name && seen.1.starts_with("orders-");
        as_expected.then_some(()).ok_or_else(|| format!("{seen:?}"))
    });
    let _ = alice.bridge(&["disconnect", "web"]).succeeds();
    web.ends();
}

fn a_command_ends_as_it_would_outside(alice: &Laptop) {
    // Given orders connected, a command's output and its exit code are its own,
    let done = alice.bridge(&["run", "orders", "sh", "-c", "echo $GREETING; exit 7"]);
    assert_eq!(done.stdout.trim(), "Welcome to the shop", "{done}");
    done.fails(7, "");
    // and earlier connects stay as they were.
    assert_eq!(alice.session()["state"], "routing");

    // What it begins by itself is Alice's, unless it is to be something else.
    for (options, expected) in [(&[][..], "bridge=alice"), (&["--env", "BAGGAGE=tenant=7"], "tenant=7")] {
        let run = [&["run", "orders"], options, &["--", "sh", "-c", "echo $BAGGAGE"]].concat();
        assert_eq!(alice.bridge(&run).succeeds().stdout.trim(), expected, "the baggage with {options:?}");
    }

    // A dynamically linked program finds the cluster's Services by each of their names,
    let full =
        format!("web.{}.svc.cluster.local", alice.session()["namespace"].as_str().expect("a namespace"));
    for name in ["web", full.strip_suffix(".svc.cluster.local").expect("it ends so"), &full] {
        let url = format!("http://{name}/whoami");
        let done = alice.bridge(&["run", "orders", "--", "curl", "-sS", "--max-time", "10", &url]).succeeds();
        assert!(done.stdout.starts_with("web web-"), "expected a pod of web for {name}: {done}");
    }

    // bridge names a program that does not exist.
    alice.bridge(&["run", "orders", "--", "no-such-program"]).fails(127, "no-such-program");
}

/// Needs the variables for shells that the story adds to the target.
fn nothing_of_the_target_runs_here_unasked(alice: &Laptop) {
    // A shell runs with the target's environment; variables that shells would run are omitted, and bridge names them.
    let done = alice.bridge(&["run", "orders", "bash", "-c", "echo $GREETING"]).succeeds();
    assert_eq!(done.stdout.trim(), "Welcome to the shop", "{done}");
    assert!(!alice.path("ran").exists(), "the target's BASH_ENV has run here");
    assert!(done.stderr.contains("left out") && done.stderr.contains("BASH_ENV, NODE_OPTIONS"), "{done}");
    let environment = alice.bridge(&["env", "orders", "--format", "json"]).succeeds().json();
    assert!(environment["BASH_ENV"].is_null(), "{environment}");
    // `--env-include` takes one all the same.
    let asked = ["run", "orders", "--env-include", "BASH_ENV", "--", "bash", "-c", "true"];
    let _ = alice.bridge(&asked).succeeds();
    assert!(alice.path("ran").exists(), "a variable that was asked for did not come");
}

/// Needs a daemon: the keys of its sessions are in its memory. The files of a process that is not dumpable are root's.
fn nobody_looks_into_the_daemon(alice: &Laptop) {
    let daemon = alice.daemon().expect("a daemon").as_raw_nonzero();
    let owner = fs::metadata(format!("/proc/{daemon}/mem")).expect("it runs").uid();
    assert_eq!(owner, 0, "another process of the same user can read the daemon's memory");
}

fn without_supervision_a_command_has_a_proxy(alice: &Laptop) {
    let curl = ["curl", "-sS", "--max-time", "10", "http://web/whoami"];
    let done = alice.bridge_without_supervision(&[&["run", "orders", "--"], &curl[..]].concat()).succeeds();
    assert!(done.stdout.starts_with("web web-"), "expected a pod of web: {done}");
    let said: Vec<_> = done.stderr.lines().filter(|line| line.contains("using a proxy instead")).collect();
    assert!(said.len() == 1 && said[0].contains("forbids seccomp filters"), "bridge says why, once: {done}");
    let done = alice.bridge_without_supervision(&["run", "orders", "sh", "-c", "echo $GREETING; exit 7"]);
    assert_eq!(done.stdout.trim(), "Welcome to the shop", "{done}");
    done.fails(7, "");
}

fn a_network_that_both_have_is_said(alice: &Laptop) {
    // Given that all addresses count as the cluster's, including those of the laptop's own network (if it has one),
    let done = alice.bridge(&["run", "orders", "--also-cluster", "0.0.0.0/0", "true"]).succeeds();
    let warned = done.stderr.contains("0.0.0.0/0 is a network of the cluster, and ");
    let routes = alice.start(Path::new("cat"), &["/proc/net/route"]).ends(USUAL).succeeds().stdout;
    let is_default = |route: &str| route.split_whitespace().nth(1) == Some("00000000");
    assert_eq!(warned, !routes.lines().skip(1).all(is_default), "{routes}\n{done}");
}

fn ports_and_proxies_lead_into_the_cluster(world: &World, alice: &Laptop) {
    let curl = |args: &[&str]| {
        let args = [&["--silent", "--show-error", "--max-time", "10"], args].concat();
        alice.start(Path::new("curl"), &args).ends(USUAL).succeeds().stdout
    };

    // Given a port that leads to web, any program reaches web through it.
    let forwarded = alice.opens(&["forward", "web"]);
    let answer = curl(&[&format!("http://127.0.0.1:{}/whoami", forwarded.port)]);
    assert!(answer.starts_with("web web-"), "expected a pod of web: {answer}");

    // Through a proxy they use its name, over SOCKS as well as HTTP.
    let proxy = alice.opens(&["proxy", "orders"]);
    for (kind, tunnel) in [("socks5h", None), ("http", Some("--proxytunnel"))] {
        let proxy = format!("{kind}://127.0.0.1:{}", proxy.port);
        let args = ["--proxy", &proxy, "http://web/whoami"];
        let answer = curl(&args.into_iter().chain(tunnel).collect::<Vec<_>>());
        assert!(answer.starts_with("web web-"), "expected a pod of web by {kind}: {answer}");
    }

    // Datagrams go through SOCKS as well: here a query to the cluster's own DNS.
    let name = format!("web.{}.svc.cluster.local", world.namespace);
    let script = r#"
import socket, struct, sys
tcp = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
tcp.sendall(b"\5\1\0")
tcp.recv(2)
tcp.sendall(b"\5\3\0\1" + bytes(6))
port, = struct.unpack(">H", tcp.recv(10)[8:])
to = b"kube-dns.kube-system"
labels = b"".join(bytes([len(label)]) + label for label in sys.argv[2].encode().split(b"."))
question = b"\0\7\1\0\0\1" + bytes(6) + labels + b"\0\0\1\0\1"
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.settimeout(10)
udp.sendto(b"\0\0\0\3" + bytes([len(to)]) + to + struct.pack(">H", 53) + question, ("127.0.0.1", port))
print(socket.inet_ntoa(udp.recv(2048)[-4:]))
"#;
    let asked =
        alice.start(Path::new("python3"), &["-c", script, &proxy.port.to_string(), &name]).ends(USUAL);
    assert_eq!(asked.succeeds().stdout.trim(), world.service("web")["spec"]["clusterIP"]);

    ports_on_loopback_are_only_for_their_user(alice, forwarded.port, proxy.port);

    // When the daemon is killed, new connections wait until `forward` or `proxy` has connected orders again.
    assert!(alice.kill_daemon(), "expected a daemon");
    let proxy = format!("socks5h://127.0.0.1:{}", proxy.port);
    let by_port = format!("http://127.0.0.1:{}/whoami", forwarded.port);
    for args in [&[by_port.as_str()][..], &["--proxy", &proxy, "http://web/whoami"]] {
        let answer = curl(args);
        assert!(answer.starts_with("web web-"), "expected a pod of web for {args:?}: {answer}");
    }
}

fn ports_on_loopback_are_only_for_their_user(alice: &Laptop, forwarded: u16, proxy: u16) {
    let by_port = format!("http://127.0.0.1:{forwarded}/whoami");
    let by_proxy = format!("socks5h://127.0.0.1:{proxy}");
    // Another user of the machine is not served, neither by the port nor by the proxy.
    for args in [&["--proxy", "", by_port.as_str()][..], &["--proxy", &by_proxy, "http://web/whoami"]] {
        let Some(asked) =
            Laptop::start_by_another("curl", &[&["--silent", "--max-time", "10"], args].concat())
        else {
            continue;
        };
        let asked = asked.ends(USUAL);
        assert!(asked.code != Some(0) && asked.stdout.is_empty(), "expected no answer: {asked}");
    }
    // Nor is a website whose name was pointed to loopback.
    let rebound = ["--silent", "--header", "Host: website.example", "--max-time", "10", &by_port];
    let answer = alice.start(Path::new("curl"), &rebound).ends(USUAL).succeeds();
    assert!(answer.stdout.contains("website.example"), "expected the reason: {answer}");
    assert!(!answer.stdout.contains("web web-"), "a website has reached the cluster: {answer}");
}

fn the_volumes_are_files_here_as_long_as_a_command_runs(world: &World, alice: &Laptop) {
    let inside = |options: &[&str], script: &str| {
        alice.start_bridge(&[&["run", "orders"], options, &["--", "sh", "-c", script]].concat())
    };

    // A ConfigMap is at the container's path, with the same links.
    let script = "cd $BRIDGE_ROOT && pwd && cat etc/shop/menu.txt && readlink etc/shop/menu.txt";
    let seen = inside(&[], script).ends(Duration::from_secs(30)).succeeds();
    let [root, menu, link] = seen.stdout.lines().collect::<Vec<_>>()[..] else {
        panic!("three lines: {seen}")
    };
    assert_eq!((menu, link), ("coffee, tea and cake", "..data/menu.txt"));
    assert!(seen.stderr.contains(root), "bridge says where they are: {seen}");
    assert!(!Path::new(root).exists(), "they go with the command");

    // So is the token of the pod's service account, which no pod template names.
    let script = "wc -c < $BRIDGE_ROOT/var/run/secrets/kubernetes.io/serviceaccount/token";
    let seen = inside(&[], script).ends(Duration::from_secs(30)).succeeds();
    assert!(seen.stdout.trim().parse::<u32>().is_ok_and(|bytes| bytes > 100), "{seen}");

    // With `--files mount` they are at their own paths, on systems that allow it.
    let script =
        "cat /etc/shop/menu.txt; head -c 1 /var/run/secrets/kubernetes.io/serviceaccount/token; id -u";
    let uid = alice.start(Path::new("id"), &["-u"]).ends(USUAL).stdout;
    let all_there = format!("coffee, tea and cake\ne{uid}");
    let seen = inside(&["--files", "mount"], script).ends(Duration::from_secs(30));
    let permitted = seen.code != Some(126);
    if permitted {
        let seen = seen.succeeds();
        assert_eq!(seen.stdout, all_there, "menu, token and user: {seen}");
        assert!(seen.stderr.contains("/run"), "bridge says what is covered: {seen}");
    } else {
        assert!(seen.stderr.contains("does not allow users their own view"), "{seen}");
    }

    // By default bridge chooses, and prints which and why; doctor reports it in advance.
    let seen = inside(&[], script).ends(Duration::from_secs(30));
    let doctor = alice.bridge(&["doctor"]).succeeds();
    if doctor.stdout.contains("at their own paths") {
        assert_eq!(seen.succeeds().stdout, all_there);
    } else {
        assert!(seen.stderr.contains("not at their own paths: "), "{seen}");
        assert_eq!(seen.stdout, uid, "neither menu nor token");
    }
    let seen = inside(&["--files", "dir"], script).ends(Duration::from_secs(30));
    assert_eq!(seen.stdout, uid, "neither menu nor token where only a directory is wanted: {seen}");

    // `--files none` omits them.
    let seen =
        inside(&["--files", "none"], "echo ${BRIDGE_ROOT-unset}").ends(Duration::from_secs(30)).succeeds();
    assert_eq!(seen.stdout.trim(), "unset", "{seen}");

    if soak() {
        // Given commands that read the menu all the time,
        let script = |menu: &str| {
            format!("touch $HOME/reads; while menu=$(cat {menu}); do test \"$menu\" = soup && exit 7; done")
        };
        let reader = inside(&[], &script("$BRIDGE_ROOT/etc/shop/menu.txt"));
        let at_its_own_path = inside(&["--files", "mount"], &script("/etc/shop/menu.txt"));
        eventually("the command reads", Duration::from_secs(30), || {
            alice.path("reads").exists().then_some(()).ok_or_else(|| "not yet".to_owned())
        });
        // when the ConfigMap is changed, it is seen once the kubelet has it, and nothing is ever missing.
        let soup = r#"{"data": {"menu.txt": "soup\n"}}"#;
        let _ = world.kubectl(&["patch", "configmap", "orders-menu", "--type=merge", "-p", soup]).succeeds();
        reader.ends(Duration::from_secs(150)).fails(7, "");
        let read = at_its_own_path.ends(Duration::from_secs(150));
        assert!(matches!(read.code, Some(7 | 126)), "{read}");
    }
}
