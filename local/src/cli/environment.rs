//! The environment of a command that runs as if it ran in the target's pod: the container's variables, except those
//! that describe its user or that local programs act on (`withheld`). Pure.

mod withheld;

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use bridge_proto::v1;

use self::withheld::Why;
use super::args::{EnvFormat, VariablesArgs};
use super::output::{json, printable};

/// Of what is left out, as many are named.
const NAMED: usize = 16;

/// One variable, as `--env NAME=VALUE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Variable {
    pub(crate) name: String,
    pub(crate) value: String,
}

impl FromStr for Variable {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((name, value)) if !name.is_empty() && !name.contains('\0') => {
                Ok(Variable { name: name.to_owned(), value: value.to_owned() })
            }
            _ => Err(format!("{text:?} is not of the form NAME=VALUE")),
        }
    }
}

/// Names and values, as bytes.
pub(crate) type Variables = BTreeMap<Vec<u8>, Vec<u8>>;

/// Of the target's variables, those that come here.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Chosen {
    pub(crate) variables: Variables,
    /// Those that would make programs here run or load something.
    withheld: Vec<String>,
    /// How many are none.
    impossible: usize,
    /// What was asked for by name and the target does not have.
    missing: Vec<String>,
}

/// Of the container's variables: without those that stay this machine's or act on its programs, unless they were asked for,
/// and without those that the user leaves out.
pub(crate) fn of_the_target(inside: &v1::SurroundingsReply, choice: &VariablesArgs) -> Chosen {
    let mut chosen = Chosen::default();
    let mut missing: BTreeSet<&str> = choice.env_include.iter().map(String::as_str).collect();
    for v1::Variable { name, value } in &inside.environment {
        if !withheld::is_possible(name, value) {
            chosen.impossible += 1;
            continue;
        }
        let Ok(text) = std::str::from_utf8(name) else { continue };
        let is_included = missing.remove(text) || choice.env_include.iter().any(|wanted| wanted == text);
        if choice.env_exclude.iter().any(|pattern| fits(pattern, text)) {
            continue;
        }
        match withheld::why(text, value).filter(|_| !is_included) {
            None => {
                chosen.variables.insert(name.clone(), value.clone());
            }
            Some(Why::Acts) => chosen.withheld.push(text.to_owned()),
            Some(Why::Own) => {}
        }
    }
    chosen.withheld.sort();
    chosen.withheld.dedup();
    chosen.missing = missing.into_iter().map(str::to_owned).collect();
    chosen
}

impl Chosen {
    /// What the user should know of it: names, and never values.
    pub(crate) fn describe(&self) -> String {
        let mut text = String::new();
        if !self.withheld.is_empty() {
            text.push_str(&format!(
                "  left out, because local programs act on them: {} (to include: --env-include NAME)\n",
                some_of(&self.withheld)
            ));
        }
        if self.impossible > 0 {
            text.push_str(&format!(
                "  left out, because they are not valid variables: {}\n",
                self.impossible
            ));
        }
        if !self.missing.is_empty() {
            text.push_str(&format!("  the target has no variable {}\n", some_of(&self.missing)));
        }
        text
    }
}

/// As many as a line can hold.
fn some_of(names: &[String]) -> String {
    let named = names.iter().take(NAMED).map(|name| printable(name)).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(NAMED) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

fn fits(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => name == pattern,
    }
}

/// The lines of an env file: NAME=VALUE, quoted or not; empty ones and comments are passed over.
pub(crate) fn read_file(text: &str) -> Result<Vec<Variable>, String> {
    let lines = text.lines().map(str::trim).enumerate();
    let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|(number, line)| {
            let line = line.strip_prefix("export ").unwrap_or(line);
            // What is there instead may be a secret.
            let wrong = |_| format!("line {} is not of the form NAME=VALUE", number + 1);
            let Variable { name, value } = line.parse().map_err(wrong)?;
            let name = name.trim().to_owned();
            Ok(Variable { name, value: unquoted(value.trim()) })
        })
        .collect()
}

