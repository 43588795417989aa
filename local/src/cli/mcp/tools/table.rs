//! The table of the tools: each is a command of this program, with the arguments that it takes.

use super::{Argument, Becomes, Does, Tool};

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

pub(super) const TOOLS: &[Tool] = &[
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
