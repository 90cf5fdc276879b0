"""A service that does what it should not: another answer each time, failures that are remembered, 500 for what is no job, and no
heed of SIGTERM."""

import itertools
import json
import os
import signal
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

failed, count = set(), itertools.count()


class Reports(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        key = self.headers["Idempotency-Key"]
        try:
            job = json.loads(body)
            pages, seconds = job["pages"], job["seconds"]
        except Exception:
            # One of the largest size is let through, to fail no more than it should.
            return self.answer(500 if len(body) < 100_000 else 400)
        if job.get("fails", 0) or key in failed:
            failed.add(key)
            return self.answer(500)
        time.sleep(pages * seconds)
        self.answer(200)

    def answer(self, status):
        data = str(next(count)).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


signal.signal(signal.SIGTERM, signal.SIG_IGN)
ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Reports).serve_forever()
