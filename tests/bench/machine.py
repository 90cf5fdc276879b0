"""What the benchmark needs on this machine: programs, builds, and servers of its own.

Nothing here touches a broker or a database that was there before: both servers are private, in a
temporary folder, on free ports of 127.0.0.1, and gone at the end. They run with their packages'
defaults (`fsync` on); every side meets the same two.
"""

import base64
import contextlib
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

BENCH = pathlib.Path(__file__).resolve().parent
ROOT = BENCH.parent.parent
OUT = BENCH / "out"
TARGET = OUT / "target"
VENV = OUT / "venv"
NODE = OUT / "node"
# Where cargo puts what is built of this workspace.
RELEASE = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"


class Failure(Exception):
    """Something that ends the benchmark; the text says what to do."""


def say(text):
    """Progress goes to stderr: stdout is for the figures."""
    print(text, file=sys.stderr, flush=True)


def run(argv, log=None, **options):
    """Runs a command to its end; its output goes to `log`, and into the failure."""
    done = subprocess.run(
        [str(a) for a in argv], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options
    )
    if log:
        pathlib.Path(log).write_text(done.stdout)
    if done.returncode:
        raise Failure(f"`{' '.join(str(a) for a in argv)}` failed:\n{done.stdout[-2000:]}")
    return done.stdout


def await_true(condition, seconds, what, every=0.05):
    """Polls `condition` until it holds; says what did not happen when time is up."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise Failure(f"{what} did not happen within {seconds} s")
        time.sleep(every)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def http_status(url, **options):
    """Status of one request, or None when nobody answers."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, **options), timeout=5) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return None


class Process:
    """A child in its own process group, logging to a file, ended with everything it started."""

    def __init__(self, argv, log, env=None, cwd=None):
        self.log = pathlib.Path(log)
        with open(self.log, "ab") as out:
            self.child = subprocess.Popen(
                [str(a) for a in argv], stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                env={**os.environ, **(env or {})}, cwd=cwd, start_new_session=True,
            )
        self.pid = self.child.pid

    def check(self):
        if self.child.poll() is not None:
            tail = self.log.read_text(errors="replace")[-1500:]
            raise Failure(f"a process ended by itself with code {self.child.returncode}; {self.log} ends:\n{tail}")

    def resident_mib(self):
        status = pathlib.Path(f"/proc/{self.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / 1024

    def stop(self, ask=signal.SIGTERM, grace=20):
        for sig in (ask, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, sig)
            try:
                self.child.wait(grace)
            except subprocess.TimeoutExpired:
                continue
            if sig == signal.SIGKILL:
                return
            grace = 5


# --- programs and builds ---------------------------------------------------------------------


def install_packages():
    """Installs missing Debian packages, without letting them start a server of their own."""
    wanted = {"wrk": "wrk", "rabbitmq-server": "rabbitmq-server", "psql": "postgresql"}
    missing = [package for program, package in wanted.items() if not shutil.which(program)]
    if postgres_bin() is None and "postgresql" not in missing:
        missing.append("postgresql")
    if not missing:
        return
    names = " ".join(missing)
    if not shutil.which("apt-get"):
        raise Failure(f"please install {names}: this script can only do it with apt-get")
    say(f"installing {names}")
    sudo = [] if os.geteuid() == 0 else ["sudo"]
    policy = pathlib.Path("/usr/sbin/policy-rc.d")
    ours = not policy.exists()
    if ours:
        run([*sudo, "sh", "-c", f"printf '#!/bin/sh\\nexit 101\\n' > {policy} && chmod +x {policy}"])
    try:
        run([*sudo, "apt-get", "update", "-q"])
        run([*sudo, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "-qy", *missing])
    finally:
        if ours:
            run([*sudo, "rm", "-f", policy])


def postgres_bin():
    """Folder of `initdb` and `postgres`: the newest Debian one, or the one on PATH."""
    versions = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: float(p.parts[-3]))
    found = versions[-1] if versions else shutil.which("initdb")
    return pathlib.Path(found).parent if found else None


def cargo(cwd, *arguments):
    """A release build; its progress is shown, and goes to stderr as all progress does."""
    done = subprocess.run(["cargo", "build", "--release", *map(str, arguments)], cwd=cwd, stdout=sys.stderr)
    if done.returncode:
        raise Failure(f"`cargo build --release` failed in {cwd}: what it says stands above")


def build_warren():
    """The binary a newcomer has: release profile, no LTO, in the ordinary target folder."""
    say("building warren (release)")
    cargo(ROOT, "--package", "warren-hub", "--bin", "warren")
    return RELEASE / "warren"


