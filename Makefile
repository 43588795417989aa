# `make help` lists the targets. Each target installs what it needs and builds only what changed.

PREFIX ?= /usr/local
DESTDIR ?=

HOST := $(shell rustc -vV | sed -n 's/^host: //p')
ROOT := $(CURDIR)
AGENT := $(ROOT)/target/agent/$(HOST)/agent/bridge-agent
RESTORER := $(ROOT)/target/agent/$(HOST)/restorer/bridge-restorer
LOADER := $(ROOT)/target/loader/release/loader
BRIDGE := $(ROOT)/target/release/bridge

.PHONY: help build agent restorer loader install dist cluster cluster-down demo vscode test test-loader test-vscode test-ide h2spec soak fuzz bench fmt clippy deny audit

help: ## This list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 22

build: agent restorer loader ## The command with the agent inside: target/release/bridge
	BRIDGE_AGENT_PROGRAM=$(AGENT) BRIDGE_AGENT_RESTORER=$(RESTORER) BRIDGE_AGENT_LOADER=$(LOADER) cargo build --release -p bridge

# Static, because it runs on the images of others; an explicit --target keeps the flags away from build scripts.
agent:
	RUSTFLAGS="-C target-feature=+crt-static" cargo build -p bridge-agent --profile agent --target $(HOST) \
		--target-dir target/agent

restorer:
	RUSTFLAGS="-C target-feature=+crt-static" cargo build -p bridge-restorer --profile restorer --target $(HOST) \
		--target-dir target/agent

loader:
	cargo build --release --locked --manifest-path agent/loader/Cargo.toml --target-dir target/loader

install: build ## Install to $(DESTDIR)$(PREFIX)
	local/package/install $(BRIDGE) $(DESTDIR)$(PREFIX)

dist: build vscode ## An archive to hand out, dist/bridge-VERSION-linux-ARCH.tar.gz, and the extension
	local/package/dist $(BRIDGE) $(AGENT)

vscode: ## The extension for VS Code: dist/bridge-vscode.vsix
	ide/vscode/make

cluster: ## Bring up the test cluster (a real Kubernetes, in namespaces of its own)
	tests/cluster/up

cluster-down: ## Take the test cluster down
	tests/cluster/down

demo: build ## Show it at work: shop, with one Service on the laptop
	tests/demo

test: ## All tests: units, then the command against a real cluster (BRIDGE_TEST_CONTEXT: yours)
	.ci/test

# The loader is tested as a container starts it; `cargo test` alone does not build it.
test-loader: loader
	BRIDGE_TEST_LOADER=$(LOADER) cargo test --workspace --test loader -- --ignored

test-vscode: ## The extension's unit tests
	ide/vscode/make $(ROOT)/target/ide/bridge.vsix
	node ide/vscode/test/unit/run.mjs

test-ide: build ## The extension in VS Code, in a real browser, against the test cluster
	ide/vscode/test/run

h2spec: agent ## HTTP/2 conformance of an agent in front of a server, beside the server alone
	tests/h2spec/run

soak: build ## The tests that take longer than two minutes
	tests/soak

fuzz: ## Fuzz the readers of hostile input, each target for FUZZ_SECONDS (600), two at a time
	tests/fuzz/run

bench: build ## The comparisons of the design's budget, as tables
	benches/run

fmt: ## Format
	cargo fmt --all
	cargo fmt --manifest-path agent/loader/Cargo.toml

clippy: ## Lint
	cargo clippy --workspace --all-targets -- -D warnings
	cargo clippy --release --locked --manifest-path agent/loader/Cargo.toml --target-dir target/loader -- -D warnings

audit: ## Check the dependencies against the RustSec advisory database, where it can be fetched
	local/package/audit

deny: ## Check licences, banned crates and sources of the dependencies
	@local/package/tool cargo-deny
	cargo deny check bans licenses sources
	cargo deny --config deny.toml --manifest-path agent/loader/Cargo.toml check bans licenses sources
