//! `bridge doctor`: checks what bridge needs, one check after another, each with advice.

use bridge_client::{ClientError, Daemon, RuntimeDir, chain};
use bridge_inside::files;
use bridge_proto::v1;
use serde::Serialize;

use super::{
    args::DoctorArgs,
    error::Failed,
    exit::Exit,
    files::ROOT,
    output::{self, GREEN, RED, YELLOW, line, styled},
    request,
};

/// The output of `doctor -o json`. The names of the fields are stable.
#[derive(Debug, Default, Serialize)]
struct Report {
    checks: Vec<Check>,
    /// The exit code of the first check that failed.
    #[serde(skip)]
    exit: Option<Exit>,
}

#[derive(Debug, Serialize)]
struct Check {
    name: String,
    result: Outcome,
    detail: String,
    advice: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Outcome {
    Ok,
    Warn,
    Fail,
}

impl Report {
    fn ok(&mut self, name: &'static str, detail: impl Into<String>) {
        self.push(name, Outcome::Ok, detail.into(), String::new());
    }

    fn warn(&mut self, name: &'static str, detail: impl Into<String>, advice: impl Into<String>) {
        self.push(name, Outcome::Warn, detail.into(), advice.into());
    }

    fn fail(&mut self, name: &'static str, failed: Failed) {
        self.exit.get_or_insert(failed.exit);
        self.push(name, Outcome::Fail, failed.message, failed.advice);
    }

    fn push(&mut self, name: &str, result: Outcome, detail: String, advice: String) {
        self.checks.push(Check { name: name.to_owned(), result, detail, advice });
    }

    /// Adds one of the daemon's checks.
    fn take(&mut self, check: v1::Check) {
        let result = match check.outcome() {
            v1::check::Outcome::Ok => Outcome::Ok,
            v1::check::Outcome::Warn | v1::check::Outcome::Unspecified => Outcome::Warn,
            v1::check::Outcome::Fail => {
                self.exit.get_or_insert(Exit::of(check.cause()));
                Outcome::Fail
            }
        };
        self.push(&check.name, result, check.detail, check.advice);
    }
}

pub(crate) async fn run(args: DoctorArgs) -> Result<(), Failed> {
    let mut report = Report::default();
    if let Some(mut daemon) = this_machine(&mut report).await
        && let Err(failed) = the_cluster(&args, &mut daemon, &mut report).await
    {
        // The rest cannot be checked.
        report.fail("cluster", failed);
    }
    output::print_as(args.output.output, &report, || text(&report))?;
    match report.exit {
        None => Ok(()),
        Some(exit) => {
            let failed = report.checks.iter().filter(|check| check.result == Outcome::Fail).count();
            let message = format!("{failed} of {} checks failed", report.checks.len());
            Err(Failed::new(exit, message, "").beside_result())
        }
    }
}

async fn this_machine(report: &mut Report) -> Option<Daemon> {
    match bridge_daemon::program::carried() {
        Some(program) => report.ok("agent", format!("built in, for linux/{}", program.architecture)),
        None => report.fail(
            "agent",
            Failed::new(Exit::Internal, "this bridge was built without the agent", "make build"),
        ),
    }
    let runtime_dir = match RuntimeDir::find() {
        Ok(runtime_dir) => runtime_dir,
        Err(failed) => {
            report.fail("runtime directory", failed.into());
            return None;
        }
    };
    report.ok("runtime directory", runtime_dir.directory().display().to_string());
    match (bridge_supervise::probe(), bridge_supervise::low_limit()) {
        (Ok(()), None) => report.ok("bridge run", "the kernel supports supervision"),
        (Ok(()), Some(limit)) => report.warn(
            "bridge run",
            format!("a command may open only {limit} files, so its UDP sockets are not fully supervised"),
            "ulimit -n 1024",
        ),
        (Err(obstacle), _) => report.warn(
            "bridge run",
            format!("supervision is not possible: {}", chain(&obstacle)),
            "commands get a proxy instead, which not all programs use",
        ),
    }
    match files::at_their_own_paths_here() {
        Ok(()) => report.ok("files", "bridge run puts the files of a pod's volumes at their own paths"),
        Err(error) => report.ok(
            "files",
            format!("bridge run puts the files of a pod's volumes in ${ROOT} only: {}", chain(&error)),
        ),
    }
    daemon(&runtime_dir, report).await.map_err(|failed| report.fail("daemon", failed)).ok()
}

/// The daemon, which checks the cluster.
async fn daemon(runtime_dir: &RuntimeDir, report: &mut Report) -> Result<Daemon, Failed> {
    let daemon = bridge_client::started(runtime_dir).await?;
    let v1::HelloReply { version, pid, sessions, .. } = &daemon.hello;
    let version = version.as_ref().map(|version| version.program.as_str()).unwrap_or_default();
    report.ok("daemon", format!("version {version}, process {pid}, {sessions} session(s)"));
    Ok(daemon)
}

async fn the_cluster(args: &DoctorArgs, daemon: &mut Daemon, report: &mut Report) -> Result<(), Failed> {
    let cluster = request::cluster(&args.cluster, &request::config()?)?;
    report.ok("config file", "valid");
    let examined = daemon.client.examine(v1::ExamineRequest { cluster: Some(cluster) }).await;
    let mut checks = examined.map_err(ClientError::from)?.into_inner();
    while let Some(check) = checks.message().await.map_err(ClientError::from)? {
        report.take(check);
    }
    Ok(())
}

fn text(report: &Report) -> String {
    let mut text = String::new();
    for Check { name, result, detail, advice } in &report.checks {
        let sign = match result {
            Outcome::Ok => styled(GREEN, "✓"),
            Outcome::Warn => styled(YELLOW, "!"),
            Outcome::Fail => styled(RED, "✗"),
        };
        text.push_str(&line(&format!("{sign} {name}: {detail}")));
        for advice in advice.lines() {
            text.push_str(&line(&format!("  → {advice}")));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use bridge_proto::v1::failure::Cause;

    use super::*;

    #[test]
    fn nothing_that_a_cluster_says_steers_the_terminal() {
        let mut report = Report::default();
        report.warn("pod security", output::HOSTILE, output::HOSTILE);
        assert!(output::is_harmless(&text(&report), 3), "{:?}", text(&report));
    }

    #[test]
    fn the_daemon_s_checks_are_printed_with_what_to_do_and_the_first_failure_is_the_exit_code() {
        let check = |name: &str, outcome: v1::check::Outcome, cause: Cause, advice: &str| v1::Check {
            name: name.to_owned(),
            outcome: outcome.into(),
            detail: "detail".to_owned(),
            advice: advice.to_owned(),
            cause: cause.into(),
        };
        let mut report = Report::default();
        report.take(check("version", v1::check::Outcome::Ok, Cause::Unspecified, ""));
        report.take(check("rights", v1::check::Outcome::Fail, Cause::Forbidden, "ask for it"));
        report.take(check("pod security", v1::check::Outcome::Warn, Cause::Unspecified, "look"));
        report.take(check("stand-ins", v1::check::Outcome::Fail, Cause::NotReady, "bridge clean"));
        insta::assert_snapshot!(anstream::adapter::strip_str(&text(&report)).to_string(), @r"
        ✓ version: detail
        ✗ rights: detail
          → ask for it
        ! pod security: detail
          → look
        ✗ stand-ins: detail
          → bridge clean
        ");
        assert_eq!(report.exit, Some(Exit::Rights));
        insta::assert_json_snapshot!(report.checks[0], @r#"
        {
          "name": "version",
          "result": "ok",
          "detail": "detail",
          "advice": ""
        }
        "#);
    }
}
