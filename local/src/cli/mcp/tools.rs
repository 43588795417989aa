//! The tools, as a table: each is a command of this program, with the arguments that it takes. Pure.
//!
//! A value never becomes an option: those of options are joined to them, and others may not begin with a dash.

use std::sync::Arc;

use rmcp::model::{JsonObject, Tool as Message, ToolAnnotations};
use serde_json::{Map, Value, json};

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

const fn word(name: &'static str, description: &'static str) -> Argument {
    Argument { name, description, becomes: Becomes::Word, required: true }
}

const fn option(name: &'static str, description: &'static str, option: &'static str) -> Argument {
    Argument { name, description, becomes: Becomes::Option(option), required: false }
}

const fn options(name: &'static str, description: &'static str, option: &'static str) -> Argument {
    Argument { name, description, becomes: Becomes::Options(option), required: false }
}

const fn flag(name: &'static str, description: &'static str, option: &'static str) -> Argument {
    Argument { name, description, becomes: Becomes::Flag(option), required: false }
}

const TARGET: Argument = word("target", "A Service, or a workload behind one: orders, deploy/orders");
const CONTEXT: Argument = Argument {
    name: "context",
    description: "Kubeconfig context, of those that the config file allows",
    becomes: Becomes::Place,
    required: false,
};
const NAMESPACE: Argument = Argument {
    name: "namespace",
    description: "Namespace, of those that the config file allows",
    becomes: Becomes::Place,
    required: false,
};
const RUN_NAME: Argument = word("name", "The name that it was given");

