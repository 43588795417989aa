//! The contexts of the kubeconfig, and the namespaces of a cluster.

use bridge_client::{ClientError, Daemon, RuntimeDir, started};
use bridge_proto::v1;
use serde::Serialize;

use crate::cli::error::Failed;
use crate::cli::output::{self, Format, line};

/// The output of `list --contexts -o json`. The names of the fields are stable.
#[derive(Debug, Serialize)]
struct Contexts {
    contexts: Vec<Context>,
}

#[derive(Debug, Serialize)]
struct Context {
    name: String,
    namespace: String,
    /// It is meant where none is named.
    current: bool,
}

/// The output of `list --namespaces -o json`. The names of the fields are stable.
#[derive(Debug, Serialize)]
struct Namespaces {
    context: String,
    namespaces: Vec<String>,
}

/// Lists the contexts, or else the namespaces.
pub(super) async fn list(cluster: v1::Cluster, contexts: bool, format: Format) -> Result<(), Failed> {
    let mut daemon = started(&RuntimeDir::find()?).await?;
    let there = of(&mut daemon, cluster, !contexts).await?;
    if contexts {
        let current = there.context;
        let context =
            |v1::KubeContext { name, namespace }| Context { current: name == current, name, namespace };
        let listing = Contexts { contexts: there.contexts.into_iter().map(context).collect() };
        return output::print_as(format, &listing, || table(&listing));
    }
    let listing = Namespaces { context: there.context, namespaces: there.namespaces };
    output::print_as(format, &listing, || listing.namespaces.iter().map(|name| line(name)).collect())
}

/// The places that a command may mean; the API server is asked only for namespaces.
pub(crate) async fn of(
    daemon: &mut Daemon,
    cluster: v1::Cluster,
    namespaces: bool,
) -> Result<v1::PlacesReply, Failed> {
    let request = v1::PlacesRequest { cluster: Some(cluster), namespaces };
    let reply = daemon.client.places(request).await.map_err(ClientError::from)?.into_inner();
    match reply.failed {
        Some(failure) => Err(failure.into()),
        None => Ok(reply),
    }
}

fn table(listing: &Contexts) -> String {
    let head = ["CONTEXT", "NAMESPACE", "CURRENT"].map(str::to_owned).to_vec();
    let row = |context: &Context| {
        let current = if context.current { "yes" } else { "" };
        vec![context.name.clone(), context.namespace.clone(), current.to_owned()]
    };
    output::table(&std::iter::once(head).chain(listing.contexts.iter().map(row)).collect::<Vec<_>>())
}
