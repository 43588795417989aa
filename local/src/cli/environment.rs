//! The environment of what runs here as if it stood in the target's pod: the container's variables, but for those that
//! say where things are on its own file system or who its user is. Pure.

use std::collections::BTreeMap;
use std::str::FromStr;

use bridge_proto::v1;

use super::args::EnvFormat;

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

/// What stays this machine's own: who and where the user is, the terminal, the desktop, and where toolchains look for
/// their files. `*` at the end stands for anything.
const OWN: [&str; 52] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "PWD",
    "OLDPWD",
    "SHLVL",
    "TMPDIR",
    "HOSTNAME",
    "_",
    "TERM",
    "COLORTERM",
    "TERM_*",
    "COLUMNS",
    "LINES",
    "LANG",
    "LANGUAGE",
    "LC_*",
    "DISPLAY",
    "WAYLAND_DISPLAY",
    "XAUTHORITY",
    "XDG_*",
    "DBUS_*",
    "SSH_*",
    "GPG_*",
    "EDITOR",
    "VISUAL",
    "PAGER",
    "LS_COLORS",
    "NO_COLOR",
    "LD_*",
    "JAVA_HOME",
    "JRE_HOME",
    "GOPATH",
    "GOROOT",
    "GOBIN",
    "NODE_PATH",
    "NVM_*",
    "PYTHONHOME",
    "PYTHONPATH",
    "VIRTUAL_ENV",
    "GEM_HOME",
    "GEM_PATH",
    "RUBYLIB",
    "PERL5LIB",
    "CARGO_HOME",
    "RUSTUP_HOME",
    "DOTNET_ROOT",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "KUBECONFIG",
];

/// Names and values, as bytes.
pub(crate) type Variables = BTreeMap<Vec<u8>, Vec<u8>>;

/// The container's variables, without those that stay this machine's and those that the user leaves out.
pub(crate) fn of_the_target(inside: &v1::SurroundingsReply, excluded: &[String]) -> Variables {
    let left_out = |name: &[u8]| {
        let own = OWN.iter().any(|pattern| fits(pattern, name));
        own || excluded.iter().any(|pattern| fits(pattern, name))
    };
    let variables = inside.environment.iter().filter(|variable| !left_out(&variable.name));
    variables.map(|variable| (variable.name.clone(), variable.value.clone())).collect()
}

fn fits(pattern: &str, name: &[u8]) -> bool {
    match pattern.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning.as_bytes()),
        None => name == pattern.as_bytes(),
    }
}

/// The lines of an env file: NAME=VALUE, quoted or not; empty ones and comments are passed over.
pub(crate) fn read_file(text: &str) -> Result<Vec<Variable>, String> {
    let lines = text.lines().map(str::trim).enumerate();
    let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|(number, line)| {
            let line = line.strip_prefix("export ").unwrap_or(line);
            let Variable { name, value } =
                line.parse().map_err(|error| format!("line {}: {error}", number + 1))?;
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
        EnvFormat::Json => Some(format!("  {}: {}", serde_json::json!(name), serde_json::json!(value))),
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

    #[test]
    fn the_target_s_variables_come_but_not_where_its_own_things_are() {
        let all = inside(&[
            ("PATH", "/app"),
            ("LC_ALL", "C"),
            ("DB", "orders-db"),
            ("OTEL_URL", "x"),
            ("LD_PRELOAD", "y"),
        ]);
        let names = |excluded: &[&str]| {
            let excluded: Vec<String> = excluded.iter().map(ToString::to_string).collect();
            let names = of_the_target(&all, &excluded).into_keys();
            names.map(|name| String::from_utf8(name).unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(names(&[]), ["DB", "OTEL_URL"]);
        assert_eq!(names(&["OTEL_*"]), ["DB"]);
        assert_eq!(names(&["OTEL_", "DB"]), ["OTEL_URL"]);
    }

    #[test]
    fn each_reader_gets_a_value_back_as_it_was() {
        let variables =
            of_the_target(&inside(&[("A", "it's \"$x\" \\ end"), ("B", "two\nlines"), ("a-b", "c")]), &[]);
        let rendered = |format| render(&variables, format);
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
        assert_eq!(
            read_file("A=1\nnonsense\n").unwrap_err(),
            "line 2: \"nonsense\" is not of the form NAME=VALUE"
        );
    }
}
