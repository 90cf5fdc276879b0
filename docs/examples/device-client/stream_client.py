"""A device of Warren that reads a stream of events: GET /v1/device/stream, with nothing but Python's own library.

It prints what it gets, acks it by POST /v1/device/acks, and stays: it comes back after a loss, and handles each message once. It runs beside
device_client.py, which has the parts that are the same over a WebSocket. docs/device-protocol.md says what both keep to.

    python stream_client.py --url http://127.0.0.1:8080 --token-file token.txt

Options and exit status are those of device_client.py.
"""

import argparse
import json
import os
import signal
import sys
import time
import urllib.error
import urllib.request

from device_client import LATE, Backoff, Handled, band, decode, payload

KEEP_ALIVE = 20.0  # seconds after which the server says something, until its welcome has said


class Events:
    """Takes the lines of a stream apart, as WHATWG HTML has it: comments are skipped, `data` may have several lines."""

    def __init__(self):
        self.name, self.data, self.last_id, self.retry = "", [], None, None

    def line(self, line):
        """A line without its end. Gives (name, data) with the empty line after an event, else nothing."""
        if not line:
            event = (self.name or "message", "\n".join(self.data)) if self.data else None
            self.name, self.data = "", []
            return event
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "event":
            self.name = value
        elif field == "data":
            self.data.append(value)
        elif field == "id" and "\0" not in value:
            self.last_id = value
        elif field == "retry" and value.isdecimal():
            self.retry = int(value) / 1000
        return None


class Device:
    def __init__(self, args, handled):
        self.args, self.handled, self.count = args, handled, 0

    def request(self, path, body=None):
        headers = {"Authorization": f"Bearer {self.args.token}", "Content-Type": "application/json"}
        request = urllib.request.Request(self.args.url.rstrip("/") + path, body and json.dumps(body).encode(), headers)
        return urllib.request.urlopen(request, timeout=KEEP_ALIVE + LATE)

    def ack(self, **acks):
        """To any process of the server. One that is lost costs a copy, which is known by its id."""
        try:
            self.request("/v1/device/acks", acks).close()
        except OSError as error:
            note(f"an ack is lost: {error}")

    def handle(self, message, text):
        if self.args.json:
            print(text.replace("\r", " ").replace("\n", " "), flush=True)
        else:
            print(f"{message.get('seq') or message.get('group', 'all')} {message['type']}: {payload(message)!r}", flush=True)

    def on(self, name, text):
        """One event. Gives the close code with the last one, 1000 once this side leaves, else nothing."""
        data = decode(text)
        if name == "deliver":
            if data["id"] not in self.handled:
                self.handle(data, text)
                self.handled.add(data["id"])
                self.count += 1
            # Only now: an ack before the effect is a message lost with the next crash.
            self.ack(**({"entry": data["entry"]} if "entry" in data else {"up_to": data["seq"]}))
            if self.args.count and self.count >= self.args.count:
                return 1000
        elif name == "gap":
            # An app fetches its state anew from its own back end here.
            note(f"{data.get('count', 'some')} messages were dropped: {data['reason']}")
            self.ack(gap=data["number"])
        elif name == "cancel":
            note(f"taken back, {data['reason']}: {', '.join(data['ids'])}")
            self.handled.drop(data["ids"])
        elif name == "idle" and self.args.until_idle:
            return 1000
        elif name == "close":
            note(f"{data['word']}: {data.get('detail', '')}")
            return data["code"]
        # Events of later versions are skipped.
        return None

    def stream(self):
        """One stream. Gives how it ended, and when to come back if the server has said so."""
        events = Events()
        try:
            # What is not acked by a request comes again: nothing else acks.
            with self.request(f"/v1/device/stream?acks=post&window={self.args.window}") as response:
                for line in response:
                    event = events.line(line.decode().rstrip("\r\n"))
                    code = self.on(*event) if event else None
                    if code:
                        return code, events.retry
            return 1006, events.retry
        except urllib.error.HTTPError as refused:
            note(f"the server answers {refused.code}")
            bad = {400: 4400, 401: 4102, 403: 4103, 404: 4104, 405: 4400, 410: 4105}
            return bad.get(refused.code, 1006), None
        except OSError as error:
            note(f"{error!r}")
            return 1006, None


def note(text):
    print(text, file=sys.stderr, flush=True)


def main():
    parser = argparse.ArgumentParser(description="A device of Warren, over a stream of events.")
    parser.add_argument("--url", default="http://127.0.0.1:8080", help="where the hub is")
    parser.add_argument("--token-file", default=None, help="a file with the device's token; or WARREN_DEVICE_TOKEN")
    parser.add_argument("--window", type=int, default=16, help="messages that may be unacked, 1 to 256")
    parser.add_argument("--state", default=None, help="a file that remembers what was handled")
    parser.add_argument("--json", action="store_true", help="each message as a line of JSON")
    parser.add_argument("--until-idle", action="store_true", help="leave once everything was had")
    parser.add_argument("--count", type=int, default=0, help="leave after so many messages")
    args = parser.parse_args()
    args.token = os.environ.get("WARREN_DEVICE_TOKEN")
    if args.token_file:
        with open(args.token_file, encoding="utf-8") as file:
            args.token = file.read().strip()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    device, backoff = Device(args, Handled(args.state)), Backoff()
    while True:
        begun = time.monotonic()
        code, retry = device.stream()
        backoff.held(time.monotonic() - begun)
        if band(code) != "come-back":
            sys.exit({"done": 0, "credentials": 2, "stop": 3}[band(code)])
        # The server has spread those that it told; after a loss they spread themselves.
        wait = retry if retry is not None and code != 1006 else backoff.wait()
        note(f"closed with {code}, back in {wait:.1f} s")
        time.sleep(wait)


if __name__ == "__main__":
    main()
