"""What is measured, and how: each function runs one side once and answers its figures.

accept    wrk, 64 connections, 1 KiB of JSON, closed loop. 2 s to warm up, then the measured part.
          Warren answers when the row is committed and publishes beside that, so two rates are
          kept: `answered_per_second` is what wrk counted; `per_second`, by which sides are compared,
          divides the same 202s by the time until the broker had confirmed the last of them. For
          the peers, who answer after the confirm, both are the same.
latency   k6, an open loop: a constant rate of requests, whatever the answers take. Workers on.
          `never_sent` counts requests the generator had no time for: with many, read no p99.
drain     the side's own API takes the jobs, workers off; when all are in the queue the API is
          stopped and the worker starts alone. The clock runs from the worker's exec until no row
          is left that has not succeeded, looked at every 0.1 s.
schedule  jobs for later, while requests come at the constant rate of `latency`: 10,000 due in one second, and 10,000
          more spread evenly over the minute after. How late each started, by the database: `second_*` and
          `minute_*`. Workers on. `schedule-long`: 100,000 over ten minutes.
start     the topology and schema are there from a first start; the clock runs from exec until
          `/ready` says 200, looked at every 2 ms. Resident memory after 10 s without a request.

What stands behind or beside a job (`relay`, `tenants`, `hanging`) is in crowds.py; what is done elsewhere (`foreign`, `later`) in elsewhere.py,
what is read and made of a topology (`topology-plan`, `topology-apply`, `device-declares`) in shapes.py, what devices cost (`devices-*`) in fleet.py.
"""

import dataclasses
import datetime
import re
import time
import typing

import crowds
import elsewhere
import fleet
import shapes
from load import RATE, batch, k6, percentile, wrk
from machine import Failure, await_true

WARM_UP = 2
PUBLISHED_WITHIN = 120


@dataclasses.dataclass
class Options:
    """What the command line says of the runs."""

    seconds: int
    jobs: int


def accept(side, field, options, workers=False):
    with side.api(field, workers) as api:
        wrk(api, field.logs.with_name(f"{field.logs.name}.warm-up"), WARM_UP, key="w")
        await_true(lambda: side.unpublished(field) == 0, PUBLISHED_WITHIN, "publishing of the warm-up")
        begun = time.monotonic()
        out = wrk(api, field.logs, options.seconds)
        at_end = side.unpublished(field)
        await_true(lambda: side.unpublished(field) == 0, PUBLISHED_WITHIN, "publishing of what was accepted")
        elapsed = time.monotonic() - begun
        answered = int(re.search(r"(\d+) requests in", out)[1])
        rate = float(re.search(r"Requests/sec:\s+([\d.]+)", out)[1])
        figures = {
            "per_second": answered / elapsed if at_end else rate,
            "answered_per_second": rate,
            "unpublished_at_end": at_end,
            "p50_ms": percentile(out, 50),
            "p99_ms": percentile(out, 99),
        }
        if workers:
            figures["succeeded_at_end"] = side.succeeded(field)
        return figures


def accept_with_workers(side, field, options):
    return accept(side, field, options, workers=True)


def latency(side, field, options):
    with side.api(field, workers=True) as api:
        metrics = k6(api, field.logs, options.seconds, climb=6)
    values = metrics["http_req_duration{scenario:constant}"]["values"]
    never_sent = metrics.get("dropped_iterations", {"values": {"count": 0}})["values"]["count"]
    return {"p99_ms": values["p(99)"], "p50_ms": values["med"], "max_ms": values["max"], "never_sent": never_sent}


def drain(side, field, options):
    # Celery's rate is steady and an order of magnitude lower: a fifth of the jobs tells it.
    count = options.jobs // 5 if side.name == "celery" else options.jobs
    with side.api(field) as api:
        wrk(api, field.logs, count=count)
        await_true(lambda: side.unpublished(field) == 0, PUBLISHED_WITHIN, "publishing of the prefill")
    jobs = int(field.sql.value("select count(*) from jobs"))
    if jobs < count:
        raise Failure(f"{count} requests were answered 202, but there are {jobs} rows")
    # The prefill leaves dirty pages and dead rows; no side should drain beside their cleaning.
    field.sql.value("vacuum analyze")
    field.sql.value("checkpoint")
    begun = time.monotonic()
    worker = side.worker(field)
    try:
        await_true(lambda: worker.check() or not side.unfinished(field), 600, "success of every job", every=0.1)
        elapsed = time.monotonic() - begun
    finally:
        worker.stop()
    return {"per_second": jobs / elapsed, "jobs": jobs, "seconds": elapsed}


