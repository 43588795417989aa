//! What lets agents restore what they are part of when no laptop is left: where the admin of the namespace has applied
//! `rbac-restore.yaml`, agents get the token of its account and a program of their own for it, the restorer. They run
//! it when no session has been there for a while. Pods start without either.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{names::Names, pod, program::Program};

/// The name of the account, and of the Secret with its token.
pub const RESTORE_ACCOUNT: &str = "bridge-restore";
/// The agent's argument before the time.
const AFTER: &str = "--restore-after";

/// When agents restore it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Restore {
    /// No session must have been there for this long.
    pub after: Duration,
}

impl Restore {
    /// When the agents of this pod template, `metadata` and `spec`, restore what they are part of; `None`: never.
    #[must_use]
    pub fn of(pod_template: &Value) -> Option<Self> {
        let containers = pod::list(pod_template, "/spec/containers");
        let mut args = containers.iter().map(|container| pod::list(container, "/args"));
        let seconds = args.find_map(|args| {
            let at = args.iter().position(|arg| arg == AFTER)?;
            args.get(at + 1)?.as_str()?.parse().ok()
        })?;
        Some(Self { after: Duration::from_secs(seconds) })
    }
}

/// The agents that the restorer is for: its arguments name them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Part {
    /// The stand-in or the sidecars of a Service.
    Service { name: String, id: String },
    /// An agent aside.
    Aside,
}

/// The restorer of agents.
pub(crate) struct Restorer<'a> {
    pub(crate) when: Restore,
    pub(crate) part: Part,
    pub(crate) program: &'a Program,
    pub(crate) names: &'a Names,
    /// The port on which all of these agents say how long they have been without a session.
    pub(crate) readiness: u16,
}

/// Where it finds its files.
pub(crate) struct Paths<'a> {
    pub(crate) loader: String,
    pub(crate) parts: String,
    pub(crate) account: String,
    /// A folder that it may write to.
    pub(crate) run: &'a str,
}

impl Restorer<'_> {
    /// The volume with the account's token; empty if there is no such Secret any more.
    pub(crate) fn account() -> Value {
        json!({"secret": {"secretName": RESTORE_ACCOUNT, "optional": true, "defaultMode": 0o444}})
    }

    /// The volume with the program's parts.
    pub(crate) fn parts(&self) -> Value {
        let identity = self.program.restorer_identity();
        let source =
            |index| json!({"configMap": {"name": self.names.program(&identity, index), "optional": true}});
        let sources: Vec<Value> = (0..self.program.restorer_maps().len()).map(source).collect();
        json!({"projected": {"defaultMode": 0o444, "sources": sources}})
    }

    /// The agent's arguments: the time, and the command to run then.
    pub(crate) fn args(&self, paths: &Paths<'_>) -> Vec<String> {
        let after = self.when.after.as_secs().to_string();
        let maps = self.program.restorer_maps();
        let parts = maps.iter().flatten().map(|part| format!("{}/{}", paths.parts, part.key()));
        let mut command = vec![paths.loader.clone()];
        command.extend(parts);
        command.extend([format!("{}/restorer", paths.run), "--".to_owned()]);
        command.extend(["--account".to_owned(), paths.account.clone()]);
        command.extend(["--after".to_owned(), after.clone()]);
        command.extend(["--readiness".to_owned(), self.readiness.to_string()]);
        command.extend(match &self.part {
            Part::Service { name, id } => {
                ["--service".to_owned(), name.clone(), "--id".to_owned(), id.clone()].to_vec()
            }
            Part::Aside => ["--aside".to_owned(), self.names.stand_in.clone()].to_vec(),
        });
        let mut args = vec![AFTER.to_owned(), after];
        args.extend(command.into_iter().map(|word| format!("--restorer={word}")));
        args
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program() -> Program {
        Program {
            architecture: "amd64".into(),
            os: "linux".into(),
            loader: b"loader"[..].into(),
            agent: b"agent"[..].into(),
            restorer: b"restorer"[..].into(),
        }
    }

    #[test]
    fn the_agent_gets_the_time_and_the_command() {
        let names = crate::names("orders", "7f3a");
        let program = program();
        let restorer = |part| Restorer {
            when: Restore { after: Duration::from_secs(600) },
            part,
            program: &program,
            names: &names,
            readiness: 7391,
        };
        let paths = Paths {
            loader: "/b/program/loader".into(),
            parts: "/b/restorer".into(),
            account: "/b/account".into(),
            run: "/b/run",
        };
        let of_service = restorer(Part::Service { name: "orders".into(), id: "7f3a".into() }).args(&paths);
        assert_eq!(
            of_service.join(" "),
            "--restore-after 600 --restorer=/b/program/loader --restorer=/b/restorer/restorer.zst \
             --restorer=/b/run/restorer --restorer=-- --restorer=--account --restorer=/b/account --restorer=--after \
             --restorer=600 --restorer=--readiness --restorer=7391 --restorer=--service --restorer=orders \
             --restorer=--id --restorer=7f3a"
        );
        let aside = restorer(Part::Aside).args(&paths);
        assert_eq!(aside[aside.len() - 2..], ["--restorer=--aside", "--restorer=orders-bridge-7f3a"]);

        let template = |args: &[String]| json!({"spec": {"containers": [{"name": "web"}, {"name": "agent", "args": args}]}});
        assert_eq!(Restore::of(&template(&aside)), Some(Restore { after: Duration::from_secs(600) }));
        assert_eq!(Restore::of(&template(&["--control".to_owned()])), None);
    }

    #[test]
    fn pods_start_without_account_and_program() {
        assert_eq!(Restorer::account()["secret"]["optional"], true);
        let names = crate::names("orders", "7f3a");
        let program = program();
        let restorer = Restorer {
            when: Restore { after: Duration::from_secs(1) },
            part: Part::Aside,
            program: &program,
            names: &names,
            readiness: 1,
        };
        let sources = restorer.parts()["projected"]["sources"].clone();
        let name = names.program(&program.restorer_identity(), 0);
        assert_eq!(sources, json!([{"configMap": {"name": name, "optional": true}}]));
        assert!(names.is_program(&name), "it goes as the agent's own program goes");
    }
}