const TOOLS: &[Tool] = &[
    Tool {
        name: "list_services",
        description: "List the Services of a namespace: which can be connected, in which mode or why not, and who is connected",
        command: &["list", "-o", "json"],
        does: Does::Reads,
        arguments: &[CONTEXT, NAMESPACE],
    },
    Tool {
        name: "describe_service",
        description: "Show one Service in detail: ports, pods, mode, names of variables, volumes, URLs, who is connected, the header that marks the user's requests",
        command: &["describe", "-o", "json"],
        does: Does::Reads,
        arguments: &[TARGET, CONTEXT, NAMESPACE],
    },
    Tool {
        name: "status",
        description: "Show this user's sessions and whether they work",
        command: &["status", "-o", "json"],
        does: Does::Reads,
        arguments: &[],
    },
    Tool {
        name: "connect",
        description: "Send the requests that carry the user's header to a port on this laptop, where a process should listen; all others go on to the pods",
        command: &["connect", "-o", "json"],
        does: Does::Changes,
        arguments: &[
            TARGET,
            options(
                "ports",
                "LOCAL:REMOTE, such as 3000:http; default: the port that the pods listen on",
                "--port",
            ),
            options("headers", "Take requests with NAME=VALUE instead of the user's own mark", "--header"),
            options("paths", "Of these, only those to /PATH, or ^=/BEGINNING", "--path"),
            option("method", "Of these, only those with this method", "--method"),
            option("mode", "stand-in or sidecar; default: the first that is possible", "--mode"),
            flag("copy", "The pods answer, and the laptop gets copies", "--copy"),
            flag("everything", "Take all requests that no other session takes", "--everything"),
            option("for", "Disconnect after this time: 30m", "--for"),
            CONTEXT,
            NAMESPACE,
        ],
    },
    Tool {
        name: "disconnect",
        description: "Disconnect a target and restore its Service",
        command: &["disconnect", "-o", "json"],
        does: Does::Changes,
        arguments: &[TARGET, CONTEXT, NAMESPACE],
    },
    Tool {
        name: "call_service",
        description: "Send one HTTP request with the user's mark from inside the cluster, to any Service of the namespace; shows the answer, whether it came from the laptop, each hop, and why",
        command: &["call", "-o", "json"],
        does: Does::Changes,
        arguments: &[
            word("service", "SERVICE or SERVICE:PORT"),
            Argument { required: false, ..word("path", "Path and query; default: /") },
            option("method", "Default: GET, or POST with data", "--method"),
            options("headers", "NAME: VALUE", "--header"),
            option("data", "Body", "--data"),
            option("expect", "laptop, origin or a status: fails unless it is answered so", "--expect"),
            option("timeout", "Default: 30s", "--timeout"),
            CONTEXT,
            NAMESPACE,
        ],
    },
    Tool {
        name: "list_requests",
        description: "Show the last requests that the agents of the user's sessions saw: where each went, and why",
        command: &["requests", "-o", "json"],
        does: Does::Reads,
        arguments: &[Argument { required: false, ..TARGET }, CONTEXT, NAMESPACE],
    },
    Tool {
        name: "wait_for_requests",
        description: "Wait until new requests come that meet all conditions: to=me|laptop|origin|copy, status=200|2xx, path=/PATH|/BEGINNING*, method, reason",
        command: &["requests", "-o", "json"],
        does: Does::Reads,
        arguments: &[
            Argument { required: true, ..option("conditions", "to=me,status=2xx,path=/v1/*", "--wait") },
            Argument {
                becomes: Becomes::Number("--count"),
                ..option("count", "How many; default: 1", "--count")
            },
            option("timeout", "Default: 30s", "--timeout"),
            Argument { required: false, ..TARGET },
            CONTEXT,
            NAMESPACE,
        ],
    },
    Tool {
        name: "resolve_name",
        description: "Show what a DNS name resolves to in a target's pod",
        command: &["dns", "-o", "json"],
        does: Does::Reads,
        arguments: &[
            word("name", "The name, as a program in the pod would look it up"),
            option("target", "In whose pod; default: the only connected one", "--target"),
            CONTEXT,
            NAMESPACE,
        ],
    },
    Tool {
        name: "start_process",
        description: "Start a command on this laptop in the place of a target, in the background: with the cluster's network, and the container's environment and files; the user's requests come to it",
        command: &["run"],
        does: Does::Changes,
        arguments: &[
            TARGET,
            Argument {
                required: true,
                ..option("name", "A name for it: lower-case letters, digits and -", "--detach")
            },
            options("ports", "LOCAL:REMOTE; default: where it listens", "--port"),
            options("env", "NAME=VALUE", "--env"),
            flag("no_requests", "Only environment, files and network", "--no-requests"),
            option("for", "End it after this time: 30m", "--for"),
            CONTEXT,
            NAMESPACE,
            Argument {
                name: "command",
                description: "The command and its arguments",
                becomes: Becomes::Command,
                required: true,
            },
        ],
    },
    Tool {
        name: "list_processes",
        description: "List the processes that start_process has started",
        command: &["ps", "-o", "json"],
        does: Does::Reads,
        arguments: &[],
    },
    Tool {
        name: "read_output",
        description: "Print the last lines of the output of a process that start_process has started",
        command: &["logs", "--tail=200"],
        does: Does::Reads,
        arguments: &[RUN_NAME],
    },
    Tool {
        name: "stop_process",
        description: "End a process that start_process has started, and forget it and its output",
        command: &["stop", "-o", "json"],
        does: Does::Destroys,
        arguments: &[RUN_NAME],
    },
    Tool {
        name: "check",
        description: "Check this laptop, the cluster and the user's rights, and say what is missing",
        command: &["doctor", "-o", "json"],
        does: Does::Reads,
        arguments: &[CONTEXT, NAMESPACE],
    },
    Tool {
        name: "clean",
        description: "Clean up after sessions whose daemon died; with dry_run only say what would be done",
        command: &["clean", "-o", "json"],
        does: Does::Destroys,
        arguments: &[
            Argument { required: false, ..TARGET },
            flag("dry_run", "Change nothing", "--dry-run"),
            flag("others", "Also end sessions of other laptops", "--others"),
            CONTEXT,
            NAMESPACE,
        ],
    },
];

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
