"""A device of Warren, in Python: subprotocol warren.device.v1 over a WebSocket. docs/device-protocol.md says what it keeps to.

It prints what it gets, acks it, and stays: it comes back with full jitter after a loss, finds what came meanwhile, and handles each
message once. What it has handled is remembered in a file if `--state` names one, so that a restart handles nothing twice.

    pip install -r requirements.txt
    python device_client.py --url ws://127.0.0.1:8080 --device phone-1 --token-file token.txt

    --json          each message as one line of JSON on stdout, as it came; all other talk is on stderr
    --until-idle    leave once everything was had: what a background fetch does
    --count N       leave after so many messages

Exit status: 0 left as asked, 2 credentials are wrong (register again, or get another token), 3 told never to come back by itself.

Everything down to `class Session` is without I/O and has its tests beside it: test_device_client.py.
"""

import argparse
import asyncio
import base64
import json
import os
import random
import sys
import time
from collections import OrderedDict
from decimal import Decimal
from signal import SIGINT, SIGTERM

SUBPROTOCOL = "warren.device.v1"
BASE, CAP = 0.5, 60.0  # seconds of the first and of the longest wait
SEEN_SENT = 256  # ids that a hello may name
SEEN_KEPT = 4096  # ids that are remembered; more than any window, so that no copy gets by
STEADY = 30.0  # a session that held this long begins the waits anew
LATE = 10.0  # seconds that an answer to a ping may take


# --- frames ------------------------------------------------------------------------------------------------------------------------


def hello(device, token=None, messages=16, size=262144, heartbeat_ms=None, seen=(), agent=None):
    """The first frame. `seen`: ids that were handled, and whose acks may not have arrived."""
    frame = {"frame": "hello", "version": 1, "device": device, "window": {"messages": messages, "bytes": size}}
    more = {"token": token, "heartbeat_ms": heartbeat_ms, "seen": list(seen)[-SEEN_SENT:], "agent": agent}
    return frame | {name: value for name, value in more.items() if value}


def ack(up_to=None, seqs=(), entry=None, gap=None):
    """`up_to`: all that was given up to this one. `seqs`: these as well. `entry`: all that was given of groups up to it. `gap`: its number."""
    more = {"up_to": up_to, "seqs": list(seqs) or None, "entry": entry, "gap": gap}
    return {"frame": "ack"} | {name: value for name, value in more.items() if value is not None}


def nack(seq, delay_ms=None, reason=None):
    """With a delay: offered again after it. Without: never again, and the sender is told the reason."""
    how = {"how": "reject"} if delay_ms is None else {"how": "later", "delay_ms": delay_ms}
    return {"frame": "nack", "seq": seq} | how | ({"reason": reason} if reason else {})


def read(ids):
    """Somebody has read these."""
    return {"frame": "read", "ids": list(ids)}


def publish(group, data, ref, kind=None, content_type="application/json"):
    """A message for a room; with the same `ref`, of your own making, it is stored once."""
    frame = {"frame": "publish", "ref": ref, "group": group, "content_type": content_type}
    if kind:
        frame["type"] = kind
    if isinstance(data, bytes):
        return {**frame, "data_base64": base64.b64encode(data).decode()}
    return {**frame, "data": data}


def signal(group, kind, data=None):
    frame = {"frame": "signal", "group": group, "type": kind}
    return frame if data is None else {**frame, "data": data}


def watch(groups):
    return {"frame": "watch", "groups": list(groups)}


def auth(token):
    """Another token, before the first runs out."""
    return {"frame": "auth", "token": token}


PING, BYE = {"frame": "ping"}, {"frame": "bye"}


def decode(text):
    """A frame of the server. Fractions keep their digits; Python's whole numbers do anyway."""
    return json.loads(text, parse_float=Decimal)


def payload(message):
    """What was sent: a JSON value, a text, or bytes."""
    return base64.b64decode(message["data_base64"]) if "data_base64" in message else message["data"]


# --- when to come back -------------------------------------------------------------------------------------------------------------