LATER = "from jobs j join job_payloads p using (id) where convert_from(p.body, 'utf8') = '{\"bench\": \"later\"}'"


def submit_for_later(side, api, times):
    """Jobs, one for each time, in seconds since 1970."""
    batch(api, [{"kind": side.KIND, "data": {"bench": "later"}, "run_at": datetime.datetime.fromtimestamp(t, datetime.UTC).isoformat()}
                for t in times])


def lateness(field, name, first, last):
    """How long after their time the jobs due from `first` to `last` started."""
    shares = {"p99_ms": 0.99, "p50_ms": 0.5}
    return {f"{name}_{word}": float(field.sql.value(
        f"select percentile_cont({share}) within group (order by (started_at - due_at) / 1000.0) {LATER} "
        f"and due_at between {first} * 1000000::bigint and {last} * 1000000::bigint")) for word, share in shares.items()}


def schedule(side, field, options):
    with side.api(field, workers=True) as api:
        due = int(time.time()) + 15
        submit_for_later(side, api, [due + n / 10_000 for n in range(10_000)])
        submit_for_later(side, api, [due + 10 + n * 60 / 10_000 for n in range(10_000)])
        k6(api, field.logs, due + 75 - int(time.time()), climb=5)
        await_true(lambda: field.sql.value(f"select count(*) {LATER} and state = 5") == "20000", 120, "the end of all jobs for later")
        return lateness(field, "minute", due + 10, due + 71) | lateness(field, "second", due, due + 1)


def schedule_long(side, field, options):
    count, over = 100_000, 600
    with side.api(field, workers=True) as api:
        due = int(time.time()) + 30
        submit_for_later(side, api, [due + n * over / count for n in range(count)])
        k6(api, field.logs, due + over + 5 - int(time.time()), climb=5)
        await_true(lambda: field.sql.value(f"select count(*) {LATER} and state = 5") == str(count), 120, "the end of all jobs for later")
        return lateness(field, "minutes", due, due + over)


def start(side, field, options):
    with side.api(field, workers=True):
        pass
    begun = time.monotonic()
    process, public, _ = side.start(field, "api,worker,keeper")
    try:
        side.await_ready(process, public, every=0.002)
        elapsed = time.monotonic() - begun
        time.sleep(10)
        return {"ready_ms": elapsed * 1000, "resident_mib": process.resident_mib()}
    finally:
        process.stop()


@dataclasses.dataclass
class Scenario:
    """One comparison: the first side against each of the others."""

    title: str
    measure: typing.Callable
    sides: list
    metric: str
    higher_is_better: bool = True
    # What the project asks of itself: times better than a side; or `under`, a ceiling in absolute figures.
    wanted: dict = dataclasses.field(default_factory=dict)
    under: dict = dataclasses.field(default_factory=dict)
    # Whether it runs when no scenario is named.
    usual: bool = True


