//! Errors of libraries without the values that they quote. A broken kubeconfig would be shown with the line that has
//! the token, a failed credential plugin with its whole environment, an unreadable Secret with its content: bridge
//! prints only the place and the kind of the error. Pure.

use std::error::Error;

use kube::client::AuthError;
use kube::config::{KubeconfigError, LoadDataError};

/// kube's errors about authentication providers that quote none of their settings.
const HARMLESS: [&str; 3] =
    ["The azure auth plugin is not", "Authentication with provider ", "No id-token for oidc"];
/// Shorter strings are words.
const SHORTEST_SECRET: usize = 20;
/// Limit on the quoted words of a plugin's failure.
const MOST_WORDS: usize = 300;
const BLANK: &str = "…";

/// Errors of a kubeconfig.
pub(crate) fn kubeconfig(error: &KubeconfigError) -> String {
    match error {
        KubeconfigError::Parse(error) => yaml(error),
        KubeconfigError::LoadCertificateAuthority(error) => data("the certificate authority", error),
        KubeconfigError::LoadClientCertificate(error) => data("the client certificate", error),
        KubeconfigError::LoadClientKey(error) => data("the client key", error),
        KubeconfigError::ParseCertificates(_) => "the certificate authority is not PEM".to_owned(),
        KubeconfigError::ParseClusterUrl(_) => "the address of the cluster is not a URL".to_owned(),
        KubeconfigError::ParseProxyUrl(_) => "proxy-url is not a URL".to_owned(),
        KubeconfigError::ReadConfig(error, _) => error.to_string(),
        other => other.to_string(),
    }
}

fn data(what: &str, error: &LoadDataError) -> String {
    match error {
        LoadDataError::DecodeBase64(_) => format!("{what} is not base64"),
        LoadDataError::ReadFile(error, path) => format!("cannot read {what}: {}: {error}", path.display()),
        LoadDataError::NoBase64DataOrFile => format!("{what} is missing"),
    }
}

/// The place at which YAML cannot be read.
fn yaml(error: &serde_saphyr::Error) -> String {
    use serde_saphyr::Error as Yaml;
    let kind = match error.without_snippet() {
        Yaml::SerdeInvalidType { .. } | Yaml::SerdeInvalidValue { .. } | Yaml::Unexpected { .. } => {
            "unexpected value"
        }
        Yaml::SerdeMissingField { .. } => "missing field",
        Yaml::DuplicateMappingKey { .. } => "duplicate key",
        Yaml::Eof { .. } => "unexpected end",
        _ => "syntax error",
    };
    match error.location() {
        Some(at) if at.line() > 0 => format!("line {}, column {}: {kind}", at.line(), at.column()),
        _ => kind.to_owned(),
    }
}

/// The place at which JSON cannot be read.
pub(crate) fn json(error: &serde_json::Error) -> String {
    use serde_json::error::Category;
    let kind = match error.classify() {
        Category::Io => "cannot be read",
        Category::Syntax => "not JSON from there on",
        Category::Data => "unexpected value",
        Category::Eof => "unexpected end",
    };
    format!("line {}, column {}: {kind}", error.line(), error.column())
}

/// Why there are no credentials.
pub(crate) fn plugin(error: &AuthError) -> String {
    match error {
        // It begins with the plugin's environment, and the plugin's output may be a credential.
        AuthError::AuthExecRun { out, .. } => {
            let said = String::from_utf8_lossy(&out.stderr);
            match said.trim().lines().last() {
                Some(words) => format!("{}: {}", out.status, blanked(words)),
                None => out.status.to_string(),
            }
        }
        AuthError::AuthExecStart(error) => format!("cannot start it: {error}"),
        AuthError::AuthExecParse(error) => format!("its output is not a credential: {}", yaml(error)),
        AuthError::ParseTokenKey(error) => format!("its output is not a credential: {}", json(error)),
        AuthError::MalformedTokenExpirationDate(_) => "its token has an invalid expiry time".to_owned(),
        AuthError::InvalidBasicAuth(_) | AuthError::InvalidBearerToken(_) => {
            "its output cannot be sent as a credential".to_owned()
        }
        AuthError::ReadTokenFile(error, path) => format!("{}: {error}", path.display()),
        AuthError::AuthExec(words) if HARMLESS.iter().any(|begin| words.starts_with(begin)) => words.clone(),
        // It contains the output of the provider `gcp`.
        AuthError::AuthExec(_) => "the authentication provider failed".to_owned(),
        other => other.to_string(),
    }
}

