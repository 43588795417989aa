"""An editor's side of the Debug Adapter Protocol: it launches a program, stops at a breakpoint, looks at a variable, and
goes on. dap_client.py debugpy SHIM PROGRAM TEXT ARG… | dlv HOST:PORT PROGRAM FUNCTION ARG… prints the variable `at` or
`host`, and the program's output."""

import json
import socket
import subprocess
import sys


class Adapter:
    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer
        self.number, self.output = 0, ""

    def send(self, command, **arguments):
        self.number += 1
        message = {"seq": self.number, "type": "request", "command": command, "arguments": arguments}
        body = json.dumps(message).encode()
        self.writer.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)
        self.writer.flush()
        return self.number

    def read(self):
        length = 0
        while line := self.reader.readline().strip():
            name, value = line.split(b":")
            if name.lower() == b"content-length":
                length = int(value)
        assert length, f"the adapter has ended: {self.output}"
        return json.loads(self.reader.read(length))

    def until(self, is_it):
        while True:
            message = self.read()
            if message["type"] == "event" and message["event"] == "output":
                if message["body"].get("category") in (None, "stdout", "stderr", "console"):
                    self.output += message["body"]["output"]
            assert message.get("success", True), message
            if is_it(message):
                return message.get("body", {})

    def event(self, name):
        return self.until(lambda message: message["type"] == "event" and message["event"] == name)

    def asks(self, command, **arguments):
        number = self.send(command, **arguments)
        return self.until(lambda message: message["type"] == "response" and message["request_seq"] == number)


def story(adapter, launch, breakpoint, variable):
    adapter.asks("initialize", adapterID="story", linesStartAt1=True, pathFormat="path")
    adapter.send("launch", **launch)
    adapter.event("initialized")
    adapter.asks(breakpoint[0], **breakpoint[1])
    adapter.send("configurationDone")
    thread = adapter.event("stopped")["threadId"]
    frame = adapter.asks("stackTrace", threadId=thread)["stackFrames"][0]["id"]
    seen = adapter.asks("evaluate", expression=variable, frameId=frame, context="watch")["result"]
    print("stopped;", variable, "is", seen)
    adapter.send("continue", threadId=thread)
    adapter.event("terminated")
    print(adapter.output)


def by_debugpy(shim, program, text, *arguments):
    with open(program) as file:
        line = next(number for number, line in enumerate(file, 1) if text in line)
    adapter = subprocess.Popen(
        [sys.executable, "-m", "debugpy.adapter"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    launch = {
        "type": "debugpy",
        "request": "launch",
        "python": [shim],
        "program": program,
        "args": list(arguments),
        "console": "internalConsole",
        "redirectOutput": True,
    }
    at = ("setBreakpoints", {"source": {"path": program}, "breakpoints": [{"line": line}]})
    try:
        story(Adapter(adapter.stdout, adapter.stdin), launch, at, "host")
    finally:
        adapter.kill()


def by_dlv(address, program, function, *arguments):
    host, port = address.split(":")
    with socket.create_connection((host, int(port))) as connection:
        stream = connection.makefile("rwb")
        launch = {"request": "launch", "mode": "exec", "program": program, "args": list(arguments)}
        at = ("setFunctionBreakpoints", {"breakpoints": [{"name": function}]})
        story(Adapter(stream, stream), launch, at, "at")


{"debugpy": by_debugpy, "dlv": by_dlv}[sys.argv[1]](*sys.argv[2:])
