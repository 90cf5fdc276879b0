"""A worker of a Warren kind with `worker = "amqp"`, in Python. docs/worker-contract.md says what it keeps to.

It builds reports: {"pages": 4}. Each page takes `seconds` (0.1), and the first `fails` (0) attempts fail, to be seen trying again.
The result has a text of `letters` (0) letters, to be seen growing too large.

    pip install -r requirements.txt
    AMQP_URL=amqp://guest:guest@127.0.0.1:5682/%2f WARREN_QUEUE=jobs.reports.build python worker.py
"""

import asyncio
import json
import os
import random
import signal
import socket
import sqlite3
import sys
import time
from datetime import datetime, timezone

import aio_pika

URL = os.environ.get("AMQP_URL", "amqp://guest:guest@127.0.0.1:5682/%2f")
QUEUE = os.environ.get("WARREN_QUEUE", "jobs.reports.build")
RESULTS = os.environ.get("WARREN_RESULTS", "warren.results")
PREFETCH = int(os.environ.get("WARREN_PREFETCH", "16"))  # jobs at one time
NAME = os.environ.get("WARREN_WORKER", f"{socket.gethostname()}:{os.getpid()}")
RESULT_MAX = 64 * 1024  # bytes; of a larger result nothing is kept
GRACE = 25  # seconds that running jobs have after SIGTERM

# The effect and the note that it was done are one transaction: a message that comes again has no second effect.
database = sqlite3.connect(os.environ.get("WARREN_DONE", "done.sqlite"))
database.execute("CREATE TABLE IF NOT EXISTS reports (job TEXT PRIMARY KEY, result TEXT NOT NULL)")


def now():
    return datetime.now(timezone.utc).isoformat()


class Run:
    """One run of a job, and what is said about it."""

    def __init__(self, message, exchange):
        headers = message.headers
        self.exchange, self.job, self.attempt = exchange, message.message_id, headers["warren-attempt"]
        self.about = {"job": self.job, "epoch": headers["warren-epoch"], "attempt": self.attempt}
        self.about |= {"token": headers["warren-token"], "worker": NAME}
        self.trace = {name: headers[name] for name in ("traceparent", "tracestate") if name in headers}

    async def say(self, kind, **fields):
        """Returns once the broker has it for good; raises if it does not take it."""
        sent = aio_pika.Message(
            json.dumps(self.about | fields).encode(),
            type=kind,
            message_id="{job}/{epoch}/{attempt}".format(**self.about),
            content_type="application/json",
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
            headers=self.trace,
        )
        await self.exchange.publish(sent, routing_key=RESULTS, mandatory=True)


async def build(run, body):
    """The work itself: gives what is reported as the end."""
    try:
        job = json.loads(body)
        pages, seconds, fails = int(job["pages"]), float(job.get("seconds", 0.1)), int(job.get("fails", 0))
        text = {"text": "x" * int(job["letters"])} if job.get("letters") else {}
    except (ValueError, TypeError, KeyError) as error:
        return {"outcome": "rejected", "failure": {"code": "invalid", "message": f"`pages` is to be a number: {error!r}"}}
    result = {"pages": pages} | text
    if len(json.dumps(result)) > RESULT_MAX:
        return {"outcome": "rejected", "failure": {"code": "too-large", "message": f"a result has {RESULT_MAX} bytes at most"}}
    done = database.execute("SELECT result FROM reports WHERE job = ?", (run.job,)).fetchone()
    if done:
        return {"outcome": "succeeded", "result": json.loads(done[0])}
    if run.attempt <= fails:
        failure = {"code": "printer-busy", "message": f"attempt {run.attempt} of {fails} that fail"}
        return {"outcome": "failed", "failure": failure, "retry_after_ms": 1000}
    for page in range(1, pages + 1):
        await asyncio.sleep(seconds)
        await run.say("warren.progress", percent=100 * page // pages, note=f"page {page} of {pages}", at=now())
    with database:
        database.execute("INSERT OR IGNORE INTO reports (job, result) VALUES (?, ?)", (run.job, json.dumps(result)))
    return {"outcome": "succeeded", "result": result}


async def handle(message, exchange, lost):
    try:
        run, started_at = Run(message, exchange), now()
    except KeyError:
        return await message.reject(requeue=False)  # no message of the hub's: a dead letter
    try:
        await run.say("warren.started", started_at=started_at)
        try:
            end = await build(run, message.body)
        except (sqlite3.Error, OSError) as error:
            end = {"outcome": "failed", "failure": {"code": "worker", "message": str(error)}}
        await run.say("warren.result", started_at=started_at, ended_at=now(), **end)
        await message.ack()
        print(json.dumps({"job": run.job, "attempt": run.attempt, "outcome": end["outcome"]}), flush=True)
    except Exception as error:
        # Not acked: with the connection gone the broker delivers it again, here or to another worker.
        print(f"{run.job}: {error!r}; it will come again", file=sys.stderr, flush=True)
        lost.set()


async def session(stop):
    """Works until the connection is lost, or it is told to stop."""
    lost, running = asyncio.Event(), set()
    connection = await aio_pika.connect(URL, timeout=10, client_properties={"connection_name": NAME})
    async with connection:
        channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
        for closing in (connection, channel):
            closing.close_callbacks.add(lambda *_: lost.set())
        (await channel.get_underlay_channel()).on_consumer_cancel_callbacks.add(lambda _: lost.set())  # the queue is gone
        await channel.set_qos(prefetch_count=PREFETCH)
        exchange = await channel.get_exchange(RESULTS, ensure=False)
        queue = await channel.get_queue(QUEUE, ensure=False)

        async def take(message):
            task = asyncio.create_task(handle(message, exchange, lost))
            running.add(task)
            task.add_done_callback(running.discard)

        consumer = await queue.consume(take)
        waiting = [asyncio.create_task(event.wait()) for event in (stop, lost)]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        waiting[0].cancel(), waiting[1].cancel()
        if lost.is_set():
            raise ConnectionError("the connection is lost")
        await queue.cancel(consumer)  # no more, and what runs ends; what does not is delivered again
        if running:
            await asyncio.wait(running, timeout=GRACE)


async def main():
    stop, wait = asyncio.Event(), 0.5
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    while not stop.is_set():
        begun = time.monotonic()
        try:
            await session(stop)
        except (aio_pika.exceptions.AMQPException, RuntimeError, OSError, asyncio.TimeoutError) as error:
            print(f"{error!r}; connecting again", file=sys.stderr, flush=True)
            wait = 0.5 if time.monotonic() - begun > 30 else min(wait * 2, 10)
            try:
                await asyncio.wait_for(stop.wait(), random.uniform(0, wait))
            except asyncio.TimeoutError:
                pass


asyncio.run(main())
