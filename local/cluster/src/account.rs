//! The account by which agents restore what they are part of when no laptop is left (`deploy/rbac-restore.yaml`): whether
//! the admin of the namespace has applied it, and after how long. Its token is never read here.

use std::time::Duration;

use bridge_deploy::{RESTORE_ACCOUNT, Restore};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;

use crate::client::{Cluster, unless_forbidden};
use crate::error::{Call, ClusterError};

/// On the account's Secret: how long no session must have been there, in seconds, minutes or hours: "10m".
const AFTER: &str = "bridge.dev/restore-after";
/// On a Secret with the token of a service account: the account's name, from Kubernetes.
const TOKEN_OF: &str = "kubernetes.io/service-account.name";
const USUAL: Duration = Duration::from_secs(600);
/// The longest time.
const MOST: Duration = Duration::from_secs(7 * 24 * 3600);

/// The account, as far as a developer needs to know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    pub restore: Restore,
    /// The annotation, if it is not a time: then it takes the usual one.
    pub not_a_time: Option<String>,
}

/// The account of the namespace. `None`: there is none, or the user may not know.
///
/// # Errors
///
/// The errors of the call.
pub(crate) async fn read(cluster: &Cluster) -> Result<Option<Account>, ClusterError> {
    let api: Api<Secret> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let call = Call::new("get", "secrets", &cluster.namespace, RESTORE_ACCOUNT);
    match unless_forbidden(cluster.call(call, api.get_metadata(RESTORE_ACCOUNT)).await) {
        Err(error) if error.is_not_found() => Ok(None),
        secret => Ok(secret?.and_then(|secret| of(&secret.metadata))),
    }
}

fn of(secret: &ObjectMeta) -> Option<Account> {
    let annotations = secret.annotations.as_ref()?;
    annotations.get(TOKEN_OF).filter(|account| *account == RESTORE_ACCOUNT)?;
    let given = annotations.get(AFTER);
    let after = given.and_then(|text| time(text));
    Some(Account {
        restore: Restore { after: after.unwrap_or(USUAL) },
        not_a_time: given.filter(|_| after.is_none()).map(|text| text.chars().take(40).collect()),
    })
}

/// "90s", "10m" or "2h", from one second on.
fn time(text: &str) -> Option<Duration> {
    let unit = match text.chars().last()? {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        _ => return None,
    };
    let number: u64 = text.get(..text.len() - 1)?.parse().ok()?;
    let time = Duration::from_secs(number.checked_mul(unit)?);
    (Duration::from_secs(1)..=MOST).contains(&time).then_some(time)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn account(annotations: &Value) -> Option<Account> {
        of(&serde_json::from_value(json!({"name": "bridge-restore", "annotations": annotations})).unwrap())
    }

    #[test]
    fn an_account_restores_after_its_time_or_ten_minutes() {
        for (after, seconds, not_a_time) in [
            (None, 600, None),
            (Some("90s"), 90, None),
            (Some("30m"), 1800, None),
            (Some("2h"), 7200, None),
            (Some("0s"), 600, Some("0s")),
            (Some("200h"), 600, Some("200h")),
            (Some("10"), 600, Some("10")),
            (Some("m"), 600, Some("m")),
            (Some("5µ"), 600, Some("5µ")),
            (Some(""), 600, Some("")),
        ] {
            let mut annotations = json!({"kubernetes.io/service-account.name": "bridge-restore"});
            if let Some(after) = after {
                annotations[AFTER] = json!(after);
            }
            let found = account(&annotations).unwrap();
            let expected = (Duration::from_secs(seconds), not_a_time.map(str::to_owned));
            assert_eq!((found.restore.after, found.not_a_time), expected, "{after:?}");
        }
    }

    #[test]
    fn another_secret_of_that_name_is_none() {
        assert_eq!(account(&json!({})), None);
        assert_eq!(account(&json!({"kubernetes.io/service-account.name": "default"})), None);
    }
}