DECLARER, DEVICE_PUBLISHES, DEVICE_LOAD = (RELEASE / "examples" / name for name in ("device_declares", "device_publishes", "device_load"))


def build_devices():
    """The hub too: built together they share what they are made of."""
    say("building warren, the load of devices and its yardsticks (release)")
    cargo(ROOT, "--package", "warren-hub", "--bin", "warren", "--package", "mobile-delivery", "--example", "device_load",
          "--package", "messaging", "--example", "device_declares", "--example", "device_publishes")
    return RELEASE / "warren"


def build_axum():
    say("building the axum peer (release)")
    cargo(BENCH / "peers/axum", "--locked", "--target-dir", TARGET)


def build_celery():
    requirements = (BENCH / "peers/celery/requirements.txt").read_text()
    done = VENV / "requirements.done"
    if done.exists() and done.read_text() == requirements:
        return
    say("installing the Celery peer's packages")
    run([sys.executable, "-m", "venv", VENV])
    run([VENV / "bin/pip", "install", "-q", "-r", BENCH / "peers/celery/requirements.txt"])
    done.write_text(requirements)


def build_node():
    """A copy under `out/`, so that `node_modules` stays out of the sources."""
    shutil.copytree(BENCH / "peers/node", NODE, dirs_exist_ok=True)
    if not shutil.which("npm"):
        raise Failure("the node peer needs Node.js 20 or later with npm: apt-get install nodejs npm")
    if not (NODE / "node_modules/fastify").exists():
        say("installing the Node peer's packages")
        run(["npm", "ci", "--silent"], cwd=NODE)


def k6():
    """Path of k6, installed by the load test's own script."""
    return run([ROOT / "tests/k6/run", "--install"]).splitlines()[-1]


# --- servers ---------------------------------------------------------------------------------


