//! Access to a cluster: which kubeconfig, context and namespace, and a client for it, as kubectl chooses them.
//! Credential plugins get the caller's environment, not the daemon's.

use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
    time::Duration,
};

use kube::{
    Api, Client, Config, Resource,
    api::ListParams,
    config::{ExecConfig, KubeConfigOptions, Kubeconfig, KubeconfigError, NamedContext},
};
use serde::de::DeserializeOwned;

use crate::{
    connection,
    error::{Call, ClusterError},
    nearest::nearest,
    unquoted,
};

/// kubectl's default if the context names none.
const DEFAULT_NAMESPACE: &str = "default";
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The limit for an answer to one request; watches and port-forwards, which take longer by nature, do not go through
/// [`Cluster::call`].
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

/// The caller's choice of a cluster, and the caller's environment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Access {
    /// Absolute paths; if empty, chosen by the environment, as kubectl does.
    pub kubeconfig: Vec<PathBuf>,
    pub context: Option<String>,
    pub namespace: Option<String>,
    pub environment: BTreeMap<String, String>,
}

/// A client, and the names of its cluster and place.
#[derive(Clone)]
pub struct Cluster {
    pub client: Client,
    pub context: String,
    pub namespace: String,
    /// The API server's address, for messages.
    pub server: String,
}

fn unusable(reason: String) -> ClusterError {
    ClusterError::Kubeconfig { reason }
}

async fn text_of(file: &Path) -> Result<String, ClusterError> {
    let text = tokio::fs::read_to_string(file).await;
    let text = text.map_err(|error| unusable(format!("{}: {error}", file.display())))?;
    Ok(text.trim().to_owned())
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { client: _, context, namespace, server } = self;
        f.debug_struct("Cluster")
            .field("context", context)
            .field("namespace", namespace)
            .field("server", server)
            .finish()
    }
}

impl Cluster {
    /// Creates a client, without a call to the API server.
    ///
    /// # Errors
    ///
    /// The error of the kubeconfig or its credential plugin.
    pub async fn of(access: &Access) -> Result<Self, ClusterError> {
        let kubeconfig = access.read()?;
        let context = chosen_context(&kubeconfig, access.context.as_deref())?;
        Self::with(kubeconfig, context, access).await
    }

    /// Creates a client for the API server at this address, with the token, the certificate and the namespace of an
    /// account's Secret that is mounted in this folder.
    ///
    /// # Errors
    ///
    /// The error of the files.
    pub async fn with_account(server: &str, folder: &Path) -> Result<Self, ClusterError> {
        let namespace = text_of(&folder.join("namespace")).await?;
        let token = text_of(&folder.join("token")).await?;
        let certificates = text_of(&folder.join("ca.crt")).await?;
        let certificates =
            pem::parse_many(certificates).map_err(|error| unusable(format!("ca.crt: {error}")))?;
        let server = server.parse().map_err(|error| unusable(format!("{server}: {error}")))?;
        let mut config = Config::new(server);
        config.default_namespace.clone_from(&namespace);
        config.root_cert = Some(certificates.into_iter().map(pem::Pem::into_contents).collect());
        config.connect_timeout = Some(CONNECT_TIMEOUT);
        let server = server_of(&config.cluster_url);
        let client =
            connection::with_token(config, &token).map_err(|error| unusable(unquoted::call(&error)))?;
        Ok(Self { client, context: String::new(), namespace, server })
    }

