"""A service that builds reports over HTTP, as one should: what worked is kept by its key, what fails is not."""

import json
import os
import signal
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

done = {}


class Reports(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        key, attempt = self.headers["Idempotency-Key"], int(self.headers["Warren-Attempt"])
        try:
            job = json.loads(body)
            pages, seconds, fails, letters = job["pages"], job["seconds"], job.get("fails", 0), job.get("letters", 0)
        except (ValueError, TypeError, KeyError):
            return self.answer(422, {"error": "that is no report"})
        if attempt <= fails:
            return self.answer(503, {"error": "busy"}, {"Retry-After": "1"})
        if key not in done:
            time.sleep(pages * seconds)
            done[key] = {"pages": pages, "text": "x" * letters, "at": time.time()}
        self.answer(200, done[key])

    def answer(self, status, body, headers={}):
        data = json.dumps(body).encode()
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(data)), "Connection": "close"} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)


class Server(ThreadingHTTPServer):
    daemon_threads = False  # what runs is waited for


server = Server(("127.0.0.1", int(os.environ["PORT"])), Reports)
signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
server.serve_forever()
server.server_close()
