//! The places where commands run: on the machine as the cluster's admin, in the laptop's network, inside the node.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::{Done, Running, USUAL};

/// The developer's user on this machine, if the cluster is ours: bridge needs no privileges.
pub const DEVELOPER_UID: u32 = 65_501;
/// Another user of the same laptop.
const ANOTHER_UID: u32 = 65_502;

/// The context of another cluster; `None`: that of `tests/cluster`.
#[must_use]
pub fn context() -> Option<String> {
    std::env::var("BRIDGE_TEST_CONTEXT").ok().filter(|context| !context.is_empty())
}

/// A file of the repository.
#[must_use]
pub fn file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the repository").join(path)
}

/// The command under test.
#[must_use]
pub fn bridge() -> PathBuf {
    std::env::var_os("BRIDGE_BIN").map_or_else(|| file("target/release/bridge"), PathBuf::from)
}

/// The sample application, as a program of the laptop.
#[must_use]
pub fn shop() -> PathBuf {
    file("deploy/shop/bin/shop")
}

/// The sample application, as the cluster has it.
#[must_use]
pub fn shop_image() -> String {
    named_by("SHOP_IMAGE", "shop:dev")
}

/// The same under another tag, for a roll-out of another image.
#[must_use]
pub fn next_shop_image() -> String {
    named_by("SHOP_IMAGE_NEXT", "shop:next")
}

fn named_by(variable: &str, otherwise: &str) -> String {
    std::env::var(variable).ok().filter(|image| !image.is_empty()).unwrap_or_else(|| otherwise.to_owned())
}

/// The hostile agent's image in the cluster. `None`: it was not put there.
#[must_use]
pub fn hostile_image() -> Option<String> {
    std::env::var("HOSTILE_IMAGE").ok().filter(|image| !image.is_empty())
}

/// kubectl as the cluster's admin, to which arguments are added.
#[must_use]
pub fn admin() -> Command {
    as_admin("kubectl", "--context")
}

/// Another program with the kubeconfig of the cluster's admin; `option` is its option for a context.
#[must_use]
pub fn as_admin(program: impl AsRef<OsStr>, option: &str) -> Command {
    match context() {
        None => {
            let mut command = Command::new(file("tests/cluster/admin"));
            command.arg(program);
            command
        }
        Some(context) => {
            let mut command = Command::new(program);
            command.args([option, &context]);
            command
        }
    }
}

/// Runs kubectl as the cluster's admin.
#[must_use]
pub fn kubectl(args: &[&str]) -> Done {
    kubectl_with(args, "")
}

/// The same, with standard input.
#[must_use]
pub fn kubectl_with(args: &[&str], input: &str) -> Done {
    let mut command = admin();
    command.args(args);
    Running::start(format!("kubectl {}", args.join(" ")), command, input).ends(USUAL)
}

/// The start of a command line of the laptop: in its network, as a user without privileges.
#[must_use]
pub fn laptop() -> Command {
    laptop_of(DEVELOPER_UID).unwrap_or_else(|| Command::new("env"))
}

/// The same as another user of the laptop. `None` if the tests run as the developer themselves.
#[must_use]
pub fn laptop_of_another() -> Option<Command> {
    laptop_of(ANOTHER_UID)
}

fn laptop_of(uid: u32) -> Option<Command> {
    if context().is_some() {
        return None;
    }
    let mut command = Command::new(file("tests/cluster/laptop"));
    command.args(["--uid", &uid.to_string(), "env"]);
    Some(command)
}

/// Runs a script inside the node, as root. `None` if we may not enter the node.
#[must_use]
pub fn in_node(script: &str) -> Option<Done> {
    if context().is_some() {
        return None;
    }
    let mut command = Command::new(file("tests/cluster/node"));
    command.args(["sh", "-c", script]);
    Some(Running::start(format!("node sh -c {script:?}"), command, "").ends(USUAL))
}

/// Runs a script in the laptop's network, as root. `None` if we may not enter it.
#[must_use]
pub fn as_root_of_laptop(script: &str, input: &str) -> Option<Done> {
    if context().is_some() {
        return None;
    }
    let mut command = Command::new(file("tests/cluster/admin"));
    command.args(["sh", "-c", script]);
    Some(Running::start(format!("laptop sh -c {script:?}"), command, input).ends(USUAL))
}