fn unquoted(value: &str) -> String {
    if let Some(plain) = value.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\'')) {
        return plain.to_owned();
    }
    let Some(quoted) = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else {
        return value.to_owned();
    };
    let mut plain = String::with_capacity(quoted.len());
    let mut characters = quoted.chars();
    while let Some(character) = characters.next() {
        match (character, character == '\\') {
            (_, true) => match characters.next() {
                Some('n') => plain.push('\n'),
                Some('r') => plain.push('\r'),
                Some('t') => plain.push('\t'),
                Some(other) => plain.push(other),
                None => plain.push('\\'),
            },
            (character, false) => plain.push(character),
        }
    }
    plain
}

/// The variables for a reader, and the names of those that it cannot be told.
pub(crate) fn render(variables: &Variables, format: EnvFormat) -> (String, Vec<String>) {
    let mut told = Vec::new();
    let mut untold = Vec::new();
    for (name, value) in variables {
        let (name, value) = (String::from_utf8_lossy(name), std::str::from_utf8(value));
        match value.ok().and_then(|value| line(&name, value, format)) {
            Some(line) => told.push(line),
            None => untold.push(name.into_owned()),
        }
    }
    let text = match format {
        EnvFormat::Json => format!("{{\n{}\n}}\n", told.join(",\n")),
        _ => told.into_iter().map(|line| line + "\n").collect(),
    };
    (text, untold)
}

