# Answers every request with 500, and notes it in a line of the file "seen" of its home.
import http.server, json, os

class Seen(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def handle_one_request(self):
        self.raw_requestline = self.rfile.readline()
        if not self.raw_requestline or not self.parse_request():
            self.close_connection = True
            return
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        headers = {name.lower(): value for name, value in self.headers.items()}
        seen = {"method": self.command, "target": self.path, "headers": headers, "body": body}
        with open(os.path.expanduser("~/seen"), "a") as file:
            file.write(json.dumps(seen) + "\n")
        self.send_response(500)
        self.send_header("Content-Length", "6")
        self.end_headers()
        self.wfile.write(b"laptop")

    def log_message(self, *_):
        pass

class Server(http.server.ThreadingHTTPServer):
    # While it is stopped, all connections wait.
    request_queue_size = 1024

server = Server(("127.0.0.1", 0), Seen)
print("listens on 127.0.0.1:%d" % server.server_port, flush=True)
server.serve_forever()
