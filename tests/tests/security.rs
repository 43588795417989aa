//! `docs/security.md` makes no promise without a test, and scripts install only intended things.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;
use std::path::{Path, PathBuf};

use bridge_tests::place::file;

#[test]
fn every_line_of_the_security_page_names_tests_that_are_there() {
    let page = fs::read_to_string(file("docs/security.md")).expect("the page");
    let sources = sources(&file(""));
    let mut lines = 0;
    for line in page.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| who |")) {
        lines += 1;
        let tests = line.trim_end_matches(['|', ' ']).rsplit_once("| ").map_or("", |(_, tests)| tests);
        let names: Vec<&str> = tests.split('`').skip(1).step_by(2).collect();
        assert!(!names.is_empty(), "expected a test in the last column: {line}");
        for name in names {
            let there = sources.iter().any(|source| source.contains(&format!("fn {name}(")));
            assert!(there, "expected a test of this name: {name}");
        }
    }
    assert!(lines > 20, "expected the page's tables, and read {lines} lines");
}

#[test]
fn every_tool_that_scripts_install_is_pinned() {
    for script in ["Makefile", "tests", "benches", "local/package", ".ci"]
        .iter()
        .flat_map(|place| scripts(&file(place)))
    {
        let text = fs::read_to_string(&script).unwrap_or_default();
        for line in text.replace("\\\n", " ").lines() {
            let pinned = if line.contains("pip") && line.contains(" install ") {
                line.contains("--require-hashes")
            } else if line.contains("cargo install ") {
                line.contains("--locked --version \"=$version\"")
            } else {
                !line.contains("npm install")
            };
            assert!(pinned, "expected a pinned version and hash in {}: {line}", script.display());
        }
    }
}

/// All Rust sources of the project itself.
fn sources(root: &Path) -> Vec<String> {
    ["agent", "deploy", "local", "proto", "tests"]
        .iter()
        .flat_map(|room| files(&root.join(room)))
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .map(|path| fs::read_to_string(path).expect("a source"))
        .collect()
}

/// Shell scripts and makefiles.
fn scripts(place: &Path) -> Vec<PathBuf> {
    let is_script = |path: &PathBuf| {
        path.file_name().is_some_and(|name| name == "Makefile")
            || fs::read(path).is_ok_and(|bytes| bytes.starts_with(b"#!/usr/bin/env bash"))
    };
    files(place).into_iter().filter(is_script).collect()
}

fn files(place: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(place) else { return vec![place.to_owned()] };
    let built = |path: &PathBuf| path.ends_with("target") || path.ends_with("bin");
    entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| !built(path))
        .flat_map(|path| files(&path))
        .collect()
}
