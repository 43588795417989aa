//! The offers to the laptop. Each would run, open, cover or show something there if it were accepted.

use std::sync::atomic::{AtomicUsize, Ordering};

use bridge_proto::v1::{
    Directory, FileEntry, FilesReply, Frame, RequestsSeen, SeenRequest, SurroundingsReply, Variable,
    VolumeBegins, VolumeEnds, file_entry, files_reply,
};

use crate::to;

/// Clears the screen, and sets the terminal's title.
const ESCAPES: &str = "\u{1b}[2J\u{1b}]0;owned\u{7}\u{9b}2J";
/// The ports of orders' container.
const TARGET_PORTS: [u32; 2] = [8080, 9090];

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_default()
}

/// A command that creates the file that must never appear.
fn touch() -> String {
    format!("touch {}", variable("HOSTILE_MARK"))
}

pub(crate) fn surroundings() -> SurroundingsReply {
    let touch = touch();
    let script = format!("$({touch})");
    let function = format!("() {{ {touch}; }}");
    let perl = format!("-Mstrict;system('{touch}')");
    let pairs: Vec<(String, String)> = [
        ("GREETING", "from the agent"),
        ("CLEARS", ESCAPES),
        ("BASH_ENV", &script),
        ("ENV", &script),
        ("PROMPT_COMMAND", &touch),
        ("PS4", &script),
        ("SHELLOPTS", "xtrace"),
        ("BASH_FUNC_ls%%", &function),
        ("GIT_SSH_COMMAND", &touch),
        ("GIT_EXTERNAL_DIFF", &touch),
        ("PERL5OPT", &perl),
        ("PERL5DB", &perl),
        ("PYTHONSTARTUP", "/etc/shop/owned.py"),
        ("PYTHONPATH", "/etc/shop"),
        ("NODE_OPTIONS", "--require /etc/shop/owned.js"),
        ("RUBYOPT", "-r/etc/shop/owned.rb"),
        ("JAVA_TOOL_OPTIONS", "-javaagent:/etc/shop/owned.jar"),
        ("LD_PRELOAD", "/etc/shop/owned.so"),
        ("LD_AUDIT", "/etc/shop/owned.so"),
        ("EDITOR", &touch),
        ("PAGER", &touch),
        ("LESSOPEN", &format!("|{touch}")),
        ("PATH", "/etc/shop"),
        ("HOME", "/etc/shop"),
        ("HTTPS_PROXY", "http://10.0.0.1:1"),
        ("SSL_CERT_FILE", "/etc/shop/owned.pem"),
        ("ld_preload", "/etc/shop/owned.so"),
        // Invalid names.
        ("X=1\nLD_PRELOAD", "/etc/shop/owned.so"),
        ("A=LD_PRELOAD", "/etc/shop/owned.so"),
        ("", "no name"),
        ("TITLE\u{1b}]0;owned\u{7}", "x"),
        ("NUL\0LD_PRELOAD", "x"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    let environment =
        pairs.into_iter().map(|(name, value)| Variable { name: name.into(), value: value.into() });
    SurroundingsReply {
        environment: environment.collect(),
        resolv_conf: format!("search {ESCAPES} cluster.local\nnameserver 127.0.0.1\noptions ndots:9999\n"),
    }
}

/// Volumes that the Deployment does not have, and one that it has, with everything that a volume can have; every second
/// time, also with violations of the protocol.
pub(crate) fn files() -> Vec<FilesReply> {
    static ASKED: AtomicUsize = AtomicUsize::new(0);
    let breaks = ASKED.fetch_add(1, Ordering::Relaxed) % 2 == 1;
    let owned = format!("#!/bin/sh\n{}\n", touch());
    let home = variable("HOSTILE_MARK");
    let home = home.rsplit_once('/').map_or("", |(home, _)| home);
    let mut all = Vec::new();
    let undeclared = [
        "/etc/ld.so.preload",
        "/etc/profile.d",
        "/usr/bin",
        "/",
        "/etc/shop/../profile.d",
        home,
        "relative",
        "",
    ];
    for path in undeclared {
        all.extend(volume(
            path,
            [directory(""), file("owned", 0o755, &owned), file("ls", 0o6755, &owned)].concat(),
        ));
    }
    let of_the_deployment = [
        directory(""),
        file("menu.json", 0o644, "[]"),
        file("suid", 0o6777, &owned),
        file("owned.py", 0o755, &owned),
        file("title\u{1b}]0;owned\u{7}", 0o644, &owned),
        link("passwd", "/etc/passwd"),
        link("up", "../../../.."),
        link("here", "."),
        link("through", "here/../../.."),
    ];
    let breaking = [
        file("../escaped", 0o755, &owned),
        file("/tmp/escaped", 0o755, &owned),
        file("..", 0o755, &owned),
        file("up/escaped", 0o755, &owned),
        file("here/escaped", 0o755, &owned),
        file("no-such-directory/x", 0o755, &owned),
        // In place of an existing file.
        link("menu.json", "/etc/passwd"),
    ];
    let breaking = if breaks { breaking.concat() } else { Vec::new() };
    all.extend(volume("/etc/shop", [of_the_deployment.concat(), breaking].concat()));
    all.push(FilesReply { kind: Some(files_reply::Kind::AllThere(bridge_proto::v1::AllThere {})) });
    all
}

fn volume(path: &str, entries: Vec<FilesReply>) -> Vec<FilesReply> {
    let begins = files_reply::Kind::Begins(VolumeBegins { path: path.into() });
    let ends = files_reply::Kind::Ends(VolumeEnds {});
    [vec![FilesReply { kind: Some(begins) }], entries, vec![FilesReply { kind: Some(ends) }]].concat()
}

fn entry(path: &str, mode: u32, kind: Option<file_entry::Kind>) -> FilesReply {
    FilesReply { kind: Some(files_reply::Kind::Entry(FileEntry { path: path.into(), mode, kind })) }
}

fn directory(path: &str) -> Vec<FilesReply> {
    vec![entry(path, 0o755, Some(file_entry::Kind::Directory(Directory {})))]
}

fn link(path: &str, target: &str) -> Vec<FilesReply> {
    vec![entry(path, 0o777, Some(file_entry::Kind::Link(target.into())))]
}

fn file(path: &str, mode: u32, content: &str) -> Vec<FilesReply> {
    vec![
        entry(path, mode, None),
        FilesReply { kind: Some(files_reply::Kind::Content(content.to_owned().into())) },
    ]
}

/// Ports of the laptop that no route names, and sessions of others.
pub(crate) fn opens(session: &str) -> Vec<Frame> {
    let port = variable("HOSTILE_PORT").parse().unwrap_or_default();
    let ports = TARGET_PORTS.into_iter().chain([port, 0, 1 << 20]);
    ports.map(|target_port| to(session, target_port, port)).chain([to("another", 8080, port)]).collect()
}

/// The question's header with thousands of answers that are missing, after a name that refers to itself.
pub(crate) fn dns(question: &[u8]) -> Vec<u8> {
    let id = question.get(..2).unwrap_or(&[0, 0]);
    [id, &[0x81, 0x80, 0, 1, 0xff, 0xff, 0xff, 0xff, 0, 0], &[0xc0, 12, 0, 1, 0, 1]].concat()
}

pub(crate) fn requests() -> Vec<RequestsSeen> {
    let request = SeenRequest {
        begun_us: u64::MAX,
        took_us: u64::MAX,
        target_port: 8080,
        protocol: ESCAPES.to_owned(),
        method: ESCAPES.to_owned(),
        path: format!("/{ESCAPES}\r\nowned"),
        status: 99_999,
        to_laptop: true,
        user: ESCAPES.to_owned(),
        about: ESCAPES.to_owned(),
        saw: ESCAPES.to_owned(),
        reason: 9999,
        ..SeenRequest::default()
    };
    vec![RequestsSeen { requests: vec![request], left_out: u64::MAX }]
}