    async fn with(kubeconfig: Kubeconfig, context: String, access: &Access) -> Result<Self, ClusterError> {
        let options = KubeConfigOptions { context: Some(context.clone()), ..KubeConfigOptions::default() };
        let mut config = Config::from_custom_kubeconfig(kubeconfig, &options)
            .await
            .map_err(|error| ClusterError::Kubeconfig { reason: unquoted::kubeconfig(&error) })?;
        config.connect_timeout = Some(CONNECT_TIMEOUT);
        // kube would retry 15 times, for minutes, if an API server is in trouble: the user should see that.
        config.default_retry = false;
        let plugin = config.auth_info.exec.clone();
        if let Some(exec) = &mut config.auth_info.exec {
            let own = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
            with_environment(exec, &access.environment, own);
        }
        let namespace = access.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
        let server = server_of(&config.cluster_url);

        // Runs the credential plugin, and waits for it.
        let made = tokio::task::spawn_blocking(move || connection::client(config)).await;
        let client = made.map_err(|error| ClusterError::Kubeconfig { reason: error.to_string() })?.map_err(
            |error| match unquoted::within(&error) {
                Some(error) => ClusterError::CredentialPlugin {
                    reason: failure_of(plugin.as_ref(), unquoted::plugin(error)),
                },
                None => ClusterError::Kubeconfig { reason: unquoted::call(&error) },
            },
        )?;
        Ok(Self { client, context, namespace, server })
    }

    /// Waits for the answer to a request, for a bounded time, and turns its failure into our error.
    ///
    /// # Errors
    ///
    /// Errors of [`ClusterError::of`], and [`ClusterError::NoAnswer`].
    pub async fn call<T>(
        &self,
        call: Call,
        request: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T, ClusterError> {
        match tokio::time::timeout(ANSWER_TIMEOUT, request).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(ClusterError::of(&error, call, Some(&self.server))),
            Err(_) => Err(ClusterError::NoAnswer {
                server: Some(self.server.clone()),
                call,
                seconds: ANSWER_TIMEOUT.as_secs(),
            }),
        }
    }
}

impl Access {
    /// The kubeconfig files by precedence: named ones, else those of `KUBECONFIG`, else the default one.
    fn files(&self) -> Vec<PathBuf> {
        if !self.kubeconfig.is_empty() {
            return self.kubeconfig.clone();
        }
        let listed: Vec<PathBuf> = self
            .environment
            .get("KUBECONFIG")
            .map(|value| std::env::split_paths(value).filter(|path| !path.as_os_str().is_empty()).collect())
            .unwrap_or_default();
        if !listed.is_empty() {
            return listed;
        }
        self.environment.get("HOME").map(|home| Path::new(home).join(".kube/config")).into_iter().collect()
    }

    /// The context and the namespace that the kubeconfig selects, without running a plugin or calling the API server.
    ///
    /// # Errors
    ///
    /// The kubeconfig's error.
    pub fn place(&self) -> Result<(String, String), ClusterError> {
        let kubeconfig = self.read()?;
        let name = chosen_context(&kubeconfig, self.context.as_deref())?;
        let context = kubeconfig.contexts.iter().find(|context| context.name == name);
        let of_context = context.and_then(|context| context.context.as_ref()?.namespace.clone());
        let namespace = self.namespace.clone().or(of_context).unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned());
        Ok((name, namespace))
    }

    /// The names and namespaces of all contexts, in the order of the kubeconfig.
    ///
    /// # Errors
    ///
    /// The kubeconfig's error.
    pub fn contexts(&self) -> Result<Vec<(String, String)>, ClusterError> {
        let named = |NamedContext { name, context, .. }| {
            (
                name,
                context.and_then(|context| context.namespace).unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned()),
            )
        };
        Ok(self.read()?.contexts.into_iter().map(named).collect())
    }

    /// The API server that is meant, as [`Cluster::server`] has it: nothing is run or asked for it.
    ///
    /// # Errors
    ///
    /// The kubeconfig's error.
    pub fn server(&self) -> Result<String, ClusterError> {
        let kubeconfig = self.read()?;
        let context = chosen_context(&kubeconfig, self.context.as_deref())?;
        let contexts = kubeconfig.contexts.iter().find(|named| named.name == context);
        let cluster = contexts.and_then(|named| Some(&named.context.as_ref()?.cluster));
        let cluster = kubeconfig.clusters.iter().find(|named| Some(&named.name) == cluster);
        let url = cluster.and_then(|named| named.cluster.as_ref()?.server.as_deref());
        let url = url.ok_or(KubeconfigError::MissingClusterUrl);
        url.and_then(|url| url.parse().map_err(KubeconfigError::ParseClusterUrl))
            .map(|url| server_of(&url))
            .map_err(|error| ClusterError::Kubeconfig { reason: unquoted::kubeconfig(&error) })
    }

    /// All files, merged as kubectl does: the first file with a value wins, and missing files are ignored.
    fn read(&self) -> Result<Kubeconfig, ClusterError> {
        let files = self.files();
        let there: Vec<&PathBuf> = files.iter().filter(|path| path.exists()).collect();
        if there.is_empty() {
            return Err(ClusterError::NoKubeconfig { tried: files });
        }
        let mut merged = Kubeconfig::default();
        for path in there {
            let unusable = |error: KubeconfigError| ClusterError::Kubeconfig {
                reason: format!("{}: {}", path.display(), unquoted::kubeconfig(&error)),
            };
            merged = Kubeconfig::read_from(path).and_then(|next| merged.merge(next)).map_err(unusable)?;
        }
        Ok(merged)
    }
}

