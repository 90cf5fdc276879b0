"""The sides of the benchmark: Warren, and the peers it is measured against.

Every side can start its API, start its worker, and say in SQL what it has left to do. All that the
benchmark knows of Warren's own interface (configuration, roles, tokens, tables) is in `Warren`.
"""

import base64
import contextlib
import hashlib
import hmac
import json
import sqlite3
import time

import elsewhere
import fleet
import machine
import shapes
from machine import Failure, Process, await_true, free_port, http_status


class Api:
    """A started API: where to post, and what every request carries."""

    def __init__(self, process, url, tokens=(), with_key=False):
        self.process, self.url, self.tokens, self.with_key = process, url, tokens, with_key


class Warren:
    """`warren serve` with one kind, `demo.noop`, whose handler does nothing."""

    KIND = "demo.noop"
    HANGING = "bench.hanging"
    FOREIGN = "bench.foreign"
    LATER = "bench.later"
    SECRET = "a-secret-of-the-benchmark-which-guards-nothing"
    ISSUER = "bench"
    SCOPE = "jobs:submit jobs:read"
    # A row waits to be published while it has a due time; 5 is the state `succeeded`.
    UNPUBLISHED = "select count(*) from jobs where outlet is not null"
    SUCCEEDED = "select count(*) from jobs where state = 5"
    UNFINISHED = "select 1 from jobs where state <> 5 limit 1"

    def __init__(self, name, store="postgres", tokens=1, key=True, window=10_000_000, ended=0, hanging=False):
        self.name, self.store, self.tokens, self.with_key = name, store, tokens, key
        self.window, self.ended = window, ended
        # The port of a destination that hangs; no hub of one run meets that of another.
        self.silent = free_port() if hanging else None
        # That of a service that ends its runs later.
        self.later = free_port()
        self.binary = None

    def config(self, field, ports):
        public, admin, internal = ports
        store = field.database_url if self.store == "postgres" else f"sqlite://{field.folder}/warren.db"
        hanging = f"""
[[kind]]
name = "{self.HANGING}"
worker = "http"
timeout = "2s"
[kind.http]
url = "http://127.0.0.1:{self.silent}/"
"""
        # The window and the backlog limits are out of the way: a drain prefills more than either.
        return f"""
[broker]
url = "{field.amqp_url}"
{self.more(field, "broker")}
[store]
url = "{store}"
[listen]
{self.more(field, "listen")}
public = "127.0.0.1:{public}"
admin = "127.0.0.1:{admin}"
internal = "127.0.0.1:{internal}"
[log]
level = "warn"
[limits]
backlog_total = 10000000
backlog_per_tenant = 10000000
{self.more(field)}
[auth]
issuer = "{self.ISSUER}"
[[auth.keys]]
id = "bench"
algorithm = "HS256"
secret = "{self.SECRET}"
[[kind]]
name = "{self.KIND}"
worker = "rust"
window = {self.window}
concurrency = 512
prefetch = 1024
[[kind]]
name = "{self.FOREIGN}"
worker = "amqp"
window = {self.window}
[[kind]]
name = "{self.LATER}"
worker = "http"
window = {self.window}
concurrency = 64
prefetch = 128
[kind.http]
url = "http://127.0.0.1:{self.later}/"
completion = "async"
{hanging if self.silent else ""}"""

    def more(self, field, section=None):
        """What else its configuration says, in a section that others have too, or in sections of its own."""
        return ""

    def token(self, number, tenant="bench"):
        """An hour's token, made here so that a run needs nothing but the configuration above."""
        def part(data):
            return base64.urlsafe_b64encode(data).rstrip(b"=")

        claims = {"iss": self.ISSUER, "aud": "warren", "exp": int(time.time()) + 3600, "sub": "bench",
                  "tenant": tenant, "scope": self.SCOPE, "jti": str(number)}
        header = {"alg": "HS256", "typ": "JWT", "kid": "bench"}
        signed = part(json.dumps(header).encode()) + b"." + part(json.dumps(claims).encode())
        mac = hmac.new(self.SECRET.encode(), signed, hashlib.sha256).digest()
        return (signed + b"." + part(mac)).decode()

    def start(self, field, roles):
        """Starts the hub; answers its process and URLs, without waiting."""
        ports = [free_port() for _ in range(3)]
        path = field.folder / f"warren-{roles.replace(',', '-')}.toml"
        path.write_text(self.config(field, ports))
        argv = [self.binary, "serve", "--config", path, "--role", roles]
        process = Process(argv, f"{field.logs}.warren.log", cwd=field.folder)
        return process, *(f"http://127.0.0.1:{port}" for port in (ports[0], ports[2]))

    def await_ready(self, process, url, every=0.05):
        await_true(lambda: process.check() or http_status(f"{url}/ready") == 200, 30, f"200 from {url}/ready", every)

    @contextlib.contextmanager
    def hub(self, field, roles):
        """A ready hub: its API, and the URL of its internal listener."""
        process, public, internal = self.start(field, roles)
        try:
            self.await_ready(process, public)
            tokens = [self.token(n) for n in range(self.tokens)]
            yield Api(process, f"{public}/v1/kinds/{self.KIND}/jobs", tokens, self.with_key), internal
        finally:
            process.stop()

    @contextlib.contextmanager
    def api(self, field, workers=False):
        with self.hub(field, "api,worker,keeper" if workers else "api") as (api, _):
            yield api

    def pause(self, field, paused):
        """As an operator's `warren kinds pause` or `resume` would, seen by the hub at its next look."""
        field.sql.value(f"insert into pauses (kind, at, paused, actor, note) values ('{self.KIND}', 0, {str(paused).lower()}, 'bench', '')")

    def age(self, field):
        """Puts ended jobs of the past two days into the tables, as a hub that has been running would have left them."""
        if not self.ended:
            return
        field.sql.value(f"""
            create temporary table past as select
                (lpad(to_hex(at / 1000), 12, '0') || '7' || substr(md5(n::text), 1, 3) || '8' || substr(md5(n::text), 4, 15))::uuid as id,
                n, at from (select n, (extract(epoch from now()) * 1000000)::bigint - n * (172800000000 / {self.ended}) as at
                            from generate_series(1, {self.ended}) n) times""")
        field.sql.value(f"""
            insert into jobs (id, kind, tenant, version, state, epoch, attempt, spent, starts, interrupted, lease, due_at, deadline,
                              started_at, ended_at, updated_at)
            select id, '{self.KIND}', 'bench', 4, 5, 1, 1, 0, 1, 0, 1, at, at + 86400000000, at + 5000, at + 9000, at + 9000 from past""")
        field.sql.value("insert into job_payloads (id, subject, content_type, body) "
                        "select id, 'bench', 'application/json', convert_to(repeat('x', 1024), 'utf8') from past")
        field.sql.value("insert into idempotency_keys (hash, job_id, fingerprint, created_at) "
                        "select sha256(n::text::bytea), id, sha256('x'), at from past")
        field.sql.value("drop table past")

    def worker(self, field):
        return self.start(field, "worker")[0]

    def value(self, field, query):
        if self.store == "postgres":
            return int(field.sql.value(query) or 0)
        with contextlib.closing(sqlite3.connect(f"file:{field.folder}/warren.db?mode=ro", uri=True, timeout=10)) as db:
            return (db.execute(query).fetchone() or [0])[0]

    def unpublished(self, field):
        return self.value(field, self.UNPUBLISHED)

    def succeeded(self, field):
        return self.value(field, self.SUCCEEDED)

    def unfinished(self, field):
        return self.value(field, self.UNFINISHED)


