"""Load on an API: wrk for as many as it takes, k6 for a constant rate, and batches."""

import json
import os
import re
import subprocess
import time
import urllib.request

import machine
from machine import Failure

CONNECTIONS = 64
RATE = 1000


def wrk(api, log, seconds=None, count=None, key="k"):
    """One run of wrk; anything but 2xx and every broken connection is a failure."""
    tokens = log.with_name(f"{log.name}.tokens")
    if api.tokens:
        tokens.write_text("\n".join(api.tokens) + "\n")
    env = {
        **os.environ,
        "BENCH_TOKENS": str(tokens) if api.tokens else "",
        "BENCH_KEY": f"{key}-{time.time_ns():x}" if api.with_key else "",
        "BENCH_COUNT": str(count or ""),
    }
    argv = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds or 3600}s", "--timeout", "10s", "--latency",
            "-s", str(machine.BENCH / "accept.lua"), api.url]
    done = subprocess.run(argv, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    tokens.unlink(missing_ok=True)
    out = done.stdout
    log.with_name(f"{log.name}.wrk.txt").write_text(out)
    api.process.check()
    if done.returncode or "Non-2xx" in out or "Socket errors" in out:
        raise Failure(f"not every request was answered with 202:\n{out}")
    return out


def percentile(out, n):
    """A line of wrk's latency distribution, in milliseconds."""
    line = re.search(rf"^\s+{n}%\s+([\d.]+)(us|ms|s|m)\s*$", out, re.MULTILINE)
    if not line:
        raise Failure(f"wrk printed no {n}th percentile:\n{out}")
    number, unit = line.groups()
    return float(number) * {"us": 0.001, "ms": 1, "s": 1000, "m": 60000}[unit]


def k6(api, log, seconds, climb):
    """A constant rate of requests for so many seconds, after a climb of so many; answers k6's metrics."""
    base, route = re.fullmatch(r"(https?://[^/]+)(/.*)", api.url).groups()
    env = {
        **os.environ, "BASE_URL": base, "ROUTE": route, "TOKEN": "".join(api.tokens[:1]), "RATE": str(RATE), "CLIMB": f"{climb}s",
        "DURATION": f"{seconds}s", "P99_MS": "60000", "SUMMARY": f"{log}.k6",
    }
    argv = [machine.k6(), "run", "--quiet", str(machine.ROOT / "tests/k6/accept.js")]
    done = subprocess.run(argv, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    # 99: a threshold did not hold. Requests that k6 could not send in time are kept as a figure: to throw slow runs away would
    # flatter whoever is slow.
    if done.returncode not in (0, 99):
        raise Failure(f"k6 did not run:\n{done.stdout[-2000:]}")
    metrics = json.loads(log.with_name(f"{log.name}.k6.json").read_text())["metrics"]
    if metrics["checks"]["values"]["rate"] < 1:
        raise Failure(f"not every request was answered with 202:\n{done.stdout[-2000:]}")
    return metrics


def batch(api, items):
    """Submits items in batches; a refused one is a failure."""
    url = api.url.split("/v1/")[0] + "/v1/jobs"
    headers = {"Authorization": f"Bearer {api.tokens[0]}", "Content-Type": "application/json"}
    for at in range(0, len(items), 1000):
        request = urllib.request.Request(url, json.dumps(items[at:at + 1000]).encode(), headers, method="POST")
        with urllib.request.urlopen(request, timeout=30) as answer:
            refused = json.load(answer)["refused"]
        if refused:
            raise Failure(f"{refused} jobs of a batch were refused")
