"""Work that is done elsewhere: by a worker in another language, and by a service that says later how its calls ended.

foreign   jobs of a kind with `worker = "amqp"` lie in its queue. A worker in Node (peers/node/foreign.mjs) takes them, reports each with a
          confirmed message, pipelined, and acks. The clock runs from its exec until every job has succeeded by the store. `node-plain` is
          the same worker on queues of its own: as many messages, as many confirmed ones out, until the queue of those is as long.
later     20,000 jobs of a kind with `completion = "async"` were called and answered 202; the service then ends all of them over HTTP, 64
          at a time: how many per second were answered 204, which is after the commit.
"""

import contextlib
import json
import time
import urllib.request

import machine
from load import batch
from machine import Failure, Process, await_true, free_port

JOBS = 50_000
CALLS = 20_000


def worker(field, **env):
    machine.build_node()
    return Process(["node", "foreign.mjs"], f"{field.logs}.worker.log", {"AMQP_URL": field.amqp_url, **env}, machine.NODE)


def foreign(side, field, options):
    if side.name == "node-plain":
        return side.foreign(field)
    with side.hub(field, "api,worker,keeper") as (api, _):
        batch(api, [{"kind": side.FOREIGN, "data": {"pages": 7}}] * JOBS)
        await_true(lambda: side.unpublished(field) == 0, 120, "publishing of the prefill")
        field.sql.value("vacuum analyze")
        field.sql.value("checkpoint")
        begun = time.monotonic()
        process = worker(field, QUEUE=f"jobs.{side.FOREIGN}", RESULTS_EXCHANGE="warren.results", RESULTS_KEY="warren.results")
        try:
            await_true(lambda: process.check() or not side.unfinished(field), 600, "success of every job", every=0.1)
            return {"per_second": JOBS / (time.monotonic() - begun)}
        finally:
            process.stop()


class Plain:
    """The same worker without Warren: two quorum queues."""

    name = "node-plain"
    # That of Warren, for what it exports.
    binary = None
    build = staticmethod(machine.build_node)

    def foreign(self, field):
        for queue in ("plain.jobs", "plain.results"):
            field.manage("PUT", f"queues/{{vhost}}/{queue}", {"durable": True, "arguments": {"x-queue-type": "quorum"}})
        fill = Process(["node", "fill.mjs"], f"{field.logs}.fill.log", {"AMQP_URL": field.amqp_url, "QUEUE": "plain.jobs", "COUNT": str(JOBS)},
                       machine.NODE)
        if fill.child.wait(120):
            raise Failure(f"the prefill failed: {fill.log.read_text()[-500:]}")
        begun = time.monotonic()
        process = worker(field, QUEUE="plain.jobs", RESULTS_KEY="plain.results")
        count = Process(["node", "count.mjs"], f"{field.logs}.count.log",
                        {"AMQP_URL": field.amqp_url, "QUEUE": "plain.results", "COUNT": str(JOBS)}, machine.NODE)
        try:
            if count.child.wait(600):
                raise Failure(f"the count failed: {count.log.read_text()[-500:]}")
            return {"per_second": JOBS / (time.monotonic() - begun)}
        finally:
            process.stop()
            count.stop()


def later(side, field, options):
    machine.build_node()
    port = side.later
    with contextlib.ExitStack() as stack:
        api, _ = stack.enter_context(side.hub(field, "api,worker,keeper"))
        public = api.url.split("/v1/")[0]
        service = Process(["node", "later.mjs"], f"{field.logs}.service.log", {"PORT": str(port), "PUBLIC": public}, machine.NODE)
        stack.callback(service.stop)
        batch(api, [{"kind": side.LATER, "data": {}}] * CALLS)

        def ask(path):
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=600) as answer:
                return json.load(answer)

        await_true(lambda: service.check() or ask("given") >= CALLS, 300, "every call", every=0.5)
        parked = "select 1 from jobs where not (state = 3 and owner is null) limit 1"
        await_true(lambda: not side.value(field, parked), 60, "every job to be parked")
        field.sql.value("checkpoint")
        said = ask("go")
        if said["ended"] != CALLS or side.unfinished(field):
            raise Failure(f"not every run has ended: {said}")
        return {"per_second": CALLS / said["seconds"]}
