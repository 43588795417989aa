//! `bridge mcp`: bridge as tools for agents that write code, by the Model Context Protocol (modelcontextprotocol.io) on
//! stdio. Each tool is one run of this program: `tools` turns arguments into its command line, within what the config file
//! allows (`allowed`), and `ran` runs it.

pub(crate) mod allowed;
mod ran;
mod tools;

use std::path::PathBuf;

use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, ErrorData, Implementation,
    ListResourcesResult, ListToolsResult, PaginatedRequestParams, ProgressNotificationParam,
    ReadResourceRequestParams, ReadResourceResponse, ReadResourceResult, Resource, ResourceContents,
    ServerCapabilities, ServerConfig, Tool,
};
use rmcp::service::RequestContext;
use rmcp::{RoleServer, ServerHandler, ServiceExt as _};
use serde_json::Value;
use tokio::sync::mpsc;

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
/// Steps that wait for the client to read them.
const STEPS: usize = 64;

pub(crate) async fn run() -> Result<(), Failed> {
    let program = std::env::current_exe()
        .map_err(|error| Failed::internal(format!("cannot find this program: {error}")))?;
    let server = Server { program, allowed: request::config()?.mcp };
    let failed = |error: String| Failed::internal(format!("the client cannot be served: {error}"));
    let serving = server.serve(rmcp::transport::stdio()).await.map_err(|error| failed(error.to_string()))?;
    serving.waiting().await.map(drop).map_err(|error| failed(error.to_string()))
}

struct Server {
    program: PathBuf,
    allowed: Allowed,
}

impl ServerHandler for Server {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder().enable_tools().enable_resources().build();
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
