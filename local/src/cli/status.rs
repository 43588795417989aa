//! `bridge status`: this user's sessions.

use bridge_client::{RuntimeDir, running};
use bridge_proto::v1;
use serde::Serialize;

use super::{
    error::Failed,
    output::{self, Format},
    request,
    sessions::Session,
};

/// The output of `status -o json`.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    sessions: Vec<Session>,
    /// None if it does not run, as nothing is connected.
    daemon: Option<DaemonStatus>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct DaemonStatus {
    pid: u32,
    version: String,
    memory_bytes: u64,
    log_file: String,
}

pub(crate) async fn run(format: Format) -> Result<(), Failed> {
    let status = match running(&RuntimeDir::find()?).await? {
        Some(mut daemon) => {
            let reply = daemon.status().await?;
            status_of(daemon.hello, reply)
        }
        None => Status::default(),
    };
    output::print_as(format, &status, || text(&status, request::now_ms()))
}

fn status_of(hello: v1::HelloReply, reply: v1::StatusReply) -> Status {
    Status {
        sessions: reply.sessions.into_iter().map(Session::from).collect(),
        daemon: Some(DaemonStatus {
            pid: hello.pid,
            version: hello.version.unwrap_or_default().program,
            memory_bytes: reply.memory_bytes,
            log_file: hello.log_file,
        }),
    }
}

fn text(status: &Status, now_ms: u64) -> String {
    if status.sessions.is_empty() {
        return "nothing is connected\n".to_owned();
    }
    status.sessions.iter().map(|session| session.describe(now_ms)).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use bridge_proto::version;

    use super::*;
    use crate::cli::sessions::tests::orders;

    #[test]
    fn the_shape_for_programs() {
        let version = v1::Version { program: "0.1.0".to_owned(), ..version::ours() };
        let log_file = "/run/user/1000/bridge/daemon.log".to_owned();
        let hello = v1::HelloReply { version: Some(version), pid: 7, sessions: 1, log_file };
        let reply = v1::StatusReply { sessions: vec![orders()], memory_bytes: 9_000_000 };
        insta::assert_json_snapshot!(status_of(hello, reply), @r#"
        {
          "sessions": [
            {
              "id": "s1",
              "user": "alice",
              "target": "orders",
              "namespace": "shop",
              "context": "kind-dev",
              "state": "routing",
              "detail": "",
              "sinceMs": 1000,
              "endsMs": null,
              "standIn": "orders-bridge-7f3a",
              "mode": "stand-in",
              "replaces": null,
              "restoresAfterSeconds": null,
              "routes": [
                {
                  "port": "http",
                  "localPort": 3000,
                  "match": "baggage or tracestate: bridge=alice or x-bridge: alice",
                  "copy": false
                }
              ],
              "agents": [
                {
                  "pod": "orders-bridge-7f3a-x",
                  "attended": true,
                  "detail": ""
                }
              ],
              "streams": 12,
              "bytesToLaptop": 1234567,
              "bytesFromLaptop": 890,
              "requests": {
                "toLaptop": {
                  "count": 12,
                  "failed": 1,
                  "p50Ms": 3.4,
                  "p99Ms": 48.0
                },
                "toOrigin": {
                  "count": 3456,
                  "failed": 0,
                  "p50Ms": 0.9,
                  "p99Ms": 12000.0
                },
                "opaque": 2,
                "copied": {
                  "count": 0,
                  "failed": 0,
                  "p50Ms": null,
                  "p99Ms": null
                },
                "copiesGivenUp": 0
              }
            }
          ],
          "daemon": {
            "pid": 7,
            "version": "0.1.0",
            "memoryBytes": 9000000,
            "logFile": "/run/user/1000/bridge/daemon.log"
          }
        }
        "#);
        insta::assert_json_snapshot!(Status::default(), @r#"
        {
          "sessions": [],
          "daemon": null
        }
        "#);
    }

    #[test]
    fn without_sessions() {
        assert_eq!(text(&Status::default(), 0), "nothing is connected\n");
    }
}