SCENARIOS = {
    "accept-postgres": Scenario("202 per second, PostgreSQL, token and key, workers off", accept,
                                ["warren", "axum", "celery"], "per_second", wanted={"axum": 3.0, "celery": 13.0}),
    "accept-costs": Scenario("202 per second, PostgreSQL, without key, and with more tokens than the hub remembers", accept,
                             ["warren", "warren-nokey", "warren-manytokens"], "per_second"),
    "accept-sqlite": Scenario("202 per second, SQLite against the peer on PostgreSQL, workers off", accept,
                              ["warren-sqlite", "axum"], "per_second", wanted={"axum": 2.0}),
    "accept-workers": Scenario("202 per second, PostgreSQL, no-op workers on", accept_with_workers,
                               ["warren", "axum", "celery"], "per_second", wanted={"axum": 2.0}),
    "latency": Scenario(f"p99 at {RATE} requests/s constant, workers on", latency,
                        ["warren", "axum"], "p99_ms", higher_is_better=False, wanted={"axum": 1.0}),
    "drain": Scenario("jobs per second, own prefilled jobs, no-op handler, alone", drain,
                      ["warren", "axum", "celery"], "per_second", wanted={"axum": 2.5}),
    "schedule": Scenario(f"how late jobs for later start, beside {RATE} requests/s constant", schedule,
                         ["warren"], "minute_p99_ms", higher_is_better=False, under={"minute_p99_ms": 1000}),
    "schedule-long": Scenario("the same, 100,000 over ten minutes; only when named", schedule_long,
                              ["warren"], "minutes_p99_ms", higher_is_better=False, under={"minutes_p99_ms": 1000}, usual=False),
    "relay": Scenario("jobs published per second out of the store, with 1,000,000 ended rows behind them and without", crowds.relay,
                      ["warren-aged", "warren"], "per_second", wanted={"warren": 0.8}),
    "tenants": Scenario("how long a tenant's single jobs wait behind 100,000 of another, against the drain of a window", crowds.tenants,
                        ["warren-window"], "waits_per_window", higher_is_better=False, under={"waits_per_window": 1}),
    "hanging": Scenario("drain of a healthy kind beside 5,000 jobs for a destination that never answers, and without", crowds.hanging,
                        ["warren-hanging", "warren"], "per_second", wanted={"warren": 0.9}),
    "foreign": Scenario("jobs per second of a worker in Node that reports each with a confirmed message, with Warren and without", elsewhere.foreign,
                        ["warren", "node-plain"], "per_second", wanted={"node-plain": 0.8}),
    "later": Scenario("ends of called runs per second over HTTP", elsewhere.later,
                      ["warren"], "per_second", under={}),
    "topology-plan": Scenario("`warren topology plan` over 10,000 queues of somebody else's", shapes.plan,
                              ["warren"], "seconds", higher_is_better=False, under={"seconds": 5}),
    "topology-apply": Scenario("1,000 queues and their bindings declared, against 16 plain connections", shapes.apply,
                               ["warren", "node-plain"], "per_second", wanted={"node-plain": 0.8}),
    "device-declares": Scenario("devices per second that get their queue and bindings, against 16 plain connections", shapes.declares,
                                ["lanes", "lanes-raw"], "per_second", wanted={"lanes-raw": 0.8}),
    "devices-idle": Scenario("5,000 connected devices with nothing to get: memory of the hub for each, its idle CPU, and all of them back after a cut", fleet.idle,
                             ["devices"], "kib_each", higher_is_better=False,
                             under={"kib_each": 16, "cpu_percent": 10, "back_seconds": 10, "redeclared": 1}),
    "devices-latency": Scenario(f"from a request to the frame on the socket of a device, {fleet.RATE} messages/s constant to {fleet.SENT_TO} devices, and of the broker alone",
                                fleet.latency, ["devices", "devices-raw"], "p99_ms", higher_is_better=False, under={"p50_ms": 5, "p99_ms": 20}),
    "devices-room": Scenario(f"from a publish by one of {fleet.IN_ROOM} devices of a room to the frame on the socket of each of them, {fleet.ROOM_RATE} messages/s constant",
                             fleet.room, ["devices"], "p99_ms", higher_is_better=False, under={"p99_ms": 50}),
    "devices-broadcast": Scenario("one message to 5,000 connected devices until all acks are stored, against a fanout to as many queues until its confirm",
                                  fleet.broadcast, ["devices", "devices-raw"], "seconds", higher_is_better=False, wanted={"devices-raw": 0.33}),
    "devices-sizes": Scenario("1,000 and 10,000 devices with queues, and 1,000 beside 1,000,000 cold ones: declares, start, memory of hub and broker", fleet.sizes,
                              ["devices-1k", "devices-10k", "devices-1m"], "declared_per_second"),
    "start": Scenario("from exec to ready, and memory when idle", start,
                      ["warren"], "ready_ms", higher_is_better=False, under={"ready_ms": 1000, "resident_mib": 40}),
}
