use super::*;

const KUBECONFIG: &str = "
apiVersion: v1
kind: Config
current-context: dev
clusters:
  - {name: dev, cluster: {server: 'https://dev.example:6443/'}}
  - {name: prod, cluster: {server: 'https://prod.example'}}
users:
  - {name: anna, user: {token: abc}}
contexts:
  - {name: dev, context: {cluster: dev, user: anna, namespace: shop}}
  - {name: production, context: {cluster: prod, user: anna}}
";

fn kubeconfig(current: Option<&str>) -> Kubeconfig {
    let mut kubeconfig = Kubeconfig::from_yaml(KUBECONFIG).unwrap();
    kubeconfig.current_context = current.map(str::to_owned);
    kubeconfig
}

fn environment(variables: &[(&str, &str)]) -> BTreeMap<String, String> {
    variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn the_context_is_the_named_one_else_the_current_one() {
    assert_eq!(chosen_context(&kubeconfig(Some("dev")), None).unwrap(), "dev");
    assert_eq!(chosen_context(&kubeconfig(Some("dev")), Some("production")).unwrap(), "production");
    let none = chosen_context(&kubeconfig(Some("")), None).unwrap_err();
    assert_eq!(none.advice().unwrap(), "choose one with --context: dev, production");
    let unknown = chosen_context(&kubeconfig(None), Some("prodution")).unwrap_err();
    assert_eq!(unknown.to_string(), "the kubeconfig has no context \"prodution\"");
    assert_eq!(unknown.advice().unwrap(), "did you mean production?");
}

#[test]
fn files_are_those_that_kubectl_would_read() {
    for (kubeconfig, variables, expected) in [
        (vec![], vec![("HOME", "/h")], vec!["/h/.kube/config"]),
        (vec![], vec![("HOME", "/h"), ("KUBECONFIG", "")], vec!["/h/.kube/config"]),
        (vec![], vec![("HOME", "/h"), ("KUBECONFIG", "/a::/b")], vec!["/a", "/b"]),
        (vec!["/named"], vec![("KUBECONFIG", "/a")], vec!["/named"]),
        (vec![], vec![], vec![]),
    ] {
        let access = Access {
            kubeconfig: kubeconfig.into_iter().map(PathBuf::from).collect(),
            environment: environment(&variables),
            ..Access::default()
        };
        assert_eq!(access.files(), expected.into_iter().map(PathBuf::from).collect::<Vec<_>>());
    }
}

#[test]
fn the_kubeconfig_alone_names_the_place_and_the_server() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config");
    std::fs::write(&file, KUBECONFIG).unwrap();
    let named = |context: Option<&str>, namespace: Option<&str>| {
        let access = Access {
            kubeconfig: vec![file.clone()],
            context: context.map(str::to_owned),
            namespace: namespace.map(str::to_owned),
            ..Access::default()
        };
        let (context, namespace) = access.place().unwrap();
        format!("{context}/{namespace} at {}", access.server().unwrap())
    };
    assert_eq!(named(None, None), "dev/shop at https://dev.example:6443");
    assert_eq!(named(None, Some("test")), "dev/test at https://dev.example:6443");
    assert_eq!(named(Some("production"), None), "production/default at https://prod.example");
}

#[tokio::test]
async fn a_client_goes_where_the_context_says() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config");
    std::fs::write(&file, KUBECONFIG).unwrap();
    let missing = folder.path().join("missing");
    let list = std::env::join_paths([&missing, &file]).unwrap();
    let access =
        Access { environment: environment(&[("KUBECONFIG", list.to_str().unwrap())]), ..Access::default() };

    let cluster = Cluster::of(&access).await.unwrap();
    assert_eq!((cluster.context.as_str(), cluster.namespace.as_str()), ("dev", "shop"));
    assert_eq!(cluster.server, "https://dev.example:6443");

    let named = Access { namespace: Some("other".into()), context: Some("production".into()), ..access };
    let cluster = Cluster::of(&named).await.unwrap();
    assert_eq!((cluster.server.as_str(), cluster.namespace.as_str()), ("https://prod.example", "other"));

    let nowhere = Access { kubeconfig: vec![missing.clone()], ..Access::default() };
    let error = Cluster::of(&nowhere).await.unwrap_err();
    assert!(matches!(error, ClusterError::NoKubeconfig { tried } if tried == [missing]));
    std::fs::write(&file, "contexts: 7").unwrap();
    let error = Cluster::of(&Access { kubeconfig: vec![file], ..Access::default() }).await.unwrap_err();
    assert!(matches!(error, ClusterError::Kubeconfig { .. }), "{error}");
}

#[test]
fn a_plugin_gets_the_callers_environment() {
    let mut exec = ExecConfig {
        env: Some(vec![HashMap::from([("name".into(), "A".into()), ("value".into(), "kubeconfig".into())])]),
        ..ExecConfig::default()
    };
    let own = ["A", "B", "C", "D"].into_iter().map(str::to_owned);

    with_environment(&mut exec, &environment(&[("A", "caller"), ("B", "caller")]), own);

    let given: BTreeMap<_, _> = exec
        .env
        .unwrap()
        .into_iter()
        .map(|variable| (variable["name"].clone(), variable["value"].clone()))
        .collect();
    assert_eq!(given, environment(&[("A", "kubeconfig"), ("B", "caller")]));
    assert_eq!(exec.drop_env.unwrap(), ["C", "D"]);
}

#[tokio::test]
async fn a_plugin_that_fails_is_named_with_its_output() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config");
    let plugin = "{apiVersion: client.authentication.k8s.io/v1, command: sh, \
                  args: ['-c', 'echo secret; echo no session >&2; exit 3'], interactiveMode: Never}";
    std::fs::write(&file, KUBECONFIG.replace("{token: abc}", &format!("{{exec: {plugin}}}"))).unwrap();
    let path = std::env::var("PATH").unwrap();
    let access =
        Access { kubeconfig: vec![file], environment: environment(&[("PATH", &path)]), ..Access::default() };
    let error = Cluster::of(&access).await.unwrap_err();
    assert_eq!(error.cause(), bridge_proto::v1::failure::Cause::Credentials);
    assert!(error.to_string().contains("no session") && !error.to_string().contains("secret"), "{error}");
}

#[tokio::test]
async fn a_missing_server_is_unreachable() {
    let cluster = Cluster {
        client: Client::try_from(Config::new("http://127.0.0.1:1".parse().unwrap())).unwrap(),
        context: "dev".into(),
        namespace: "shop".into(),
        server: "http://127.0.0.1:1".into(),
    };
    let call = Call::all("list", "pods", "shop");
    let pods = kube::Api::<k8s_openapi::api::core::v1::Pod>::namespaced(cluster.client.clone(), "shop");
    let error = cluster.call(call, pods.list(&kube::api::ListParams::default())).await.unwrap_err();
    assert_eq!(error.cause(), bridge_proto::v1::failure::Cause::Unreachable);
    assert!(error.to_string().contains("refused"), "{error}");
}