def band(code):
    """What a client does about a close code: `done`, `credentials`, `come-back` or `stop`."""
    if code == 1000:
        return "done"
    return {41: "credentials", 44: "stop"}.get((code or 0) // 100, "come-back")


class Backoff:
    """Full jitter: any time between nothing and a limit that doubles. All the devices of a process that died come back spread out."""

    def __init__(self, dice=random.uniform):
        self.tries, self.dice = 0, dice

    def limit(self):
        return min(CAP, BASE * 2 ** min(self.tries, 16))

    def wait(self):
        wait = self.dice(0, self.limit())
        self.tries += 1
        return wait

    def held(self, seconds):
        """A session has lasted so long."""
        if seconds >= STEADY:
            self.tries = 0


# --- what was handled --------------------------------------------------------------------------------------------------------------


class Handled:
    """Ids of messages that were handled, the oldest first. Delivery is at least once: this makes it once.

    An app writes the id in the same transaction as the effect of the message; here the effect is a line on stdout.
    """

    def __init__(self, path=None):
        self.path, self.ids = path, OrderedDict()
        if path and os.path.exists(path):
            with open(path, encoding="utf-8") as file:
                self.ids = OrderedDict.fromkeys(line.strip() for line in file if line.strip())
        self.file = open(path, "a", encoding="utf-8") if path else None
        self.lines = len(self.ids)
        self.trim()

    def __contains__(self, message_id):
        return message_id in self.ids

    def __iter__(self):
        return iter(self.ids)

    def add(self, message_id):
        self.ids[message_id] = None
        if self.file:
            self.file.write(message_id + "\n")
            self.file.flush()
            os.fsync(self.file.fileno())
            self.lines += 1
        self.trim()

    def drop(self, message_ids):
        """These were taken back: should one come again, it is news."""
        before = len(self.ids)
        for message_id in message_ids:
            self.ids.pop(message_id, None)
        if len(self.ids) < before:
            self.trim(always=True)

    def trim(self, always=False):
        while len(self.ids) > SEEN_KEPT:
            self.ids.popitem(last=False)
        if self.file and (always or self.lines > 2 * SEEN_KEPT):
            # Written beside and moved, so that a crash leaves the old one or the new one.
            with open(self.path + ".new", "w", encoding="utf-8") as new:
                new.writelines(message_id + "\n" for message_id in self.ids)
                new.flush()
                os.fsync(new.fileno())
            os.replace(self.path + ".new", self.path)
            self.file.close()
            self.file, self.lines = open(self.path, "a", encoding="utf-8"), len(self.ids)


# --- one connection, without its I/O -----------------------------------------------------------------------------------------------


class Session:
    """What frames mean. `on(text)` gives the frames to send; `handle(message, text)` is called once for each id."""

    def __init__(self, handled, handle, note=lambda text: None):
        self.handled, self.handle, self.note = handled, handle, note
        self.heartbeat, self.idle, self.away, self.error = 25.0, False, None, None
        self.count = 0

    def on(self, text):
        frame = decode(text)
        name = frame.get("frame")
        if name == "welcome":
            self.heartbeat = frame["heartbeat_ms"] / 1000
        elif name == "deliver":
            self.idle = False
            # By its id, not by `dup`: that may be missing when a process died before it could know.
            if frame["id"] not in self.handled:
                self.handle(frame, text)
                self.handled.add(frame["id"])
                self.count += 1
            # Only now: an ack before the effect is a message lost with the next crash.
            return [ack(entry=frame["entry"]) if "entry" in frame else ack(up_to=frame["seq"])]
        elif name == "gap":
            # An app fetches its state anew from its own back end here.
            self.note(f"{frame.get('count', 'some')} messages were dropped: {frame['reason']}")
            return [ack(gap=frame["number"])]
        elif name == "cancel":
            self.note(f"taken back, {frame['reason']}: {', '.join(frame['ids'])}")
            self.handled.drop(frame["ids"])
        elif name == "idle":
            self.idle = True
        elif name == "goaway":
            self.away = (frame["after_ms"] / 1000, frame["spread_ms"] / 1000)
        elif name == "error":
            self.error = frame
            self.note(f"{frame['code']}: {frame['detail']}")
        # Frames of later versions are skipped.
        return []


# --- the connection ----------------------------------------------------------------------------------------------------------------


async def connected(args, session, handled, leave):
    """One session. Returns the close code, 1000 if it was this side that left."""
    import websockets

    url = args.url.rstrip("/") + "/v1/device/socket"
    headers = {"Authorization": f"Bearer {args.token}"} if args.token else {}
    connecting = websockets.connect(
        url,
        subprotocols=[SUBPROTOCOL],
        additional_headers=headers,
        open_timeout=args.timeout,
        close_timeout=2,
        ping_interval=None,  # the protocol has its own, which the server counts
        max_size=4 * 1024 * 1024,
        compression=None,
    )
    async with connecting as socket:
        if socket.subprotocol != SUBPROTOCOL:
            raise ConnectionError(f"the server does not speak {SUBPROTOCOL}")

        async def send(frame):
            await socket.send(json.dumps(frame))

        pinged = None
        leaving = asyncio.create_task(leave.wait())
        receiving = asyncio.create_task(socket.recv())
        try:
            await send(hello(args.device, messages=args.window, seen=handled, agent="device-client.py/1"))
            while True:
                wait = LATE if pinged else session.heartbeat
                await asyncio.wait({leaving, receiving}, timeout=wait, return_when=asyncio.FIRST_COMPLETED)
                if receiving.done():
                    pinged = None
                    for answer in session.on(receiving.result()):
                        await send(answer)
                    done = args.until_idle and session.idle or args.count and session.count >= args.count
                    receiving = asyncio.create_task(socket.recv())
                elif leaving.done():
                    done = True
                elif pinged:
                    raise ConnectionError("no answer to a ping")
                else:
                    done, pinged = False, time.monotonic()
                    await send(PING)
                if done or leaving.done():
                    await send(BYE)
                    return 1000
        except websockets.ConnectionClosed as closed:
            return closed.rcvd.code if closed.rcvd else 1006
        finally:
            leaving.cancel(), receiving.cancel()
            await asyncio.gather(leaving, receiving, return_exceptions=True)


async def run(args):
    import websockets

    leave, handled, backoff = asyncio.Event(), Handled(args.state), Backoff()
    for number in (SIGTERM, SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, leave.set)
    note = lambda text: print(text, file=sys.stderr, flush=True)

    def handle(message, text):
        if args.json:
            # As it came, to the digit; a line end in JSON is but a space.
            print(text.replace("\r", " ").replace("\n", " "), flush=True)
        else:
            place = message.get("seq") or message.get("group", "all")
            print(f"{place} {message['type']}: {payload(message)!r}", flush=True)

    count = 0
    while not leave.is_set():
        session = Session(handled, handle, note)
        session.count, begun = count, time.monotonic()
        try:
            code = await connected(args, session, handled, leave)
        except websockets.InvalidStatus as refused:
            # Before the socket was there: the same bands, by status.
            status = refused.response.status_code
            code = 4102 if status in (401, 403) else 4400 if status in (400, 404, 426) else 1006
            note(f"the server answers {status}")
        except (OSError, ConnectionError, asyncio.TimeoutError, websockets.WebSocketException) as error:
            code = 1006
            note(f"{error!r}")
        count = session.count
        backoff.held(time.monotonic() - begun)
        if band(code) == "done":
            return 0
        if band(code) == "credentials":
            note(f"closed with {code}: the token or the device is not good")
            return 2
        if band(code) == "stop":
            note(f"closed with {code}: not coming back by itself")
            return 3
        if session.away:
            # Told when: as the server spreads it, and never at once.
            after, spread = session.away
            wait = after + random.uniform(0, spread)
        else:
            wait = backoff.wait()
        note(f"closed with {code}, back in {wait:.1f} s")
        try:
            await asyncio.wait_for(leave.wait(), wait)
        except asyncio.TimeoutError:
            pass
    return 0


def main():
    parser = argparse.ArgumentParser(description="A device of Warren.")
    parser.add_argument("--url", default="ws://127.0.0.1:8080", help="where the hub is; wss:// for TLS")
    parser.add_argument("--device", required=True, help="id of the device")
    parser.add_argument("--token", default=None, help="its token; better by --token-file or WARREN_DEVICE_TOKEN")
    parser.add_argument("--token-file", default=None, help="a file with the token")
    parser.add_argument("--window", type=int, default=16, help="messages that may be unacked, 1 to 256")
    parser.add_argument("--state", default=None, help="a file that remembers what was handled")
    parser.add_argument("--json", action="store_true", help="each message as a line of JSON")
    parser.add_argument("--until-idle", action="store_true", help="leave once everything was had")
    parser.add_argument("--count", type=int, default=0, help="leave after so many messages")
    parser.add_argument("--timeout", type=float, default=10, help="seconds that connecting may take")
    args = parser.parse_args()
    if args.token_file:
        with open(args.token_file, encoding="utf-8") as file:
            args.token = file.read().strip()
    args.token = args.token or os.environ.get("WARREN_DEVICE_TOKEN")
    sys.exit(asyncio.run(run(args)))


if __name__ == "__main__":
    main()
