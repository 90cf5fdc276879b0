"""Devices: what many of them cost, and how fast a message gets to one.

The load is one process (mobile-delivery/examples/device_load), the yardsticks of the broker alone are two (messaging/examples/device_publishes
and device_declares). Hub, broker, database and load share the machine.

idle      5,000 devices connect over WebSockets, each with its queue and its consumer; nothing is sent. `kib_each`: what the hub's resident memory has grown by since it
          was ready, registering and connecting included, divided by their number. `cpu_percent`: of one core, over 30 s, with the devices' pings every 25 s. Then all
          connections are broken at one moment: `back_seconds` until the last device has had its `idle` again, `redeclared` queues meanwhile.
latency   1,000 devices are connected, each with its queue and its consumer, and messages of 1 KiB are sent to them by HTTP at a constant rate: from the moment a request was due to the frame on the socket
          (`p50_ms`, `p99_ms`), and to the 202 (`taken_*`). `devices-raw` publishes the same to as many queues with consumers, with confirms, without Warren; `taken_*` is the confirm.
room      200 devices are in a room, and publish 100 messages of 1 KiB a second to it, by turns, over their sockets: from the moment one was due to the frame on each of their sockets, and to
          the `published` (`taken_*`).
broadcast one message of 1 KiB to 5,000 connected devices, the median of five: `taken_seconds` to the 202, `got_seconds` to the last frame, `acked_seconds` until
          `GET /v1/messages/{id}` says that all have acked it. `devices-raw` has as many durable queues bound to a fanout exchange: seconds to the confirm.
sizes     so many devices are registered and connected (`declared_per_second`: from the first connection to the last `idle`, queues and bindings made on
          the way) and leave. Then the hub is started again: `ready_ms` from exec to `/ready`, resident memory of hub and broker 10 s later.
          With a million cold ones in the store, 1,000 more are registered and connected.
"""

import contextlib
import json
import os
import pathlib
import resource
import subprocess
import threading
import time

import machine
from crowds import counter
from machine import Failure, await_true

CONNECTED = 5_000
SENT_TO = 1_000
RATE = 1_000
IN_ROOM, ROOM_RATE = 200, 100
IDLE = 30


class Load:
    """The generator: it is told what to do in lines, and answers in lines of JSON."""

    def __init__(self, side, api, field, *what):
        log = f"{field.logs}.load.log"
        with open(log, "ab") as errors:
            self.child = subprocess.Popen([machine.DEVICE_LOAD, what[0], base(api), *map(str, what[1:])], text=True, stdin=subprocess.PIPE,
                                          stdout=subprocess.PIPE, stderr=errors, env={**os.environ, "TOKEN": side.token(0)})
        self.log = pathlib.Path(log)

    def answer(self):
        # It has its own deadlines; this is for one that hangs.
        watch = threading.Timer(600, self.child.kill)
        watch.start()
        line = self.child.stdout.readline()
        watch.cancel()
        if not line:
            raise Failure(f"the load ended with {self.child.wait()}; {self.log} ends:\n{self.log.read_text()[-1500:]}")
        return json.loads(line)

    def do(self, what):
        self.child.stdin.write(f"{what}\n")
        self.child.stdin.flush()
        return self.answer()

    def leave(self):
        self.child.stdin.close()
        self.child.stdout.close()
        try:
            self.child.wait(20)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()


@contextlib.contextmanager
def load(side, api, field, what, count, *rest):
    """So many devices, connected and idle."""
    fits(count)
    generator = Load(side, api, field, what, count, *rest)
    try:
        yield generator, generator.answer()
    finally:
        generator.leave()


def fits(count):
    """The hub has a file open for each device, and so has the load."""
    least = count + 1_000
    if (hard := resource.getrlimit(resource.RLIMIT_NOFILE)[1]) < least:
        raise Failure(f"{count} devices need {least} open files in one process, and {hard} are allowed: `ulimit -Hn {least}` as root, or "
                      "`nofile` in /etc/security/limits.conf")


def base(api):
    return api.url.split("/v1/")[0]


def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def attached(internal, count):
    await_true(lambda: counter(internal, "warren_devices_attached") == count, max(120, count / 25), f"consumers for {count} devices")


def idle(side, field, options):
    with side.hub(field, "devices") as (api, internal):
        before = api.process.resident_mib()
        with load(side, api, field, "hold", CONNECTED) as (devices, first):
            attached(internal, CONNECTED)
            # What was for connecting is given back.
            time.sleep(5)
            connected = api.process.resident_mib()
            spent, begun = cpu_seconds(api.process.pid), time.monotonic()
            time.sleep(IDLE)
            cpu = (cpu_seconds(api.process.pid) - spent) / (time.monotonic() - begun)
            declared = counter(internal, "warren_device_declares_total")
            back = devices.do("cut")
            attached(internal, CONNECTED)
            return {
                "kib_each": (connected - before) * 1024 / CONNECTED, "cpu_percent": cpu * 100, "back_seconds": back["idle_seconds"],
                "redeclared": counter(internal, "warren_device_declares_total") - declared, "tries": back["tries"],
                "first_seconds": first["idle_seconds"], "resident_mib": connected, "resident_after_mib": api.process.resident_mib(),
            }


def latency(side, field, options):
    if side.name == "devices-raw":
        numbers = map(str, (SENT_TO, RATE, options.seconds))
        return json.loads(machine.run([machine.DEVICE_PUBLISHES, field.amqp_url, *numbers]))
    with side.hub(field, "devices") as (api, internal):
        with load(side, api, field, "send", SENT_TO, RATE, options.seconds) as (devices, _):
            attached(internal, SENT_TO)
            spent = cpu_seconds(api.process.pid)
            told = devices.do("send")
            return {**told, "hub_cpu_seconds": cpu_seconds(api.process.pid) - spent}


def sizes(side, field, options):
    with side.hub(field, "devices") as (api, internal):
        side.freeze(field)
        with load(side, api, field, "hold", side.hot) as (_, first):
            attached(internal, side.hot)
    begun = time.monotonic()
    process, public, _ = side.start(field, "devices")
    try:
        side.await_ready(process, public, every=0.002)
        ready = time.monotonic() - begun
        time.sleep(10)
        return {
            "declared_per_second": side.hot / first["idle_seconds"], "registered_per_second": first["registered_per_second"],
            "ready_ms": ready * 1000, "resident_mib": process.resident_mib(), "broker_mib": field.broker_mib(),
        }
    finally:
        process.stop()


def room(side, field, options):
    with side.hub(field, "devices") as (api, internal):
        with load(side, api, field, "room", IN_ROOM, ROOM_RATE, options.seconds) as (devices, _):
            attached(internal, IN_ROOM)
            spent = cpu_seconds(api.process.pid)
            told = devices.do("send")
            return {**told, "hub_cpu_seconds": cpu_seconds(api.process.pid) - spent}


def broadcast(side, field, options):
    if side.name == "devices-raw":
        return json.loads(machine.run([machine.DEVICE_PUBLISHES, field.amqp_url, str(CONNECTED)]))
    with side.hub(field, "devices") as (api, internal):
        with load(side, api, field, "broadcast", CONNECTED) as (devices, _):
            attached(internal, CONNECTED)
            all = sorted((devices.do("send") for _ in range(5)), key=lambda told: told["acked_seconds"])
            return {**all[2], "seconds": all[2]["acked_seconds"]}


class Raw:
    """The broker alone."""

    name = "devices-raw"

    def build(self):
        machine.build_devices()
