//! `bridge clean`: cleans up after sessions whose daemon died.

use bridge_client::{ClientError, RuntimeDir, started};
use bridge_proto::target::Target;
use bridge_proto::v1;

use super::{
    args::CleanArgs,
    error::Failed,
    output::{self, GREEN, Progress, line, styled},
    request,
};

pub(crate) async fn run(args: CleanArgs) -> Result<(), Failed> {
    let request = v1::CleanRequest {
        cluster: Some(request::cluster(&args.cluster, &request::config()?)?),
        target: args.service.as_ref().map(Target::to_string).unwrap_or_default(),
        others: args.others,
    };
    let progress = Progress::new();
    progress.step("checking the namespace");
    let cleaned = clean(request).await?;
    drop(progress);
    output::print(&text(&cleaned))?;
    unreadable(cleaned)
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
    unreadable(clean(v1::CleanRequest { cluster, target, others: false }).await?)
}

fn text(cleaned: &v1::CleanReply) -> String {
    let mut text = String::new();
    for done in &cleaned.done {
        text.push_str(&line(&format!("{} {done}", styled(GREEN, "✓"))));
    }
    for v1::KeptSession { target, user, installation } in &cleaned.kept {
        text.push_str(&line(&format!("  kept: the session of {user} ({installation}) on {target}")));
    }
    if !cleaned.kept.is_empty() {
        text.push_str("  → if those laptops are gone for good: bridge clean --others\n");
    }
    if text.is_empty() && cleaned.unreadable.is_empty() {
        text = line(&format!("nothing to clean up in namespace {}", cleaned.namespace));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_of_an_annotation_steers_the_terminal() {
        let hostile = || output::HOSTILE.to_owned();
        let kept = v1::KeptSession { target: hostile(), user: hostile(), installation: hostile() };
        let cleaned = v1::CleanReply { done: vec![hostile()], kept: vec![kept], ..v1::CleanReply::default() };
        assert!(output::is_harmless(&text(&cleaned), 3), "{:?}", text(&cleaned));
    }

    #[test]
    fn actions_are_listed_or_nothing_to_clean_up() {
        let namespace = "shop".to_owned();
        let nothing = v1::CleanReply { namespace, ..v1::CleanReply::default() };
        let done = vec!["orders: restored its selector".to_owned()];
        let plain = |cleaned: &v1::CleanReply| anstream::adapter::strip_str(&text(cleaned)).to_string();
        assert_eq!(plain(&v1::CleanReply { done, ..nothing.clone() }), "✓ orders: restored its selector\n");
        assert_eq!(plain(&nothing), "nothing to clean up in namespace shop\n");
    }
}
