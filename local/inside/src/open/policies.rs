//! A Content-Security-Policy (CSP level 3) as a page needs it here: what it allows for a real host, it allows for that
//! host's name here as well. Nothing is taken from it, as pages may still name the real host. Pure.

use super::names::Sites;

/// Directives without meaning here: there is no TLS.
const ABOUT_TLS: [&str; 2] = ["upgrade-insecure-requests", "block-all-mixed-content"];
/// Directives with lists of sources, besides those that end so.
const LISTS: [&str; 4] = ["form-action", "frame-ancestors", "base-uri", "navigate-to"];
const ENDS: [&str; 3] = ["-src", "-src-elem", "-src-attr"];

/// The header, which may have several policies.
pub(super) fn here(header: &str, sites: &Sites) -> String {
    header.split(',').map(|policy| policy_here(policy, sites)).collect::<Vec<_>>().join(", ")
}

fn policy_here(policy: &str, sites: &Sites) -> String {
    let directives = policy.split(';').map(str::trim).filter(|directive| !directive.is_empty());
    let kept = directives.filter_map(|directive| {
        let name = directive.split_ascii_whitespace().next()?.to_ascii_lowercase();
        (!ABOUT_TLS.contains(&name.as_str())).then(|| directive_here(directive, &name, sites))
    });
    kept.collect::<Vec<_>>().join("; ")
}

fn directive_here(directive: &str, name: &str, sites: &Sites) -> String {
    if !LISTS.contains(&name) && !ENDS.iter().any(|end| name.ends_with(end)) {
        return directive.to_owned();
    }
    let sources = directive.split_ascii_whitespace().skip(1);
    let mut added: Vec<String> = Vec::new();
    for also in sources.flat_map(|source| source_here(source, sites)) {
        if !added.contains(&also) {
            added.push(also);
        }
    }
    [&[directive.to_owned()], added.as_slice()].concat().join(" ")
}

/// What else to allow: "https://api.example.com/x", "*.example.com", "https:".
fn source_here(source: &str, sites: &Sites) -> Vec<String> {
    let source = source.to_ascii_lowercase();
    match source.as_str() {
        "https:" => return vec![format!("http://*.localhost:{}", sites.port())],
        "wss:" => return vec![format!("ws://*.localhost:{}", sites.port())],
        quoted if quoted.starts_with('\'') => return Vec::new(),
        _ => {}
    }
    let (schemes, rest): (&[&str], &str) = match source.split_once("://") {
        Some(("http" | "https", rest)) => (&["http"], rest),
        Some(("ws" | "wss", rest)) => (&["ws"], rest),
        Some(_) => return Vec::new(),
        None => (&["http", "ws"], &source),
    };
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let urls = sites.allowed_by(host).map(|site| sites.url(site));
    let hosts: Vec<String> = urls.map(|url| url.trim_start_matches("http").to_owned()).collect();
    schemes.iter().flat_map(|scheme| hosts.iter().map(move |host| format!("{scheme}{host}{path}"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::open::names::tests::sites;

    #[test]
    fn what_is_allowed_there_is_allowed_here() {
        const SHOP: &str = "shop.example.com.localhost:8080";
        const API: &str = "api.example.com.localhost:8080";
        for (real, expected) in [
            ("default-src 'self'", "default-src 'self'".to_owned()),
            ("upgrade-insecure-requests; default-src 'self'", "default-src 'self'".to_owned()),
            ("block-all-mixed-content", String::new()),
            (
                "connect-src 'self' https://api.example.com:8443/v1",
                format!("connect-src 'self' https://api.example.com:8443/v1 http://{API}/v1"),
            ),
            ("connect-src wss://shop.example.com", format!("connect-src wss://shop.example.com ws://{SHOP}")),
            ("img-src shop.example.com", format!("img-src shop.example.com http://{SHOP} ws://{SHOP}")),
            (
                "script-src-elem https://*.example.com",
                format!("script-src-elem https://*.example.com http://{SHOP} http://{API}"),
            ),
            ("img-src https: data:", "img-src https: data: http://*.localhost:8080".to_owned()),
            ("form-action https://other.example", "form-action https://other.example".to_owned()),
            ("script-src 'nonce-web' *", "script-src 'nonce-web' *".to_owned()),
            ("report-uri https://shop.example.com/csp", "report-uri https://shop.example.com/csp".to_owned()),
            ("sandbox allow-scripts;;", "sandbox allow-scripts".to_owned()),
            ("img-src a, font-src https:", "img-src a, font-src https: http://*.localhost:8080".to_owned()),
        ] {
            assert_eq!(here(real, &sites()), expected, "{real}");
        }
    }
}
