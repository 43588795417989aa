//! The tools: how a call of one ([`table`]) becomes a command line of this program, and what clients are shown. Pure.
//!
//! A value never becomes an option: those of options are joined to them, and others may not begin with a dash.

mod table;

use std::sync::Arc;

use rmcp::model::{JsonObject, Tool as Message, ToolAnnotations};
use serde_json::{Map, Value, json};

use self::table::TOOLS;
use super::allowed::Allowed;

/// The longest value.
const LONGEST: usize = 16 * 1024;
/// The most values of one argument.
const MOST: usize = 256;

pub(super) struct Tool {
    name: &'static str,
    description: &'static str,
    /// The command, and options that it always has.
    command: &'static [&'static str],
    does: Does,
    arguments: &'static [Argument],
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Does {
    Reads,
    /// Changes something that it, or another tool, undoes.
    Changes,
    /// Ends what someone may still want.
    Destroys,
}

struct Argument {
    name: &'static str,
    description: &'static str,
    becomes: Becomes,
    required: bool,
}

#[derive(Clone, Copy)]
enum Becomes {
    /// A word.
    Word,
    /// `--option=VALUE`
    Option(&'static str),
    /// The same for each value.
    Options(&'static str),
    /// `--option=NUMBER`
    Number(&'static str),
    /// `--option`, if true.
    Flag(&'static str),
    /// The words behind `--`.
    Command,
    /// Part of the place; see [`Allowed::place`].
    Place,
}

pub(super) fn all() -> impl Iterator<Item = &'static Tool> {
    TOOLS.iter()
}

pub(super) fn named(name: &str) -> Option<&'static Tool> {
    TOOLS.iter().find(|tool| tool.name == name)
}

impl Tool {
    pub(super) fn to_message(&self) -> Message {
        let properties: Map<String, Value> =
            self.arguments.iter().map(|argument| (argument.name.to_owned(), argument.schema())).collect();
        let required: Vec<&str> = self
            .arguments
            .iter()
            .filter(|argument| argument.required)
            .map(|argument| argument.name)
            .collect();
        let mut schema = JsonObject::new();
        schema.insert("type".to_owned(), json!("object"));
        schema.insert("properties".to_owned(), Value::Object(properties));
        schema.insert("required".to_owned(), json!(required));
        schema.insert("additionalProperties".to_owned(), json!(false));
        let hints = ToolAnnotations::new()
            .read_only(self.does == Does::Reads)
            .destructive(self.does == Does::Destroys)
            .open_world(true);
        Message::new(self.name, self.description, Arc::new(schema)).with_annotations(hints)
    }

    /// The command line for these arguments.
    ///
    /// # Errors
    ///
    /// Which of them is wrong, and why.
    pub(super) fn words(&self, given: &JsonObject, allowed: &Allowed) -> Result<Vec<String>, String> {
        let known = |name: &String| self.arguments.iter().any(|argument| argument.name == name);
        if let Some(unknown) = given.keys().find(|name| !known(name)) {
            let names: Vec<&str> = self.arguments.iter().map(|argument| argument.name).collect();
            return Err(format!("{} has no argument {unknown:?}: {}", self.name, names.join(", ")));
        }
        let (mut options, mut words, mut command) = (Vec::new(), Vec::new(), Vec::new());
        for argument in self.arguments {
            let Some(value) = given.get(argument.name).filter(|value| !value.is_null()) else {
                if argument.required {
                    return Err(format!("{} needs the argument {:?}", self.name, argument.name));
                }
                continue;
            };
            match argument.becomes {
                Becomes::Word => words.push(argument.word(value)?),
                Becomes::Option(option) => options.push(format!("{option}={}", argument.text(value)?)),
                Becomes::Options(option) => {
                    for text in argument.texts(value)? {
                        options.push(format!("{option}={text}"));
                    }
                }
                Becomes::Number(option) => {
                    let number = value.as_u64().ok_or_else(|| argument.wrong("a number"))?;
                    options.push(format!("{option}={number}"));
                }
                Becomes::Flag(option) => {
                    if value.as_bool().ok_or_else(|| argument.wrong("true or false"))? {
                        allowed.option(option)?;
                        options.push(option.to_owned());
                    }
                }
                Becomes::Command => command = argument.texts(value)?,
                Becomes::Place => drop(argument.text(value)?),
            }
        }
        if self.arguments.iter().any(|argument| matches!(argument.becomes, Becomes::Place)) {
            let text = |name: &str| given.get(name).and_then(Value::as_str);
            options.extend(allowed.place(text("context"), text("namespace"))?);
        }
        let mut line: Vec<String> = self.command.iter().map(|word| (*word).to_owned()).collect();
        line.append(&mut options);
        line.append(&mut words);
        if !command.is_empty() {
            line.push("--".to_owned());
            line.append(&mut command);
        }
        Ok(line)
    }
}

impl Argument {
    fn schema(&self) -> Value {
        let kind = match self.becomes {
            Becomes::Word | Becomes::Option(_) | Becomes::Place => json!({"type": "string"}),
            Becomes::Options(_) => json!({"type": "array", "items": {"type": "string"}}),
            Becomes::Command => json!({"type": "array", "items": {"type": "string"}, "minItems": 1}),
            Becomes::Number(_) => json!({"type": "integer", "minimum": 1}),
            Becomes::Flag(_) => json!({"type": "boolean"}),
        };
        let mut schema = kind;
        schema["description"] = json!(self.description);
        schema
    }

    fn wrong(&self, expected: &str) -> String {
        format!("{:?} is not {expected}", self.name)
    }

    fn text(&self, value: &Value) -> Result<String, String> {
        let text = value.as_str().ok_or_else(|| self.wrong("a text"))?;
        if text.len() > LONGEST || text.contains('\0') {
            return Err(self.wrong("a text of at most 16 KiB"));
        }
        // Where the command would read a file.
        if self.name == "data" && text.starts_with('@') {
            return Err(self.wrong("a body: it begins with @, which names a file"));
        }
        Ok(text.to_owned())
    }

    fn word(&self, value: &Value) -> Result<String, String> {
        let text = self.text(value)?;
        if text.starts_with('-') || text.is_empty() { Err(self.wrong("a name")) } else { Ok(text) }
    }

    fn texts(&self, value: &Value) -> Result<Vec<String>, String> {
        let all = value.as_array().filter(|all| all.len() <= MOST);
        let all = all.ok_or_else(|| self.wrong("a list of texts"))?;
        if all.is_empty() && self.required {
            return Err(self.wrong("a list with at least one text"));
        }
        all.iter().map(|value| self.text(value)).collect()
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::args::Cli;

    fn words(tool: &str, arguments: Value) -> Result<String, String> {
        let Value::Object(arguments) = arguments else { panic!("an object") };
        let tool = named(tool).expect("a tool");
        tool.words(&arguments, &Allowed::default()).map(|words| words.join(" "))
    }

    #[test]
    fn arguments_become_a_command_line() {
        for (tool, arguments, expected) in [
            ("status", json!({}), "status -o json"),
            ("list_services", json!({"context": null}), "list -o json"),
            (
                "connect",
                json!({"target": "orders", "ports": ["3000:http"], "copy": true, "everything": false, "for": "30m"}),
                "connect -o json --port=3000:http --copy --for=30m orders",
            ),
            (
                "wait_for_requests",
                json!({"conditions": "to=me", "count": 2}),
                "requests -o json --wait=to=me --count=2",
            ),
            (
                "start_process",
                json!({"target": "orders", "name": "web", "command": ["npm", "start", "--", "-x"]}),
                "run --detach=web orders -- npm start -- -x",
            ),
            (
                "call_service",
                json!({"service": "web", "path": "/v1", "data": "{}", "headers": ["a: b"]}),
                "call -o json --header=a: b --data={} web /v1",
            ),
        ] {
            assert_eq!(words(tool, arguments.clone()), Ok(expected.to_owned()), "{tool} {arguments}");
        }
    }

    #[test]
    fn no_value_becomes_an_option_or_a_file() {
        for (tool, arguments, why) in [
            ("describe_service", json!({"target": "--kubeconfig=/x"}), "\"target\" is not a name"),
            ("describe_service", json!({"target": ""}), "\"target\" is not a name"),
            ("describe_service", json!({}), "describe_service needs the argument \"target\""),
            ("describe_service", json!({"target": 1}), "\"target\" is not a text"),
            ("connect", json!({"target": "a", "copy": "yes"}), "\"copy\" is not true or false"),
            ("connect", json!({"target": "a", "ports": "1"}), "\"ports\" is not a list of texts"),
            ("wait_for_requests", json!({"conditions": "", "count": -1}), "\"count\" is not a number"),
            (
                "start_process",
                json!({"target": "a", "name": "b", "command": []}),
                "\"command\" is not a list with at least one text",
            ),
            ("status", json!({"target": "a"}), "status has no argument \"target\": "),
        ] {
            assert_eq!(words(tool, arguments.clone()), Err(why.to_owned()), "{tool} {arguments}");
        }
        assert!(words("call_service", json!({"service": "web", "data": "@/etc/passwd"})).is_err());
        assert!(
            words("connect", json!({"target": "a", "everything": true}))
                .is_err_and(|why| why.contains("[mcp]"))
        );
        assert!(words("clean", json!({"others": true})).is_err_and(|why| why.contains("[mcp]")));
        assert!(words("list_services", json!({"context": "prod"})).is_err_and(|why| why.contains("[mcp]")));
        assert!(words("describe_service", json!({"target": "x".repeat(LONGEST + 1)})).is_err());
    }

    /// With all of its arguments, each tool is a command that can be read.
    #[test]
    fn each_tool_is_a_command() {
        for tool in all() {
            let value = |argument: &Argument| match (argument.name, argument.becomes) {
                ("mode", _) => json!("sidecar"),
                ("expect", _) => json!("laptop"),
                ("conditions", _) => json!("to=me"),
                ("timeout" | "for", _) => json!("30s"),
                ("path", _) => json!("/v1"),
                ("ports", _) => json!(["3000:80"]),
                ("env", _) => json!(["A=1"]),
                ("headers", _) if tool.name == "call_service" => json!(["a: b"]),
                ("headers", _) => json!(["a=b"]),
                ("paths", _) => json!(["/v1"]),
                ("method", _) => json!("GET"),
                (_, Becomes::Flag(_)) => json!(false),
                (_, Becomes::Number(_)) => json!(2),
                (_, Becomes::Options(_) | Becomes::Command) => json!(["x"]),
                (_, Becomes::Place) => Value::Null,
                _ => json!("orders"),
            };
            let given = tool.arguments.iter().map(|argument| (argument.name.to_owned(), value(argument)));
            let words = tool.words(&given.collect(), &Allowed::default()).expect("good arguments");
            let line = std::iter::once("bridge".to_owned()).chain(words.clone());
            assert!(Cli::try_parse_from(line).is_ok(), "{}: {words:?}", tool.name);
        }
    }

    #[test]
    fn each_tool_says_what_it_takes_and_does() {
        for tool in all() {
            let message = serde_json::to_value(tool.to_message()).expect("JSON");
            let schema = &message["inputSchema"];
            assert_eq!((&schema["type"], &schema["additionalProperties"]), (&json!("object"), &json!(false)));
            for (name, property) in schema["properties"].as_object().expect("properties") {
                assert!(
                    property["type"].is_string() && property["description"].is_string(),
                    "{name}: {property}"
                );
            }
            let hints = &message["annotations"];
            assert!(hints["readOnlyHint"].is_boolean() && hints["destructiveHint"].is_boolean(), "{message}");
        }
        let hints =
            |tool: &str| serde_json::to_value(named(tool).expect("a tool").to_message()).expect("JSON");
        assert_eq!(hints("status")["annotations"]["readOnlyHint"], true);
        assert_eq!(hints("clean")["annotations"]["destructiveHint"], true);
    }
}
