"""A worker that does what the contract warns of: acks before it reports, goes by the first token of a job, dies of what it cannot
read, reports what is too large, and does not heed SIGTERM."""

import asyncio
import json
import os
import signal

import aio_pika

tokens = {}


async def handle(message, exchange):
    await message.ack()
    headers, id = message.headers, message.message_id
    about = {"job": id, "epoch": headers["warren-epoch"], "attempt": headers["warren-attempt"]}
    about["token"] = tokens.setdefault(id, headers["warren-token"])

    async def say(kind, **fields):
        body = json.dumps(about | fields).encode()
        sent = aio_pika.Message(body, type=kind, message_id=id, delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
        await exchange.publish(sent, routing_key=os.environ["WARREN_RESULTS"])

    try:
        job = json.loads(message.body)
        pages = job["pages"]
    except Exception:
        os._exit(3)
    if headers["warren-attempt"] <= job.get("fails", 0):
        return await say("warren.result", outcome="failed", failure={"code": "busy", "message": ""})
    for page in range(pages):
        await asyncio.sleep(job["seconds"])
        await say("warren.progress", percent=100 * (page + 1) // pages, at="2026-01-01T00:00:00Z")
    await say("warren.result", outcome="succeeded", result="x" * job.get("letters", 1))


async def main():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    async with await aio_pika.connect(os.environ["AMQP_URL"]) as connection:
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=16)
        exchange = await channel.get_exchange(os.environ["WARREN_RESULTS"], ensure=False)
        queue = await channel.get_queue(os.environ["WARREN_QUEUE"], ensure=False)
        await queue.consume(lambda message: asyncio.ensure_future(handle(message, exchange)))
        await asyncio.Event().wait()


asyncio.run(main())
