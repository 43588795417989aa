//! Prints the target's variables: for each reader in its own syntax, with the omitted ones.

use bridge_inside::environment::{LeftOut, Variables};

use super::args::EnvFormat;
use super::output::{json, printable};

/// The number of omitted variables to name.
const NAMED: usize = 16;

/// The message about omitted variables: names, and never values.
pub(crate) fn describe(left_out: &LeftOut) -> String {
    let mut text = String::new();
    if !left_out.withheld.is_empty() {
        text.push_str(&format!(
            "  left out, because local programs act on them: {} (to include: --env-include NAME)\n",
            some_of(&left_out.withheld)
        ));
    }
    if left_out.impossible > 0 {
        text.push_str(&format!(
            "  left out, because they are not valid variables: {}\n",
            left_out.impossible
        ));
    }
    if !left_out.missing.is_empty() {
        text.push_str(&format!("  the target has no variable {}\n", some_of(&left_out.missing)));
    }
    text
}

/// As many as a line can hold.
fn some_of(names: &[String]) -> String {
    let named = names.iter().take(NAMED).map(|name| printable(name)).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(NAMED) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

/// The variables in a format, and the names of those that it cannot express.
pub(crate) fn render(variables: &Variables, format: EnvFormat) -> (String, Vec<String>) {
    let mut lines = Vec::new();
    let mut omitted = Vec::new();
    for (name, value) in variables {
        let (name, value) = (String::from_utf8_lossy(name), std::str::from_utf8(value));
        match value.ok().and_then(|value| line(&name, value, format)) {
            Some(line) => lines.push(line),
            None => omitted.push(name.into_owned()),
        }
    }
    let text = match format {
        EnvFormat::Json => format!("{{\n{}\n}}\n", lines.join(",\n")),
        _ => lines.into_iter().map(|line| line + "\n").collect(),
    };
    (text, omitted)
}

fn line(name: &str, value: &str, format: EnvFormat) -> Option<String> {
    // An invalid name could mean anything to a shell.
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
    use std::collections::BTreeMap;

    use bridge_inside::environment::read_file;

    use super::*;

    #[test]
    fn omitted_variables_are_named_with_the_reason() {
        let names = |names: &[&str]| names.iter().map(ToString::to_string).collect();
        let left_out = LeftOut {
            withheld: names(&["BASH_ENV", "NODE_OPTIONS"]),
            impossible: 3,
            missing: names(&["LD_PRELOAD=/tmp/evil.so", "NOT_THERE"]),
        };
        assert_eq!(
            describe(&left_out),
            "  left out, because local programs act on them: BASH_ENV, NODE_OPTIONS (to include: --env-include \
             NAME)\n  \
             left out, because they are not valid variables: 3\n  \
             the target has no variable LD_PRELOAD=/tmp/evil.so, NOT_THERE\n"
        );
        assert_eq!(describe(&LeftOut::default()), "");
    }

    #[test]
    fn a_thousand_of_them_are_one_line() {
        let withheld = (0..1000).map(|number| format!("GIT_{number:03}")).collect();
        let text = describe(&LeftOut { withheld, ..LeftOut::default() });
        assert_eq!(text.lines().count(), 1);
        assert!(text.contains("GIT_000, ") && text.contains(" and 984 more"), "{text}");
    }

    #[test]
    fn each_reader_gets_a_value_back_as_it_was() {
        let variable = |(name, value): (&str, &str)| (name.as_bytes().to_vec(), value.as_bytes().to_vec());
        let variables: Variables =
            [("A", "it's \"$x\" \\ end"), ("B", "two\nlines"), ("a-b", "c")].map(variable).into();
        let rendered = |format| render(&variables, format);
        let (dotenv, omitted) = rendered(EnvFormat::Dotenv);
        assert_eq!(dotenv, "A=\"it's \\\"\\$x\\\" \\\\ end\"\nB=\"two\\nlines\"\n");
        assert_eq!(omitted, ["a-b"]);
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
}
