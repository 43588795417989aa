//! The environment of a command that runs as if it ran in the target's pod: the container's variables, except those
//! that describe its user or that local programs act on (`withheld`). Pure.

mod withheld;

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use bridge_proto::v1;

use self::withheld::Why;

/// One variable, as `--env NAME=VALUE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    pub name: String,
    pub value: String,
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
pub type Variables = BTreeMap<Vec<u8>, Vec<u8>>;

/// The user's choice among the target's variables.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Choice {
    /// Taken even if programs here act on them.
    pub include: Vec<String>,
    /// Names, or prefixes with a `*` at the end.
    pub exclude: Vec<String>,
}

/// The target's variables that are used here.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Chosen {
    pub variables: Variables,
    pub left_out: LeftOut,
}

/// The omitted variables, beside this machine's own and those that the user excludes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// Those that would make programs here run or load something.
    pub withheld: Vec<String>,
    /// The number of entries that are no valid variables.
    pub impossible: usize,
    /// Included by name, but the target does not have them.
    pub missing: Vec<String>,
}

/// Chooses among the container's variables: leaves out those that stay this machine's or act on its programs, unless
/// included by name, and those that the user excludes.
pub fn of_the_target(inside: &v1::SurroundingsReply, choice: &Choice) -> Chosen {
    let mut chosen = Chosen::default();
    let mut missing: BTreeSet<&str> = choice.include.iter().map(String::as_str).collect();
    for v1::Variable { name, value } in &inside.environment {
        if !withheld::is_possible(name, value) {
            chosen.left_out.impossible += 1;
            continue;
        }
        let Ok(text) = std::str::from_utf8(name) else { continue };
        let is_included = missing.remove(text) || choice.include.iter().any(|wanted| wanted == text);
        if choice.exclude.iter().any(|pattern| fits(pattern, text)) {
            continue;
        }
        match withheld::why(text, value).filter(|_| !is_included) {
            None => {
                chosen.variables.insert(name.clone(), value.clone());
            }
            Some(Why::Acts) => chosen.left_out.withheld.push(text.to_owned()),
            Some(Why::Own) => {}
        }
    }
    chosen.left_out.withheld.sort();
    chosen.left_out.withheld.dedup();
    chosen.left_out.missing = missing.into_iter().map(str::to_owned).collect();
    chosen
}

fn fits(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => name == pattern,
    }
}

/// Reads the lines of an env file: NAME=VALUE, quoted or not; empty lines and comments are skipped.
///
/// # Errors
///
/// The number of an invalid line; never its content.
pub fn read_file(text: &str) -> Result<Vec<Variable>, String> {
    let lines = text.lines().map(str::trim).enumerate();
    let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|(number, line)| {
            let line = line.strip_prefix("export ").unwrap_or(line);
            // The line may be a secret.
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

    fn choice(include: &[&str], exclude: &[&str]) -> Choice {
        let owned = |names: &[&str]| names.iter().map(ToString::to_string).collect();
        Choice { include: owned(include), exclude: owned(exclude) }
    }

    fn names(chosen: &Chosen) -> Vec<&str> {
        chosen.variables.keys().map(|name| std::str::from_utf8(name).unwrap()).collect()
    }

    #[test]
    fn the_target_s_variables_are_taken_except_those_left_out() {
        let all = inside(&[("PATH", "/app"), ("LC_ALL", "C"), ("DB", "orders-db"), ("OTEL_URL", "x")]);
        let of = |exclude: &[&str]| of_the_target(&all, &choice(&[], exclude));
        assert_eq!(names(&of(&[])), ["DB", "OTEL_URL"]);
        assert_eq!(of(&[]).left_out, LeftOut::default(), "this machine's own are not worth a word");
        assert_eq!(names(&of(&["OTEL_*"])), ["DB"]);
        assert_eq!(names(&of(&["OTEL_", "DB"])), ["OTEL_URL"]);
    }

    #[test]
    fn variables_that_programs_here_act_on_are_taken_only_by_name() {
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
        assert_eq!(chosen.left_out.withheld, ["BASH_ENV", "NODE_OPTIONS"]);
        assert_eq!(chosen.left_out.impossible, 3);
        let chosen =
            of_the_target(&all, &choice(&["NODE_OPTIONS", "LD_PRELOAD=/tmp/evil.so", "NOT_THERE"], &[]));
        assert_eq!(names(&chosen), ["DB", "NODE_OPTIONS"]);
        assert_eq!(chosen.left_out.missing, ["LD_PRELOAD=/tmp/evil.so", "NOT_THERE"]);
        let both = of_the_target(&all, &choice(&["NODE_OPTIONS"], &["NODE_*"]));
        assert_eq!(names(&both), ["DB"], "what is left out is left out");
    }

    #[test]
    fn a_wrong_line_of_a_file_is_named() {
        assert_eq!(read_file("# x\n\nexport A='1'\n B = 2 \n").unwrap().len(), 2);
        assert_eq!(read_file("A=1\nnonsense\n").unwrap_err(), "line 2 is not of the form NAME=VALUE");
    }
}