class Devices(Warren):
    """A hub that serves devices: `hot` of them have a queue, `cold` more are in its store."""

    SCOPE = "devices:write devices:read messages:send messages:broadcast messages:read"

    def __init__(self, name, hot=0, cold=0):
        super().__init__(name)
        self.hot, self.cold = hot, cold

    def more(self, field, section=None):
        return {
            # Where it sees whether the queues of devices would have limits: it lets none connect before.
            "broker": f'management_url = "{field.management}"',
            # Each device is a connection.
            "listen": "max_connections = 20000",
            # The pace of declares is out of the way: it is there to spare a cluster.
            None: "[devices]\nenabled = true\ndeclares_per_second = 2000",
        }[section]

    def freeze(self, field):
        """Puts devices into the store that have no queue and never had one, as if they had been registered long ago."""
        if not self.cold:
            return
        field.sql.value(f"""
            insert into devices (tenant, id, user_id, groups, labels, tier, created_at, updated_at)
            select 'bench', 'cold-' || n, 'cold-user-' || n / 2, '["all"]', '{{"os":"ios"}}', 0, 0, 0 from generate_series(1, {self.cold}) n""")
        field.sql.value("insert into device_states (device, tenant, seq, backlog, backlog_bytes, load, fence, turn, missed, missed_told, gap_reason) "
                        "select number, tenant, 0, 0, 0, 0, 0, 0, 0, 0, 0 from devices")
        field.sql.value("insert into device_tags (tenant, tag, device) select tenant, tag, number from devices, lateral "
                        "(values ('*'), ('u:' || user_id), ('g:all'), ('l:os=ios')) tags (tag)")
        field.sql.value("vacuum analyze")
        field.sql.value("checkpoint")