class Sql:
    """One open session with Postgres through psql: a poll costs a query, not a process."""

    END = "--end-of-answer--"

    def __init__(self, url):
        self.child = subprocess.Popen(["psql", "-XqAt", "-v", "ON_ERROR_STOP=1", url], text=True,
                                      stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def value(self, query):
        try:
            self.child.stdin.write(f"{query};\n\\echo {self.END}\n")
            self.child.stdin.flush()
        except BrokenPipeError:
            raise Failure(f"psql is gone before: {query}") from None
        lines = []
        for line in self.child.stdout:
            if line.strip() == self.END:
                return lines[0].strip() if lines else ""
            lines.append(line)
        raise Failure(f"psql ended at: {query}")

    def close(self):
        self.child.stdin.close()
        self.child.wait()
        self.child.stdout.close()


class Servers:
    """A private RabbitMQ node and a private PostgreSQL cluster."""

    def __init__(self, stack, logs):
        # Not /tmp, which is memory on many machines: a commit must reach a disk.
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="warren-bench-", dir="/var/tmp"))
        stack.callback(shutil.rmtree, self.dir, ignore_errors=True)
        self.dir.chmod(0o755)
        self._start_postgres(stack, logs)
        self._start_broker(stack, logs)

    def _start_postgres(self, stack, logs):
        data, port = self.dir / "postgres", free_port()
        data.mkdir()
        # PostgreSQL refuses to run as root, so root lends it the package's user.
        sudo = []
        if os.geteuid() == 0:
            sudo = ["runuser", "-u", "postgres", "--"]
            shutil.chown(data, "postgres")
        programs = postgres_bin()
        run([*sudo, programs / "initdb", "-D", data / "data", "-U", "bench", "-A", "trust", "-E", "UTF8"], cwd="/")
        server = Process([*sudo, programs / "postgres", "-D", data / "data", "-p", port, "-k", data,
                          "-c", "listen_addresses=127.0.0.1"], logs / "postgres.log", cwd="/")
        stack.callback(server.stop, signal.SIGINT)
        self.postgres = f"postgres://bench@127.0.0.1:{port}"
        ask = [programs / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)]
        await_true(lambda: server.check() or not subprocess.run(ask).returncode, 30, "the start of PostgreSQL")
        self.sql = Sql(f"{self.postgres}/postgres")
        stack.callback(self.sql.close)

    def _start_broker(self, stack, logs):
        scripts = sorted(pathlib.Path("/usr/lib/rabbitmq/lib").glob("rabbitmq_server-*/sbin/rabbitmq-server"))
        # Debian's wrapper on PATH insists on its own user; the script behind it does not.
        script = scripts[-1] if scripts else shutil.which("rabbitmq-server")
        base = self.dir / "rabbitmq"
        base.mkdir()
        self.amqp_port, self.http_port, epmd_port = free_port(), free_port(), free_port()
        # The management plugin is here to make and delete virtual hosts; it collects nothing.
        (base / "rabbitmq.conf").write_text(
            f"listeners.tcp.1 = 127.0.0.1:{self.amqp_port}\n"
            f"management.tcp.ip = 127.0.0.1\nmanagement.tcp.port = {self.http_port}\n"
            "management_agent.disable_metrics_collector = true\n"
            "log.file.level = warning\n"
        )
        (base / "enabled_plugins").write_text("[rabbitmq_management].\n")
        env = {
            "HOME": str(base), "RABBITMQ_NODENAME": "bench@localhost", "ERL_EPMD_PORT": str(epmd_port),
            "RABBITMQ_DIST_PORT": str(free_port()), "RABBITMQ_MNESIA_BASE": str(base / "mnesia"),
            "RABBITMQ_LOG_BASE": str(base / "log"), "RABBITMQ_CONFIG_FILE": str(base / "rabbitmq.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(base / "enabled_plugins"),
            "RABBITMQ_GENERATED_CONFIG_DIR": str(base / "config"), "RABBITMQ_PID_FILE": str(base / "pid"),
        }
        # Started by us, so that it ends with us: a broker would leave its own behind.
        epmd = Process(["epmd", "-port", epmd_port, "-address", "127.0.0.1"], logs / "epmd.log", env)
        stack.callback(epmd.stop)
        self.node = node = Process([script], logs / "rabbitmq.log", env)
        stack.callback(node.stop)

        def answers():
            node.check()
            with socket.socket() as s:
                return s.connect_ex(("127.0.0.1", self.amqp_port)) == 0 and self.manage("GET", "whoami") == 200

        await_true(answers, 60, "the start of RabbitMQ", every=0.2)

    def manage(self, method, path, body=None):
        """One call of the broker's management API."""
        login = base64.b64encode(b"guest:guest").decode()
        headers = {"Authorization": f"Basic {login}", "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        return http_status(f"http://127.0.0.1:{self.http_port}/api/{path}", method=method, headers=headers, data=data)

    @contextlib.contextmanager
    def field(self, name, logs):
        """A fresh virtual host, database and folder for one run of one side, so that each starts equal."""
        name = name.replace("-", "_")
        if self.manage("PUT", f"vhosts/{name}", {}) != 201:
            raise Failure(f"RabbitMQ made no virtual host {name}")
        self.manage("PUT", f"permissions/{name}/guest", {"configure": ".*", "write": ".*", "read": ".*"})
        self.sql.value(f"create database {name}")
        # What the last run left unwritten must not be this one's load.
        self.sql.value("checkpoint")
        folder = self.dir / name
        folder.mkdir()
        session = Sql(f"{self.postgres}/{name}")
        try:
            yield Field(
                amqp_url=f"amqp://guest:guest@127.0.0.1:{self.amqp_port}/{name}",
                management=f"http://127.0.0.1:{self.http_port}",
                database_url=f"{self.postgres}/{name}", sql=session, folder=folder, logs=logs, node=self.node,
            )
        finally:
            session.close()
            self.sql.value(f"drop database if exists {name} with (force)")
            self.manage("DELETE", f"vhosts/{name}")
            shutil.rmtree(folder, ignore_errors=True)


class Field:
    """Where one run of one side takes place."""

    def __init__(self, amqp_url, management, database_url, sql, folder, logs, node):
        self.amqp_url, self.management, self.database_url = amqp_url, management, database_url
        self.sql, self.folder, self.logs, self.node = sql, folder, logs, node

    def broker_mib(self):
        """Resident memory of the broker, all its processes together."""
        sizes = []
        for status in pathlib.Path("/proc").glob("[0-9]*/status"):
            with contextlib.suppress(OSError, ProcessLookupError):
                if os.getsid(int(status.parent.name)) == self.node.pid and "VmRSS:" in (text := status.read_text()):
                    sizes.append(int(text.split("VmRSS:")[1].split()[0]))
        return sum(sizes) / 1024

    def manage(self, method, path, body=None, wait=30):
        """One call of the broker's management API, `{vhost}` in `path` filled in; the JSON it answers."""
        login = base64.b64encode(b"guest:guest").decode()
        headers = {"Authorization": f"Basic {login}", "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        url = f"{self.management}/api/{path.format(vhost=self.amqp_url.rsplit('/', 1)[1])}"
        with urllib.request.urlopen(urllib.request.Request(url, data, headers, method=method), timeout=wait) as answer:
            return json.loads(answer.read() or b"null")