/// The cause of a failed call without an answer from the API server: the innermost error, as those around it repeat it.
pub(crate) fn call(error: &kube::Error) -> String {
    match error {
        kube::Error::SerdeError(error) => format!("cannot read the answer: {}", json(error)),
        kube::Error::ProxyProtocolUnsupported { .. } | kube::Error::ProxyProtocolDisabled { .. } => {
            "proxy-url has an unknown scheme".to_owned()
        }
        kube::Error::InferKubeconfig(error) => kubeconfig(error),
        other => deepest(other),
    }
}

/// The error of a call that failed to refresh its credentials.
pub(crate) fn within(error: &kube::Error) -> Option<&AuthError> {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref::<AuthError>() {
            return Some(found);
        }
        cause = error.source();
    }
    None
}

fn deepest(error: &dyn Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

/// A URL without the user and password in it.
pub(crate) fn url(url: &http::Uri) -> String {
    let text = url.to_string();
    let Some((scheme, rest)) = text.split_once("://") else { return text };
    let end = rest.find('/').unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    format!("{scheme}://{host}{path}")
}

/// A plugin's words, without anything that looks like a key or a token.
fn blanked(words: &str) -> String {
    let is_part = |character: char| character.is_ascii_alphanumeric() || "+/_.-~%".contains(character);
    let mut text = String::new();
    let mut rest = words;
    while let Some(first) = rest.chars().next() {
        let length = match rest.find(|character| !is_part(character)) {
            Some(0) => first.len_utf8(),
            Some(end) => end,
            None => rest.len(),
        };
        let (word, after) = rest.split_at(length);
        text.push_str(if is_secret(word) { BLANK } else { word });
        rest = after;
    }
    match text.char_indices().nth(MOST_WORDS) {
        Some((end, _)) => text[..end].to_owned() + BLANK,
        None => text,
    }
}

/// Whether it is long, with capitals, small letters and digits in one stretch: no path and no sentence.
fn is_secret(word: &str) -> bool {
    let has = |is: fn(&u8) -> bool| word.as_bytes().iter().any(is);
    word.len() >= SHORTEST_SECRET
        && has(u8::is_ascii_digit)
        && has(u8::is_ascii_lowercase)
        && has(u8::is_ascii_uppercase)
}

/// The text without these values, whatever they look like.
pub(crate) fn without<'a>(mut text: String, values: impl Iterator<Item = &'a str>) -> String {
    // Shorter values occur in too many words, and are no secrets.
    for value in values.filter(|value| value.len() >= 4) {
        text = text.replace(value, BLANK);
    }
    text
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::{ExitStatus, Output};

    use kube::config::Kubeconfig;

    use super::*;

    const SECRET: &str = "hunter2-Xy7";

    #[test]
    fn a_broken_kubeconfig_is_named_by_its_place_and_quotes_nothing() {
        for (broken, place) in [
            (format!("users:\n  - name: a\n    user: {{token: {SECRET}\n"), "line "),
            (format!("users:\n- name: a\n  user:\n    token: {SECRET}\n   - x\n"), "line 5"),
            (format!("users:\n- name: a\n  user:\n    token: [{SECRET}]\n"), "line 4"),
            (format!("users: {SECRET}\n"), "line 1"),
            (format!("contexts: 7\ntoken: {SECRET}\n"), "line 1"),
            (format!("token: \"{SECRET}\ntoken: x: y\n"), "line "),
            (format!("users: &a {SECRET}\nx: *b\n"), "line "),
            (format!("{SECRET}: 1\n{SECRET}: 2\n"), "line 2"),
            (format!("users:\n- user: {{auth-provider: {SECRET}}}\n"), "line 2"),
            (format!("users: !{SECRET} []\nclusters: {{}}\n"), "line "),
        ] {
            let error = Kubeconfig::from_yaml(&broken).expect_err(&broken);
            let said = kubeconfig(&error);
            assert!(!said.contains("hunter2") && said.starts_with(place), "{broken}{said}");
        }
    }

    #[test]
    fn a_plugin_s_environment_and_output_are_not_shown() {
        let failed = |stderr: &str| AuthError::AuthExecRun {
            cmd: format!("TOKEN=\"{SECRET}\" OTHER=\"x\" \"aws\" \"--password\" \"{SECRET}\""),
            out: Box::new(Output {
                status: ExitStatus::from_raw(3 << 8),
                stdout: SECRET.as_bytes().to_vec(),
                stderr: stderr.as_bytes().to_vec(),
            }),
        };
        assert_eq!(plugin(&failed("")), "exit status: 3");
        assert_eq!(plugin(&failed("x\nno session for anna\n")), "exit status: 3: no session for anna");
        let token = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dozjgNryP4J3jVmNHl0w5N";
        assert_eq!(plugin(&failed(&format!("bad token={token}!"))), "exit status: 3: bad token=…!");
        let parsed = serde_saphyr::from_str::<Vec<u8>>(&format!("{{token: {SECRET}}}")).unwrap_err();
        let said = plugin(&AuthError::AuthExecParse(Box::new(parsed)));
        assert!(!said.contains("hunter2") && said.contains("line 1"), "{said}");
        let parsed = serde_json::from_str::<u8>(&format!("\"{SECRET}\"")).unwrap_err();
        let said = plugin(&AuthError::ParseTokenKey(parsed));
        assert!(!said.contains("hunter2") && said.contains("line 1"), "{said}");
        let said = plugin(&AuthError::AuthExec(format!("{SECRET} failed")));
        assert!(!said.contains("hunter2"), "{said}");
    }

    #[test]
    fn an_answer_that_cannot_be_read_is_not_quoted() {
        let error = serde_json::from_str::<u8>(&format!("\n  \"{SECRET}\"")).unwrap_err();
        assert_eq!(
            call(&kube::Error::SerdeError(error)),
            "cannot read the answer: line 2, column 15: unexpected value"
        );
        let proxy_url = Box::new(format!("ftp://anna:{SECRET}@proxy:21").parse().unwrap());
        let said = call(&kube::Error::ProxyProtocolUnsupported { proxy_url });
        assert!(!said.contains("hunter2"), "{said}");
    }

    #[test]
    fn credentials_that_fail_during_a_call_are_found_in_its_error() {
        let error = AuthError::AuthExec(SECRET.to_owned());
        let error = kube::Error::Service(Box::new(error));
        assert!(within(&error).is_some());
        assert!(within(&kube::Error::Service("refused".into())).is_none());
    }

    #[test]
    fn a_url_is_shown_without_its_user() {
        for (text, shown) in [
            ("https://anna:hunter2@k8s.example:6443/", "https://k8s.example:6443/"),
            ("https://k8s.example:6443/k8s/clusters/c-1", "https://k8s.example:6443/k8s/clusters/c-1"),
            ("https://k8s.example/?a=b@c", "https://k8s.example/?a=b@c"),
        ] {
            assert_eq!(url(&text.parse().unwrap()), shown);
        }
    }

    #[test]
    fn words_stay_words() {
        for words in [
            "error: no session in /home/anna/.config/gcloud/application_default_credentials.json",
            "AccessDeniedException: user is not authorized to perform sts:AssumeRole",
        ] {
            assert_eq!(blanked(words), words);
        }
        assert_eq!(without("a hunter2 b".to_owned(), ["hunter2", "a"].into_iter()), "a … b");
    }
}
