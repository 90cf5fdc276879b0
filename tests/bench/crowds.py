"""What stands behind or beside a job, and what that costs it.

relay     100,000 jobs wait in the store for a paused kind, which is resumed: messages that the broker confirmed per second, from
          the tenth to the ninetieth thousand. `warren-aged` has 1,000,000 ended jobs in the same tables, a day old on average.
tenants   100,000 jobs of one tenant wait in the same way. While they go out and a worker takes them, another tenant submits one
          job after the other, each when the last one has started. `waits_per_window` is the longest wait of these, divided by the
          time that one window takes to drain at the rate of the run.
hanging   a drain as in scenarios.py. `warren-hanging` has 5,000 more jobs, of a kind whose destination takes connections and
          never answers, with a time limit of 2 s: calls time out, retry and are held back while the drain is going on.
"""

import contextlib
import json
import re
import socket
import threading
import time
import urllib.request

from load import batch, wrk
from machine import Failure, await_true

WAITING = 100_000


def counter(internal, name):
    """A counter of the hub, all its labels together."""
    with urllib.request.urlopen(f"{internal}/metrics", timeout=5) as answer:
        lines = answer.read().decode().splitlines()
    return sum(float(line.split()[-1]) for line in lines if re.match(rf"{name}[{{ ]", line))


@contextlib.contextmanager
def waiting(side, field, roles):
    """A hub with `WAITING` jobs in its store, all of a paused kind."""
    with side.api(field):
        pass
    side.age(field)
    side.pause(field, True)
    with side.hub(field, roles) as (api, internal):
        wrk(api, field.logs, count=WAITING)
        # What was taken before the pause was seen may be on its way already.
        field.sql.value("vacuum analyze")
        field.sql.value("checkpoint")
        yield api, internal


def relay(side, field, options):
    with waiting(side, field, "api") as (_, internal):
        before = counter(internal, "warren_publish_confirms_total")
        side.pause(field, False)

        def published(share):
            await_true(lambda: counter(internal, "warren_publish_confirms_total") - before >= share * WAITING, 120,
                       "publishing of what waits", every=0.01)
            return time.monotonic(), counter(internal, "warren_publish_confirms_total")

        (begun, first), (ended, last) = published(0.1), published(0.9)
        return {"per_second": (last - first) / (ended - begun)}


def tenants(side, field, options):
    with waiting(side, field, "api,worker,keeper") as (api, _):
        side.pause(field, False)
        of_many = "tenant = 'bench'"
        await_true(lambda: field.sql.value(f"select 1 from jobs where {of_many} and state = 5 limit 1") == "1", 30, "the first end")
        token = side.token(0, tenant="small")
        waits = []
        while field.sql.value(f"select 1 from jobs where {of_many} and state <> 5 limit 1") == "1":
            headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
            request = urllib.request.Request(api.url, b"{}", headers, method="POST")
            with urllib.request.urlopen(request, timeout=30) as answer:
                single = json.load(answer)["id"]
            ask = f"select started_at - due_at from jobs where id = '{single}' and started_at is not null"
            await_true(lambda: field.sql.value(ask), 60, "the start of a single job")
            waits.append(int(field.sql.value(ask)) / 1e6)
        if len(waits) < 5:
            raise Failure(f"only {len(waits)} single jobs started beside the many")
        seconds = int(field.sql.value(f"select max(ended_at) - min(started_at) from jobs where {of_many}")) / 1e6
        window = side.window * seconds / WAITING
        return {"waits_per_window": max(waits) / window, "longest_wait_ms": max(waits) * 1000, "window_ms": window * 1000,
                "singles": len(waits)}


@contextlib.contextmanager
def silence(port):
    """A server that takes connections and never says a word; answers those it has taken."""
    with socket.create_server(("127.0.0.1", port), backlog=1024) as server:
        taken = []

        def take():
            with contextlib.suppress(OSError):
                while True:
                    taken.append(server.accept()[0])

        threading.Thread(target=take, daemon=True).start()
        try:
            yield taken
        finally:
            server.shutdown(socket.SHUT_RDWR)
            for connection in taken:
                connection.close()


def hanging(side, field, options):
    with contextlib.ExitStack() as stack:
        calls = []
        with side.api(field) as api:
            wrk(api, field.logs, count=options.jobs)
            if side.silent:
                calls = stack.enter_context(silence(side.silent))
                batch(api, [{"kind": side.HANGING, "data": {}}] * 5000)
            await_true(lambda: side.unpublished(field) == 0, 120, "publishing of the prefill")
        field.sql.value("vacuum analyze")
        field.sql.value("checkpoint")
        mine = f"kind = '{side.KIND}'"
        jobs = int(field.sql.value(f"select count(*) from jobs where {mine}"))
        begun = time.monotonic()
        worker = side.worker(field)
        stack.callback(worker.stop)
        await_true(lambda: worker.check() or field.sql.value(f"select 1 from jobs where {mine} and state <> 5 limit 1") != "1",
                   600, "success of every job", every=0.1)
        rate = jobs / (time.monotonic() - begun)
        if side.silent and not calls:
            raise Failure("the destination that hangs was never called")
        return {"per_second": rate, "jobs": jobs, "hanging_calls": len(calls)}
