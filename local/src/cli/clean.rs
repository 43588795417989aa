//! `bridge clean`: cleans up after sessions whose daemon died.

use bridge_client::{ClientError, RuntimeDir, started};
use bridge_proto::target::Target;
use bridge_proto::v1;
use serde::Serialize;

use super::{
    args::CleanArgs,
    error::Failed,
    output::{self, GREEN, Progress, line, styled},
    request,
};

/// The output of `clean -o json`. The names of the fields are stable.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Cleaned {
    namespace: String,
    dry_run: bool,
    /// What was done, or would be done, as sentences.
    actions: Vec<String>,
    /// The objects that would be changed; none unless it is a dry run.
    changes: Option<Vec<Change>>,
    /// Sessions of other laptops.
    kept: Vec<Kept>,
    /// Why annotations could not be read.
    unreadable: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Change {
    /// patch or delete.
    verb: String,
    resource: String,
    name: String,
}

#[derive(Debug, Serialize)]
struct Kept {
    /// The Service.
    target: String,
    user: String,
    installation: String,
}

impl Cleaned {
    fn of(reply: &v1::CleanReply, dry_run: bool) -> Self {
        let change = |change: &v1::ObjectChange| {
            let v1::ObjectChange { verb, resource, name } = change.clone();
            Change { verb, resource, name }
        };
        let kept = |kept: &v1::KeptSession| {
            let v1::KeptSession { target, user, installation } = kept.clone();
            Kept { target, user, installation }
        };
        Self {
            namespace: reply.namespace.clone(),
            dry_run,
            actions: reply.done.clone(),
            changes: dry_run.then(|| reply.changes.iter().map(change).collect()),
            kept: reply.kept.iter().map(kept).collect(),
            unreadable: reply.unreadable.iter().map(|failure| failure.message.clone()).collect(),
        }
    }

    fn text(&self) -> String {
        let mut text = String::new();
        let sign = if self.dry_run { " ".to_owned() } else { styled(GREEN, "✓") };
        for action in &self.actions {
            text.push_str(&line(&format!("{sign} {action}")));
        }
        for Change { verb, resource, name } in self.changes.iter().flatten() {
            text.push_str(&line(&format!("  would {verb} {resource}/{name}")));
        }
        for Kept { target, user, installation } in &self.kept {
            text.push_str(&line(&format!("  kept: the session of {user} ({installation}) on {target}")));
        }
        if !self.kept.is_empty() {
            text.push_str("  → if those laptops are gone for good: bridge clean --others\n");
        }
        if text.is_empty() && self.unreadable.is_empty() {
            return line(&format!("nothing to clean up in namespace {}", self.namespace));
        }
        if self.dry_run {
            text.push_str("dry run: nothing was changed\n");
        }
        text
    }
}

pub(crate) async fn run(args: CleanArgs) -> Result<(), Failed> {
    let request = v1::CleanRequest {
        cluster: Some(request::cluster(&args.cluster, &request::config()?)?),
        target: args.service.as_ref().map(Target::to_string).unwrap_or_default(),
        others: args.others,
        dry_run: args.dry_run,
    };
    let progress = Progress::new();
    progress.step("checking the namespace");
    let reply = clean(request).await?;
    drop(progress);
    let cleaned = Cleaned::of(&reply, args.dry_run);
    output::print_as(args.output.output, &cleaned, || cleaned.text())?;
    unreadable(reply).map_err(Failed::beside_result)
}

async fn clean(request: v1::CleanRequest) -> Result<v1::CleanReply, Failed> {
    let mut daemon = started(&RuntimeDir::find()?).await?;
    let cleaned = daemon.client.clean(request).await.map_err(ClientError::from)?.into_inner();
    match cleaned.failed {
        Some(failure) => Err(failure.into()),
        None => Ok(cleaned),
    }
}

/// Prints every annotation that could not be read; the command fails with the last one.
fn unreadable(cleaned: v1::CleanReply) -> Result<(), Failed> {
    let mut failed = None;
    for failure in cleaned.unreadable {
        if let Some(earlier) = failed.replace(Failed::from(failure)) {
            output::fail(&earlier);
        }
    }
    failed.map_or(Ok(()), Err)
}

/// Restores one Service, as far as it is held by sessions of this machine that are gone.
pub(crate) async fn put_back(cluster: v1::Cluster, service: &str) -> Result<(), Failed> {
    let (cluster, target) = (Some(cluster), service.to_owned());
    unreadable(clean(v1::CleanRequest { cluster, target, ..v1::CleanRequest::default() }).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(reply: &v1::CleanReply, dry_run: bool) -> String {
        anstream::adapter::strip_str(&Cleaned::of(reply, dry_run).text()).to_string()
    }

    #[test]
    fn no_name_of_an_annotation_steers_the_terminal() {
        let hostile = || output::HOSTILE.to_owned();
        let kept = v1::KeptSession { target: hostile(), user: hostile(), installation: hostile() };
        let changes = vec![v1::ObjectChange { verb: hostile(), resource: hostile(), name: hostile() }];
        let reply =
            v1::CleanReply { done: vec![hostile()], kept: vec![kept], changes, ..v1::CleanReply::default() };
        let text = Cleaned::of(&reply, true).text();
        assert!(output::is_harmless(&text, 5), "{text:?}");
    }

    #[test]
    fn actions_are_listed_or_nothing_to_clean_up() {
        let namespace = "shop".to_owned();
        let nothing = v1::CleanReply { namespace, ..v1::CleanReply::default() };
        let done = vec!["orders: restored its selector".to_owned()];
        assert_eq!(
            text(&v1::CleanReply { done, ..nothing.clone() }, false),
            "✓ orders: restored its selector\n"
        );
        for dry_run in [false, true] {
            assert_eq!(text(&nothing, dry_run), "nothing to clean up in namespace shop\n");
        }
    }

    #[test]
    fn a_dry_run_names_what_would_be_changed() {
        let change = |verb: &str, resource: &str, name: &str| v1::ObjectChange {
            verb: verb.to_owned(),
            resource: resource.to_owned(),
            name: name.to_owned(),
        };
        let reply = v1::CleanReply {
            namespace: "shop".to_owned(),
            done: vec!["orders: would restore its selector".to_owned()],
            changes: vec![
                change("patch", "services", "orders"),
                change("delete", "deployments", "orders-bridge-7f3a"),
            ],
            ..v1::CleanReply::default()
        };
        insta::assert_snapshot!(text(&reply, true), @r"
          orders: would restore its selector
          would patch services/orders
          would delete deployments/orders-bridge-7f3a
        dry run: nothing was changed
        ");
        insta::assert_json_snapshot!(Cleaned::of(&reply, true), @r#"
        {
          "namespace": "shop",
          "dryRun": true,
          "actions": [
            "orders: would restore its selector"
          ],
          "changes": [
            {
              "verb": "patch",
              "resource": "services",
              "name": "orders"
            },
            {
              "verb": "delete",
              "resource": "deployments",
              "name": "orders-bridge-7f3a"
            }
          ],
          "kept": [],
          "unreadable": []
        }
        "#);
    }
}
