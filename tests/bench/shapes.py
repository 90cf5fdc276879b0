"""The shape of the broker: how fast it is read, and how fast it is made.

plan      10,000 classic queues of somebody else's, each bound twice, lie beside Warren's own topology: `warren topology plan` from exec to
          exit, which finds nothing to do.
apply     the topology of 500 kinds, 1,000 queues and their bindings, on an empty virtual host: `warren topology apply` from exec to exit,
          with its plan. `node-plain` declares the same objects from the exported file over 16 connections (peers/node/declare.mjs).
declares  1,000 devices get a queue and three bindings each: `lanes` by what Warren declares them with, without its pace, `lanes-raw` over 16 plain
          connections, one thing after the other on each (messaging/examples/device_declares.rs, both). The clock runs once connections stand.
"""

import json
import os
import pathlib
import subprocess
import time

import machine
from machine import Failure, run

QUEUES = 10_000
KINDS = 500
DEVICES = 1_000


def topology(side, field, *words):
    """One `warren topology` command; how long it took, and what it printed."""
    path = field.folder / "topology.toml"
    kinds = "".join(f'[[kind]]\nname = "bench.k{n}"\nworker = "amqp"\n' for n in range(KINDS))
    path.write_text(f'[broker]\nurl = "{field.amqp_url}"\nmanagement_url = "{field.management}"\n{kinds}')
    begun = time.monotonic()
    done = subprocess.run([side.binary, "topology", *words, "--config", path], capture_output=True, text=True, cwd=field.folder)
    elapsed = time.monotonic() - begun
    pathlib.Path(f"{field.logs}.topology-{words[0]}.log").write_text(done.stdout + done.stderr)
    if done.returncode:
        raise Failure(f"`warren topology {words[0]}` ended with {done.returncode}: {done.stderr[-500:]}")
    return elapsed, done.stdout


def plan(side, field, options):
    topology(side, field, "apply")
    queue = {"durable": True, "auto_delete": False, "arguments": {"x-queue-type": "classic"}}
    binding = {"source": "amq.topic", "destination_type": "queue", "arguments": {}}
    names = [f"theirs.{n}" for n in range(QUEUES)]
    crowd = {"queues": [{"name": name, **queue} for name in names],
             "bindings": [{"destination": name, "routing_key": f"{key}.{name}", **binding} for name in names for key in ("a", "b")]}
    field.manage("POST", "definitions/{vhost}", crowd, wait=600)
    elapsed, _ = topology(side, field, "plan")
    return {"seconds": elapsed}


def apply(side, field, options):
    if side.name == "node-plain":
        return by_hand(side, field)
    elapsed, _ = topology(side, field, "apply")
    return {"per_second": 2 * KINDS / elapsed, "seconds": elapsed}


def by_hand(side, field):
    if side.binary is None:
        raise Failure("what is declared by hand is what Warren exports: name the side warren as well")
    _, exported = topology(side, field, "export")
    (field.folder / "definitions.json").write_text(exported)
    env = {**os.environ, "AMQP_URL": field.amqp_url, "DEFINITIONS": str(field.folder / "definitions.json"), "CONNECTIONS": "16"}
    said = json.loads(run(["node", "declare.mjs"], cwd=machine.NODE, env=env))
    return {"per_second": 2 * KINDS / said["seconds"], "seconds": said["seconds"]}


class Declarer:
    """A program that declares devices, in one of two ways."""

    def __init__(self, name, way):
        self.name, self.way = name, way

    def build(self):
        machine.build_devices()


def declares(side, field, options):
    said = json.loads(run([machine.DECLARER, side.way, field.amqp_url, str(DEVICES)]))
    return {"per_second": DEVICES / said["seconds"], "seconds": said["seconds"]}
