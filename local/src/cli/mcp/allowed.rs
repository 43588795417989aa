//! What agents that write code may do here, by the config file:
//!
//! ```toml
//! [mcp]
//! contexts = ["kind-dev"]     # the first is the default; without any: only the current context
//! namespaces = ["shop"]       # likewise
//! everything = true           # may take all requests of a Service, and replace its pods
//! clean_others = true         # may end sessions of other laptops
//! ```

use serde::Deserialize;

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Allowed {
    contexts: Vec<String>,
    namespaces: Vec<String>,
    everything: bool,
    clean_others: bool,
}

impl Allowed {
    /// The options of the place that is asked for.
    ///
    /// # Errors
    ///
    /// Why it is not allowed.
    pub(super) fn place(
        &self,
        context: Option<&str>,
        namespace: Option<&str>,
    ) -> Result<Vec<String>, String> {
        let mut options = Vec::new();
        for (option, key, wanted, allowed) in [
            ("--context", "contexts", context, &self.contexts),
            ("--namespace", "namespaces", namespace, &self.namespaces),
        ] {
            let chosen = match (wanted, allowed.first()) {
                (None, first) => first.map(String::as_str),
                (Some(wanted), _) if allowed.iter().any(|one| one == wanted) => Some(wanted),
                (Some(wanted), _) => {
                    return Err(format!(
                        "{wanted:?} is not among the {key} that the config file allows: add it to {key} in its section [mcp]"
                    ));
                }
            };
            options.extend(chosen.map(|chosen| format!("{option}={chosen}")));
        }
        Ok(options)
    }

    /// # Errors
    ///
    /// Why this option is not allowed.
    pub(super) fn option(&self, option: &str) -> Result<(), String> {
        let (allowed, key) = match option {
            "--everything" | "--replace" => (self.everything, "everything"),
            "--others" => (self.clean_others, "clean_others"),
            _ => return Ok(()),
        };
        if allowed {
            return Ok(());
        }
        Err(format!(
            "{option} affects others, and the config file does not allow it: set {key} in its section [mcp]"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(text: &str) -> Allowed {
        toml::from_str(text).expect("a section")
    }

    #[test]
    fn only_places_that_are_listed_are_reached() {
        let two = allowed("contexts = ['dev', 'test']\nnamespaces = ['shop']");
        let place = |context, namespace| two.place(context, namespace);
        assert_eq!(place(None, None), Ok(vec!["--context=dev".into(), "--namespace=shop".into()]));
        assert_eq!(
            place(Some("test"), Some("shop")),
            Ok(vec!["--context=test".into(), "--namespace=shop".into()])
        );
        assert!(
            place(Some("prod"), None).is_err_and(|why| why.contains("\"prod\"") && why.contains("contexts"))
        );
        assert!(place(None, Some("kube-system")).is_err());
        let none = Allowed::default();
        assert_eq!(none.place(None, None), Ok(vec![]), "the current ones");
        assert!(none.place(Some("dev"), None).is_err() && none.place(None, Some("shop")).is_err());
    }

    #[test]
    fn what_affects_others_has_to_be_allowed() {
        let (none, all) = (Allowed::default(), allowed("everything = true\nclean_others = true"));
        for option in ["--everything", "--replace", "--others"] {
            assert!(none.option(option).is_err_and(|why| why.contains(option)), "{option}");
            assert_eq!(all.option(option), Ok(()));
        }
        assert_eq!(none.option("--copy"), Ok(()));
        assert!(toml::from_str::<Allowed>("contexs = []").is_err(), "a mistyped key allows nothing");
    }
}
