"""What a Python team would write: FastAPI and Celery on RabbitMQ, rows in Postgres.

`POST /jobs` stores one row, sends one confirmed, persistent task and answers 202.

    uvicorn app:api --port 7002 --workers 2
    celery -A app.tasks worker -Q peer.celery -c 2
"""

import json
import os
import uuid
from contextlib import asynccontextmanager

import asyncpg
import psycopg
from celery import Celery
from fastapi import FastAPI, Request, Response
from starlette.concurrency import run_in_threadpool

QUEUE = "peer.celery"

tasks = Celery(
    "peer",
    broker=os.environ["AMQP_URL"],
    broker_transport_options={"confirm_publish": True},
)
_connection = None


@tasks.task(name="peer.noop", bind=True, ignore_result=True, acks_late=True)
def noop(self, payload):
    """One row update per job, on one connection per worker process; Celery acks after it."""
    global _connection
    if _connection is None:
        _connection = psycopg.connect(os.environ["DATABASE_URL"], autocommit=True)
    _connection.execute("update jobs set state = 'succeeded' where id = %s", (self.request.id,))


@asynccontextmanager
async def lifespan(api):
    api.state.pool = await asyncpg.create_pool(os.environ["DATABASE_URL"], min_size=5, max_size=20)
    yield
    await api.state.pool.close()


api = FastAPI(lifespan=lifespan)


def send(payload, job):
    noop.apply_async((payload,), task_id=str(job), queue=QUEUE)


@api.post("/jobs", status_code=202)
async def accept(request: Request, response: Response):
    payload = await request.json()
    job = uuid.uuid4()
    await api.state.pool.execute(
        "insert into jobs (id, kind, payload) values ($1, $2, $3)", job, "noop", json.dumps(payload)
    )
    await run_in_threadpool(send, payload, job)
    response.headers["location"] = f"/jobs/{job}"
    return {"id": str(job)}
