//! `bridge clean`: cleans up after sessions whose daemon died.

use bridge_client::{Place, chain, sessions};
use bridge_cluster::{
    Access, Cluster,
    clean::{self, Cleaned, Whose},
};
use bridge_daemon::installation;

use super::{
    args::CleanArgs,
    error::Failed,
    output::{self, GREEN, Progress, line, styled},
    request,
};

pub(crate) async fn run(args: CleanArgs) -> Result<(), Failed> {
    let cluster = Cluster::of(&request::access(&args.cluster, &request::config()?)?).await?;
    let whose = whose(args.others).await?;
    let only = match &args.service {
        Some(target) => {
            let meant = target.to_string().parse().map_err(Failed::from)?;
            Some(bridge_cluster::target::resolve(&cluster, &meant).await?)
        }
        None => None,
    };
    let progress = Progress::new();
    progress.step(&format!("checking namespace {}", cluster.namespace));
    let cleaned = clean::clean(&cluster, only.as_deref(), &whose).await?;
    drop(progress);
    output::print(&text(&cleaned, &cluster.namespace))?;
    unreadable(cleaned)
}

/// What could not be read is named, one after the other; the last is what the command ends with.
fn unreadable(cleaned: Cleaned) -> Result<(), Failed> {
    let mut failed = None;
    for error in cleaned.unreadable {
        if let Some(earlier) = failed.replace(Failed::from(error)) {
            output::fail(&earlier);
        }
    }
    failed.map_or(Ok(()), Err)
}

/// Puts one Service back, as far as this machine's sessions hold it that are gone.
pub(crate) async fn put_back(access: &Access, service: &str) -> Result<(), Failed> {
    let cluster = Cluster::of(access).await?;
    unreadable(clean::clean(&cluster, Some(service), &whose(false).await?).await?)
}

async fn whose(others: bool) -> Result<Whose, Failed> {
    let installation = installation::name().map_err(|error| Failed::internal(chain(&error)))?;
    // What this user's daemon holds is alive, whatever the cluster looks like.
    let alive = sessions(&Place::find()?).await?.into_iter().map(|session| session.id).collect();
    Ok(Whose { installation, alive, others })
}

fn text(cleaned: &Cleaned, namespace: &str) -> String {
    let mut text = String::new();
    for done in &cleaned.done {
        text.push_str(&line(&format!("{} {done}", styled(GREEN, "✓"))));
    }
    for (service, claim) in &cleaned.kept {
        text.push_str(&line(&format!(
            "  kept: the session of {} ({}) on {service}",
            claim.user, claim.installation
        )));
    }
    if !cleaned.kept.is_empty() {
        text.push_str("  → if those laptops are gone for good: bridge clean --others\n");
    }
    if text.is_empty() && cleaned.unreadable.is_empty() {
        text = format!("nothing to clean up in namespace {namespace}\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_of_an_annotation_steers_the_terminal() {
        let hostile = || output::HOSTILE.to_owned();
        let claim = serde_json::json!({
            "id": "1", "user": hostile(), "installation": hostile(), "since": 1, "routes": [],
        });
        let kept = vec![(hostile(), serde_json::from_value(claim).unwrap())];
        let cleaned = Cleaned { done: vec![hostile()], kept, ..Cleaned::default() };
        assert!(output::is_harmless(&text(&cleaned, "shop"), 3), "{:?}", text(&cleaned, "shop"));
    }

    #[test]
    fn what_was_done_and_what_is_somebody_s() {
        let done = vec!["orders: restored its selector".to_owned()];
        let cleaned = Cleaned { done, ..Cleaned::default() };
        let plain = |cleaned: &Cleaned| anstream::adapter::strip_str(&text(cleaned, "shop")).to_string();
        assert_eq!(plain(&cleaned), "✓ orders: restored its selector\n");
        assert_eq!(plain(&Cleaned::default()), "nothing to clean up in namespace shop\n");
    }
}
