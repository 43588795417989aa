//! `bridge mcp`: bridge as tools for agents that write code, by the Model Context Protocol (modelcontextprotocol.io) on
//! stdio. Each tool is one run of this program: `tools` turns arguments into its command line, within what the config file
//! allows (`allowed`), and `ran` runs it.

pub(crate) mod allowed;
mod ran;
mod tools;

use std::path::PathBuf;
use std::time::Duration;

use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, ErrorData, Implementation,
    ListResourcesResult, ListToolsResult, PaginatedRequestParams, ProgressNotificationParam,
    ReadResourceRequestParams, ReadResourceResponse, ReadResourceResult, Resource, ResourceContents,
    ResourceUpdatedNotificationParam, ServerCapabilities, ServerConfig, SubscribeRequestParams, Tool,
    UnsubscribeRequestParams,
};
use rmcp::service::{Peer, RequestContext};
use rmcp::{RoleServer, ServerHandler, ServiceExt as _};
use serde_json::Value;
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;

use self::allowed::Allowed;
use self::ran::Ran;
use super::error::Failed;
use super::request;

const INSTRUCTIONS: &str = "bridge runs one Service of a Kubernetes application on this laptop: requests that carry the \
    user's header come here, all others go to the pods. Start with list_services and describe_service, then connect, or \
    start a process in the place of a Service with start_process. call_service shows who answers a request, and why. \
    Disconnect and stop what you started.";

/// The last requests that agents saw, as a resource.
const REQUESTS: &str = "bridge://requests";
/// The least time between two messages that there are further requests,
const TELL_EVERY: Duration = Duration::from_millis(500);
/// and between two looks for a session.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// Steps that wait for the client to read them.
const STEPS: usize = 64;

pub(crate) async fn run() -> Result<(), Failed> {
    let program = std::env::current_exe()
        .map_err(|error| Failed::internal(format!("cannot find this program: {error}")))?;
    let server = Server { program, allowed: request::config()?.mcp, following: Mutex::default() };
    let failed = |error: String| Failed::internal(format!("the client cannot be served: {error}"));
    let serving = server.serve(rmcp::transport::stdio()).await.map_err(|error| failed(error.to_string()))?;
    serving.waiting().await.map(drop).map_err(|error| failed(error.to_string()))
}

struct Server {
    program: PathBuf,
    allowed: Allowed,
    /// The task that follows the requests for the client, if it wants that; it ends with this.
    following: Mutex<JoinSet<()>>,
}

impl ServerHandler for Server {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder()
            .enable_tools()
            .enable_resources()
            .enable_resources_subscribe()
            .build();
        let this = Implementation::new("bridge", env!("CARGO_PKG_VERSION"));
        ServerConfig::new(capabilities).with_server_info(this).with_instructions(INSTRUCTIONS)
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(tools::all().map(tools::Tool::to_message).collect()))
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        tools::named(name).map(tools::Tool::to_message)
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let wrong = |why: String| ErrorData::invalid_params(why, None);
        let tool = tools::named(&request.name).ok_or_else(|| wrong(format!("no tool {:?}", request.name)))?;
        let arguments = request.arguments.unwrap_or_default();
        let words = tool.words(&arguments, &self.allowed).map_err(wrong)?;
        // In front: what follows the command of a process is its own.
        let words: Vec<String> = ["--progress", "json"].map(str::to_owned).into_iter().chain(words).collect();
        let (steps_tx, steps_rx) = mpsc::channel(STEPS);
        let (ran, ()) =
            tokio::join!(ran::run(&self.program, &words, &context.ct, steps_tx), tell(&context, steps_rx));
        ran.map(|ran| result(&ran).into()).map_err(|error| ErrorData::internal_error(error.to_string(), None))
    }

    async fn list_resources(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        let requests = Resource::new(REQUESTS, "requests")
            .with_description(
                "The last requests that the agents of your sessions saw: where each went, and why",
            )
            .with_mime_type("application/json");
        Ok(ListResourcesResult::with_all_items(vec![requests]))
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        if request.uri != REQUESTS {
            return Err(ErrorData::invalid_params(format!("no resource {:?}", request.uri), None));
        }
        let words = ["requests", "-o", "json"].map(str::to_owned);
        let (steps_tx, _) = mpsc::channel(1);
        let ran = ran::run(&self.program, &words, &context.ct, steps_tx).await;
        let ran = ran.map_err(|error| ErrorData::internal_error(error.to_string(), None))?;
        let contents = ResourceContents::text(ran.text(), REQUESTS);
        Ok(ReadResourceResult::new(vec![contents]).into())
    }

    async fn subscribe(
        &self,
        request: SubscribeRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        if request.uri != REQUESTS {
            return Err(ErrorData::invalid_params(format!("no resource {:?}", request.uri), None));
        }
        let mut following = self.following.lock().await;
        if following.is_empty() {
            following.spawn(follow(self.program.clone(), context.peer));
        }
        Ok(())
    }

    async fn unsubscribe(
        &self,
        _: UnsubscribeRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        self.following.lock().await.shutdown().await;
        Ok(())
    }
}

/// Tells the client whenever agents have seen further requests, until it is dropped or the client has gone.
async fn follow(program: PathBuf, client: Peer<RoleServer>) {
    loop {
        let (seen_tx, mut seen_rx) = mpsc::channel(1);
        let telling = async {
            while seen_rx.recv().await.is_some() {
                let changed = ResourceUpdatedNotificationParam::new(REQUESTS);
                if client.notify_resource_updated(changed).await.is_err() {
                    return false;
                }
                tokio::time::sleep(TELL_EVERY).await;
            }
            true
        };
        let (_, client_is_there) = tokio::join!(ran::follow_requests(&program, seen_tx), telling);
        if !client_is_there {
            return;
        }
        // Nothing is connected, or the daemon has ended.
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// Reports the steps of a run to the client, if it has asked for that.
async fn tell(context: &RequestContext<RoleServer>, mut steps_rx: mpsc::Receiver<String>) {
    let mut number = 0.0;
    while let Some(step) = steps_rx.recv().await {
        let Some(token) = context.meta.get_progress_token() else { continue };
        number += 1.0;
        let message = ProgressNotificationParam::new(token, number).with_message(step);
        // A client that has gone gets no answer either.
        let _ = context.peer.notify_progress(message).await;
    }
}

/// The output of a run, as text and, if it is an object, as data.
fn result(ran: &Ran) -> CallToolResult {
    let content = vec![ContentBlock::text(ran.text())];
    let mut result = match ran.succeeded {
        true => CallToolResult::success(content),
        false => CallToolResult::error(content),
    };
    result.structured_content = serde_json::from_str::<Value>(&ran.stdout).ok().filter(Value::is_object);
    result
}