fn server_of(url: &http::Uri) -> String {
    unquoted::url(url).trim_end_matches('/').to_owned()
}

/// Why a plugin failed: its program's name, and none of the values that the kubeconfig passes to it.
fn failure_of(plugin: Option<&ExecConfig>, reason: String) -> String {
    let Some(plugin) = plugin else { return reason };
    let values = plugin.env.iter().flatten().filter_map(|variable| variable.get("value")).map(String::as_str);
    let reason = unquoted::without(reason, values);
    let program = plugin.command.as_deref().map(Path::new).and_then(Path::file_name);
    program.map_or_else(|| reason.clone(), |program| format!("{}: {reason}", program.to_string_lossy()))
}

fn chosen_context(kubeconfig: &Kubeconfig, wanted: Option<&str>) -> Result<String, ClusterError> {
    let known = || kubeconfig.contexts.iter().map(|context| context.name.as_str());
    let current = kubeconfig.current_context.as_deref().filter(|name| !name.is_empty());
    let Some(name) = wanted.or(current) else {
        return Err(ClusterError::NoContext { known: known().map(str::to_owned).collect() });
    };
    if known().any(|context| context == name) {
        return Ok(name.to_owned());
    }
    let mut near = nearest(name, known());
    if near.is_empty() && known().count() <= 3 {
        near = known().map(str::to_owned).collect();
    }
    Err(ClusterError::UnknownContext { name: name.to_owned(), nearest: near })
}

/// Gives a credential plugin the caller's environment: the kubeconfig's variables go before it, and variables that only
/// the daemon has (`own`) are removed.
fn with_environment(
    exec: &mut ExecConfig,
    caller: &BTreeMap<String, String>,
    own: impl Iterator<Item = String>,
) {
    let set = exec.env.take().unwrap_or_default();
    let is_set = |name: &str| set.iter().any(|variable| variable.get("name").is_some_and(|n| n == name));
    exec.drop_env = Some(
        own.filter(|name| !caller.contains_key(name) && !is_set(name) && name != "KUBERNETES_EXEC_INFO")
            .collect(),
    );
    let variable = |(name, value): (&String, &String)| {
        HashMap::from([("name".to_owned(), name.clone()), ("value".to_owned(), value.clone())])
    };
    let mut env: Vec<_> = caller.iter().filter(|(name, _)| !is_set(name)).map(variable).collect();
    env.extend(set);
    exec.env = Some(env);
}

/// `None` if the user may not ask.
pub(crate) fn unless_forbidden<T>(result: Result<T, ClusterError>) -> Result<Option<T>, ClusterError> {
    match result {
        Ok(known) => Ok(Some(known)),
        Err(error) if error.is_forbidden() => Ok(None),
        Err(error) => Err(error),
    }
}

/// All objects of a kind in the cluster's namespace.
pub(crate) async fn list<K>(cluster: &Cluster, resource: &'static str) -> Result<Vec<K>, ClusterError>
where
    K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    K: Clone + DeserializeOwned + std::fmt::Debug,
{
    let api: Api<K> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let call = Call::all("list", resource, &cluster.namespace);
    Ok(cluster.call(call, api.list(&ListParams::default())).await?.items)
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
