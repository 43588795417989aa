"""`orders` of the sample application, as a developer changes it."""

import json
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        greeting = os.environ.get("GREETING")
        found = {"service": "orders", "by": "laptop", "path": self.path, "greeting": greeting}
        body = json.dumps(found).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("", int(os.environ.get("PORT", "8080"))), Handler)
print("listens on", server.server_port, flush=True)
server.serve_forever()
