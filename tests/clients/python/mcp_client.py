"""A client of `bridge mcp`, by the SDK of PyPI: it connects a Service, calls it, waits, reads why, starts a process in
its place, and disconnects. mcp_client.py BRIDGE prints a line for each thing that it has seen."""

import asyncio
import http.server
import json
import os
import sys
import threading

import jsonschema
from mcp import ClientSession, McpError, StdioServerParameters, types
from mcp.client.stdio import stdio_client
from pydantic import AnyUrl

LAPTOP = "the laptop"


class Laptop(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", str(len(LAPTOP)))
        self.end_headers()
        self.wfile.write(LAPTOP.encode())

    def log_message(self, *_):
        pass


class Client:
    def __init__(self, session, updates):
        self.session = session
        self.updates = updates

    async def call(self, tool, progress=None, **arguments):
        answer = await self.session.call_tool(tool, arguments, progress_callback=progress)
        text = answer.content[0].text if answer.content else ""
        return answer.isError, answer.structuredContent or text

    async def succeeds(self, tool, progress=None, **arguments):
        failed, said = await self.call(tool, progress, **arguments)
        assert not failed, f"{tool} {arguments}: {said}"
        return said

    async def fails(self, tool, code, **arguments):
        failed, said = await self.call(tool, **arguments)
        assert failed and said["error"]["code"] == code, f"{tool} {arguments}: expected {code}: {said}"

    async def is_refused(self, tool, **arguments):
        try:
            answer = await self.call(tool, **arguments)
        except McpError as error:
            assert error.error.code == types.INVALID_PARAMS, error
        else:
            raise AssertionError(f"{tool} {arguments}: expected a refusal: {answer}")


async def tools_have_schemas_and_hints(client):
    tools = (await client.session.list_tools()).tools
    for tool in tools:
        jsonschema.Draft202012Validator.check_schema(tool.inputSchema)
        assert tool.inputSchema["additionalProperties"] is False, tool.name
        assert tool.annotations.readOnlyHint is not None and tool.annotations.destructiveHint is not None, tool.name
    assert len(tools) >= 12, tools
    print(f"{len(tools)} tools with schemas and hints")


async def what_does_not_fit_is_refused(client):
    await client.is_refused("describe_service")
    await client.is_refused("describe_service", target="--kubeconfig=/etc/passwd")
    await client.is_refused("describe_service", target="web", bogus=1)
    await client.is_refused("list_services", context="another")
    await client.is_refused("connect", target="web", everything=True)
    await client.fails("describe_service", "no-such-target", target="nothing")
    print("what does not fit, or is not allowed, is refused")


async def a_service_is_connected_called_and_explained(client, port):
    described = await client.succeeds("describe_service", target="web")
    await client.session.subscribe_resource(AnyUrl("bridge://requests"))
    assert described["mode"] == "stand-in" and described["header"] == "baggage: bridge=alice", described
    steps = []

    async def step(_number, _total, message):
        steps.append(message)

    await client.succeeds("connect", step, target="web", ports=[f"{port}:http"])
    assert any("switching" in step for step in steps), steps
    waiting = asyncio.create_task(
        client.succeeds("wait_for_requests", conditions="to=me,status=2xx", target="web", timeout="60s")
    )
    called = None
    while not waiting.done():
        called = await client.succeeds("call_service", service="web", path="/", expect="laptop")
    seen = await waiting
    assert called["body"] == LAPTOP and called["hops"][0]["reason"] == "matched", called
    assert "matched" in json.dumps(seen), seen
    theirs = await client.call("call_service", service="web", headers=["baggage: bridge=bob", "x-bridge: bob"], expect="laptop")
    assert theirs[0], f"expected the pods to answer: {theirs}"
    listed = await client.succeeds("list_requests", target="web")
    assert any(one["reason"] == "differs" for one in listed["requests"]), listed
    resource = await client.session.read_resource("bridge://requests")
    assert json.loads(resource.contents[0].text)["requests"], resource
    await asyncio.wait_for(client.updates.get(), timeout=30)
    await client.session.unsubscribe_resource(AnyUrl("bridge://requests"))
    print("connected, with its steps; called, waited for, followed, and explained")


async def a_call_that_takes_long_is_cancelled(client):
    number = client.session._request_id
    long = asyncio.create_task(
        client.call("wait_for_requests", conditions="status=599", target="web", timeout="10m")
    )
    await client.succeeds("status")
    cancelled = types.CancelledNotificationParams(requestId=number, reason="enough")
    await client.session.send_notification(
        types.ClientNotification(types.CancelledNotification(params=cancelled))
    )
    # The server may answer a call that was cancelled, or not.
    await asyncio.wait([long], timeout=1)
    long.cancel()
    await client.succeeds("status")
    print("a call that takes long is cancelled, and the next one is answered")


async def a_process_runs_in_the_place_of_a_service(client):
    script = "echo from $BRIDGE_TARGET with $# arguments; exec sleep 600"
    await client.succeeds("start_process", target="prices", name="agent", command=["sh", "-c", script, "sh", "one"])
    listed = await client.succeeds("list_processes")
    assert [(run["name"], run["running"]) for run in listed["runs"]] == [("agent", True)], listed
    while "from prices with 1 arguments" not in (said := await client.succeeds("read_output", name="agent")):
        assert "error" not in said, said
    await client.succeeds("stop_process", name="agent")
    assert (await client.succeeds("list_processes"))["runs"] == []
    print("a process started, read and stopped")


async def main(bridge):
    laptop = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Laptop)
    threading.Thread(target=laptop.serve_forever, daemon=True).start()
    server = StdioServerParameters(command=bridge, args=["mcp"], env=dict(os.environ))
    updates = asyncio.Queue()

    async def hears(message):
        if isinstance(message, types.ServerNotification) and isinstance(message.root, types.ResourceUpdatedNotification):
            updates.put_nowait(str(message.root.params.uri))

    async with (
        stdio_client(server) as (reader, writer),
        ClientSession(reader, writer, message_handler=hears) as session,
    ):
        hello = await session.initialize()
        assert hello.serverInfo.name == "bridge", hello
        client = Client(session, updates)
        await tools_have_schemas_and_hints(client)
        await what_does_not_fit_is_refused(client)
        await a_service_is_connected_called_and_explained(client, laptop.server_address[1])
        await a_call_that_takes_long_is_cancelled(client)
        await a_process_runs_in_the_place_of_a_service(client)
        await client.succeeds("disconnect", target="web")
        targets = [one["target"] for one in (await client.succeeds("status"))["sessions"]]
        assert "web" not in targets and "prices" not in targets, targets
        print("disconnected")


asyncio.run(main(sys.argv[1]))