fn line(name: &str, value: &str, format: EnvFormat) -> Option<String> {
    // A name that is none for a shell could be anything else there.
    let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        && !name.starts_with(|c: char| c.is_ascii_digit());
    match format {
        EnvFormat::Json => {
            Some(format!("  {}: {}", serde_json::json!(name), json(&serde_json::json!(value).to_string())))
        }
        EnvFormat::Docker => (!value.contains(['\n', '\r'])).then(|| format!("{name}={value}")),
        _ if !plain => None,
        EnvFormat::Dotenv => {
            let escaped = value.replace('\\', "\\\\").replace('"', "\\\"").replace('$', "\\$");
            Some(format!("{name}=\"{}\"", escaped.replace('\n', "\\n").replace('\r', "\\r")))
        }
        EnvFormat::Shell => Some(format!("export {name}='{}'", value.replace('\'', r"'\''"))),
        EnvFormat::Fish => {
            Some(format!("set -gx {name} '{}'", value.replace('\\', r"\\").replace('\'', r"\'")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inside(variables: &[(&str, &str)]) -> v1::SurroundingsReply {
        let variable = |(name, value): &(&str, &str)| v1::Variable {
            name: name.as_bytes().to_vec(),
            value: value.as_bytes().to_vec(),
        };
        v1::SurroundingsReply {
            environment: variables.iter().map(variable).collect(),
            ..v1::SurroundingsReply::default()
        }
    }

    fn choice(include: &[&str], exclude: &[&str]) -> VariablesArgs {
        let owned = |names: &[&str]| names.iter().map(ToString::to_string).collect();
        VariablesArgs { env_include: owned(include), env_exclude: owned(exclude) }
    }

    fn names(chosen: &Chosen) -> Vec<&str> {
        chosen.variables.keys().map(|name| std::str::from_utf8(name).unwrap()).collect()
    }

    #[test]
    fn the_target_s_variables_come_but_for_those_that_are_left_out() {
        let all = inside(&[("PATH", "/app"), ("LC_ALL", "C"), ("DB", "orders-db"), ("OTEL_URL", "x")]);
        let of = |exclude: &[&str]| of_the_target(&all, &choice(&[], exclude));
        assert_eq!(names(&of(&[])), ["DB", "OTEL_URL"]);
        assert_eq!(of(&[]).describe(), "", "this machine's own are not worth a word");
        assert_eq!(names(&of(&["OTEL_*"])), ["DB"]);
        assert_eq!(names(&of(&["OTEL_", "DB"])), ["OTEL_URL"]);
    }

    #[test]
    fn what_programs_here_act_on_comes_only_when_it_is_asked_for_by_name() {
        let all = inside(&[
            ("NODE_OPTIONS", "--require /tmp/evil"),
            ("BASH_ENV", "$(touch /tmp/evil)"),
            ("DB", "orders-db"),
            ("LD_PRELOAD=/tmp/evil.so", "x"),
            ("", "x"),
            ("A\u{1b}[2J", "x"),
        ]);
        let chosen = of_the_target(&all, &choice(&[], &[]));
        assert_eq!(names(&chosen), ["DB"]);
        assert_eq!(
            chosen.describe(),
            "  left out, because local programs act on them: BASH_ENV, NODE_OPTIONS (to include: --env-include \
             NAME)\n  \
             left out, because they are not valid variables: 3\n"
        );
        let chosen =
            of_the_target(&all, &choice(&["NODE_OPTIONS", "LD_PRELOAD=/tmp/evil.so", "NOT_THERE"], &[]));
        assert_eq!(names(&chosen), ["DB", "NODE_OPTIONS"]);
        assert!(
            chosen.describe().ends_with("the target has no variable LD_PRELOAD=/tmp/evil.so, NOT_THERE\n"),
            "{}",
            chosen.describe()
        );
        let both = of_the_target(&all, &choice(&["NODE_OPTIONS"], &["NODE_*"]));
        assert_eq!(names(&both), ["DB"], "what is left out is left out");
    }

    #[test]
    fn a_thousand_of_them_are_one_line() {
        let many: Vec<(String, String)> =
            (0..1000).map(|number| (format!("GIT_{number:03}"), "x".to_owned())).collect();
        let many: Vec<(&str, &str)> = many.iter().map(|(name, value)| (&**name, &**value)).collect();
        let text = of_the_target(&inside(&many), &choice(&[], &[])).describe();
        assert_eq!(text.lines().count(), 1);
        assert!(text.contains("GIT_000, ") && text.contains(" and 984 more"), "{text}");
    }

    #[test]
    fn each_reader_gets_a_value_back_as_it_was() {
        let variables = of_the_target(
            &inside(&[("A", "it's \"$x\" \\ end"), ("B", "two\nlines"), ("a-b", "c")]),
            &choice(&[], &[]),
        );
        let rendered = |format| render(&variables.variables, format);
        let (dotenv, untold) = rendered(EnvFormat::Dotenv);
        assert_eq!(dotenv, "A=\"it's \\\"\\$x\\\" \\\\ end\"\nB=\"two\\nlines\"\n");
        assert_eq!(untold, ["a-b"]);
        let back = read_file(&dotenv).unwrap();
        assert_eq!(back[0].value, "it's \"$x\" \\ end");
        assert_eq!(back[1].value, "two\nlines");
        assert_eq!(
            rendered(EnvFormat::Shell).0,
            "export A='it'\\''s \"$x\" \\ end'\nexport B='two\nlines'\n"
        );
        assert_eq!(
            rendered(EnvFormat::Fish).0,
            "set -gx A 'it\\'s \"$x\" \\\\ end'\nset -gx B 'two\nlines'\n"
        );
        assert_eq!(rendered(EnvFormat::Docker), ("A=it's \"$x\" \\ end\na-b=c\n".into(), vec!["B".into()]));
        let json: BTreeMap<String, String> = serde_json::from_str(&rendered(EnvFormat::Json).0).unwrap();
        assert_eq!(json["B"], "two\nlines");
    }

    #[test]
    fn a_wrong_line_of_a_file_is_named() {
        assert_eq!(read_file("# x\n\nexport A='1'\n B = 2 \n").unwrap().len(), 2);
        assert_eq!(read_file("A=1\nnonsense\n").unwrap_err(), "line 2 is not of the form NAME=VALUE");
    }
}