class Peer:
    """A service a team would write without Warren: `POST /jobs`, one table, one queue."""

    def __init__(self, name, build, api, worker, cwd=None):
        self.name, self.build, self.cwd = name, build, cwd
        self.api_argv, self.worker_argv = api, worker

    def process(self, argv, field, role, port=0):
        env = {"AMQP_URL": field.amqp_url, "DATABASE_URL": field.database_url, "PORT": str(port)}
        return Process([str(a).format(port=port) for a in argv], f"{field.logs}.{role}.log", env, self.cwd)

    @contextlib.contextmanager
    def api(self, field, workers=False):
        field.sql.value((machine.BENCH / "peers/schema.sql").read_text().rstrip().rstrip(";"))
        port = free_port()
        url = f"http://127.0.0.1:{port}/jobs"
        process = self.process(self.api_argv, field, "api", port)
        worker = None
        try:
            post = {"method": "POST", "data": b"{}", "headers": {"content-type": "application/json"}}
            await_true(lambda: process.check() or http_status(url, **post) == 202, 30, f"202 from {url}")
            worker = self.worker(field) if workers else None
            yield Api(process, url)
        finally:
            if worker:
                worker.stop()
            process.stop()

    def worker(self, field):
        return self.process(self.worker_argv, field, "worker")

    def unpublished(self, field):
        """Nothing: a peer answers after the confirm."""
        return 0

    def succeeded(self, field):
        return int(field.sql.value("select count(*) from jobs where state = 'succeeded'"))

    def unfinished(self, field):
        return int(field.sql.value("select 1 from jobs where state <> 'succeeded' limit 1") or 0)


AXUM = machine.TARGET / "release" / "peer-axum"

SIDES = {
    side.name: side
    for side in (
        Warren("warren"),
        Warren("warren-sqlite", store="sqlite"),
        Warren("warren-nokey", key=False),
        # A window as it is by default, a past, and a destination that hangs: see crowds.py.
        Warren("warren-window", window=10_000),
        Warren("warren-aged", ended=1_000_000),
        Warren("warren-hanging", hanging=True),
        # More tokens, in turn, than the hub remembers: each request costs a signature check.
        Warren("warren-manytokens", tokens=20_000),
        Peer("axum", machine.build_axum, [AXUM], [AXUM, "worker"]),
        Peer("celery", machine.build_celery,
             [machine.VENV / "bin/uvicorn", "app:api", "--port", "{port}", "--workers", "2", "--no-access-log"],
             [machine.VENV / "bin/celery", "-A", "app.tasks", "worker", "-Q", "peer.celery", "-c", "2", "-l", "WARNING"],
             machine.BENCH / "peers/celery"),
        elsewhere.Plain(),
        # So many devices that have a queue, and that have none: see fleet.py.
        Devices("devices"),
        fleet.Raw(),
        Devices("devices-1k", hot=1_000),
        Devices("devices-10k", hot=10_000),
        Devices("devices-1m", hot=1_000, cold=1_000_000),
        shapes.Declarer("lanes", "lanes"),
        shapes.Declarer("lanes-raw", "raw"),
        Peer("node", machine.build_node, ["node", "server.mjs"], ["node", "worker.mjs"], machine.NODE),
    )
}


def build(names, warren):
    """Builds what the named sides need, each once; `warren` is a binary to use as it is."""
    # Who serves devices is built with what loads it.
    built = machine.build_devices() if any(isinstance(SIDES[name], Devices) for name in names) else None
    for name in names:
        side = SIDES[name]
        if not isinstance(side, Warren):
            side.build()
        elif side.binary is None:
            binary = warren or built or machine.build_warren()
            if not binary.exists():
                raise Failure(f"there is no binary at {binary}")
            for other in SIDES.values():
                if hasattr(other, "binary"):
                    other.binary = binary
