//! The loader, as a container starts it: parts of a compressed program in, that program running out.
//!
//! It is a crate of its own that `make` builds: `make test-loader` runs these tests with BRIDGE_TEST_LOADER set.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::{
    ffi::OsStr,
    fs,
    io::Write,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output},
};

struct Pod {
    directory: tempfile::TempDir,
    parts: Vec<PathBuf>,
}

/// A directory with a shell, compressed as the agent is and cut into parts.
fn pod() -> Pod {
    let mut encoder = zstd::Encoder::new(Vec::new(), 19).unwrap();
    encoder.include_checksum(true).unwrap();
    encoder.write_all(&fs::read("/bin/sh").unwrap()).unwrap();
    let compressed = encoder.finish().unwrap();

    let directory = tempfile::tempdir().unwrap();
    let parts = compressed
        .chunks(30_000)
        .enumerate()
        .map(|(index, part)| {
            let file = directory.path().join(format!("part-{index}"));
            fs::write(&file, part).unwrap();
            file
        })
        .collect();
    Pod { directory, parts }
}

impl Pod {
    /// Named `sh`, because some systems' shells check the name that they were called by.
    fn to(&self) -> PathBuf {
        self.directory.path().join("sh")
    }

    fn load(&self, parts: &[PathBuf], to: &Path, arguments: &[&str]) -> Output {
        let mut command = Command::new(loader());
        command.args(parts).arg(to).arg("--").args(arguments).env("FROM_THE_POD", "kept");
        command.output().unwrap()
    }
}

fn loader() -> PathBuf {
    std::env::var_os("BRIDGE_TEST_LOADER").expect("BRIDGE_TEST_LOADER: see make test-loader").into()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim_end().to_owned()
}

#[test]
#[ignore = "needs the loader: make test-loader"]
fn the_program_runs_with_its_arguments_and_environment() {
    let pod = pod();
    assert!(pod.parts.len() > 1);
    // given: half a program that an earlier start of the container left
    fs::write(pod.to(), "half").unwrap();
    fs::write(pod.to().with_extension("new"), "half").unwrap();

    let output = pod.load(&pod.parts, &pod.to(), &["-c", "echo \"$0 $1 $FROM_THE_POD\"", "a name", "b"]);

    assert_eq!(text(&output.stderr), "");
    assert_eq!(text(&output.stdout), "a name b kept");
    assert_eq!(fs::metadata(pod.to()).unwrap().permissions().mode() & 0o7777, 0o555);
    assert!(fs::read(pod.to()).unwrap() == fs::read("/bin/sh").unwrap());
    assert!(!pod.directory.path().join("sh.new").exists());
}

#[test]
#[ignore = "needs the loader: make test-loader"]
fn the_exit_code_is_the_program_s() {
    let pod = pod();
    assert_eq!(pod.load(&pod.parts, &pod.to(), &["-c", "exit 7"]).status.code(), Some(7));
}

#[test]
#[ignore = "needs the loader: make test-loader"]
fn a_failure_is_one_line() {
    let pod = pod();
    let missing = pod.directory.path().join("missing");
    let nowhere = pod.directory.path().join("nowhere/sh");
    let mut swapped = pod.parts.clone();
    swapped.swap(0, 1);
    let mut with_missing = pod.parts.clone();
    with_missing[1] = missing.clone();
    let first = pod.parts[0].display();

    let damaged = "bridge loader: this is not the compressed agent, whole and in order:";
    for (parts, to, expected) in [
        (pod.parts.clone(), &nowhere, format!("bridge loader: cannot create {}: errno 2", nowhere.display())),
        (with_missing, &pod.to(), format!("bridge loader: cannot read {}: errno 2", missing.display())),
        (pod.parts[..1].to_vec(), &pod.to(), format!("{damaged} {first}")),
        (swapped.clone(), &pod.to(), format!("{damaged} {}", swapped[0].display())),
    ] {
        let output = pod.load(&parts, to, &["-c", "echo started"]);
        assert_eq!((output.status.code(), text(&output.stderr)), (Some(1), expected));
        assert_eq!(text(&output.stdout), "");
        assert!(!pod.to().exists());
    }

    let output = Command::new(loader()).arg("alone").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let usage = text(&output.stderr);
    assert!(usage.starts_with("bridge loader: usage: loader ") && !usage.contains('\n'), "{usage}");
}

#[test]
#[ignore = "needs the loader: make test-loader"]
fn where_writing_or_executing_is_forbidden_it_runs_from_memory() {
    let pod = pod();
    let volume = pod.directory.path().join("volume");
    fs::create_dir(&volume).unwrap();
    for options in ["noexec", "ro", "size=16k"] {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "sh", "-c"]);
        command.arg("mount -t tmpfs -o $1 tmpfs $2 || exit 77; shift 2; exec \"$@\"");
        command.args([OsStr::new("sh"), options.as_ref(), volume.as_os_str(), loader().as_os_str()]);
        command.args(&pod.parts).arg(volume.join("sh")).args(["--", "-c", "readlink /proc/$$/exe"]);
        let output = command.output().unwrap();
        if output.status.code() == Some(77) || text(&output.stderr).starts_with("unshare:") {
            eprintln!("skipped: no user namespaces here: {}", text(&output.stderr));
            return;
        }
        assert_eq!(
            text(&output.stdout),
            "/memfd:bridge-agent (deleted)",
            "{options}: {}",
            text(&output.stderr)
        );
    }
}
