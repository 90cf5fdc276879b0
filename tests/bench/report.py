"""Medians, ratios, and the table a person reads."""

import os
import pathlib
import platform
import statistics
import subprocess

import machine
from scenarios import SCENARIOS

UNITS = {"per_second": "/s", "answered_per_second": "/s", "p50_ms": " ms", "p99_ms": " ms", "max_ms": " ms",
         "minutes_p50_ms": " ms", "minutes_p99_ms": " ms", "longest_wait_ms": " ms", "window_ms": " ms",
         "minute_p50_ms": " ms", "minute_p99_ms": " ms", "second_p50_ms": " ms", "second_p99_ms": " ms",
         "ready_ms": " ms", "seconds": " s", "resident_mib": " MiB",
         "kib_each": " KiB", "cpu_percent": " %", "back_seconds": " s", "first_seconds": " s", "resident_after_mib": " MiB",
         "taken_p50_ms": " ms", "taken_p99_ms": " ms", "hub_cpu_seconds": " s", "declared_per_second": "/s",
         "registered_per_second": "/s", "broker_mib": " MiB"}


def facts():
    """The machine and the versions the figures belong to."""
    def first_line(*argv):
        try:
            return subprocess.run(argv, capture_output=True, text=True).stdout.strip().split("\n")[0]
        except OSError:
            return "not found"

    cpu = [line.split(":")[1].strip() for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines()
           if line.startswith("model name")]
    broker = list(pathlib.Path("/usr/lib/rabbitmq/lib").glob("rabbitmq_server-*"))
    return {
        "cpu": f"{len(os.sched_getaffinity(0))} x {cpu[0] if cpu else platform.machine()}",
        "kernel": platform.release(),
        "rabbitmq": broker[-1].name.removeprefix("rabbitmq_server-") if broker else "unknown",
        "postgres": first_line(machine.postgres_bin() / "postgres", "--version").removeprefix("postgres (PostgreSQL) "),
        "rust": first_line("rustc", "--version"),
        "commit": first_line("git", "-C", str(machine.ROOT), "describe", "--always", "--dirty"),
    }


def medians(runs):
    """Median of every figure over the runs of one side."""
    return {name: statistics.median(run[name] for run in runs) for name in runs[0]}


def summarise(results):
    """`results[scenario][side]` is a list of figures, one per run; answers medians and ratios."""
    summary = {}
    for name, sides in results.items():
        scenario = SCENARIOS[name]
        table = {side: medians(runs) for side, runs in sides.items() if runs}
        if not table:
            continue
        subject, *others = table
        if subject != scenario.sides[0]:
            others = []
        ratios = {}
        for other in others:
            ours, theirs = table[subject][scenario.metric], table[other][scenario.metric]
            ratios[other] = ours / theirs if scenario.higher_is_better else theirs / ours
        summary[name] = {"title": scenario.title, "metric": scenario.metric, "medians": table, "ratios": ratios,
                         "wanted": scenario.wanted, "under": scenario.under}
    return summary


def show(name, value):
    digits = 0 if value >= 1000 or float(value).is_integer() else 1
    return f"{value:,.{digits}f}{UNITS.get(name, '')}"


def text(summary, about, runs, failures):
    lines = [f"medians of {runs} alternating runs", ", ".join(f"{k}: {v}" for k, v in about.items())]
    for name, part in summary.items():
        lines += ["", f"{name}: {part['title']}"]
        subject, metric = next(iter(part["medians"])), part["metric"]
        for side, figures in part["medians"].items():
            rest = {k: v for k, v in figures.items() if k != metric}
            # Worth a word only when publishing stayed behind the answers.
            if not rest.get("unpublished_at_end", True):
                del rest["unpublished_at_end"], rest["answered_per_second"]
            rest = ", ".join(f"{k} {show(k, v)}" for k, v in rest.items())
            lines.append(f"  {side:<18}{show(metric, figures[metric]):>12}   {verdict(part, subject, side):<34} {rest}".rstrip())
    if failures:
        lines += ["", "NOT MEASURED:", *(f"  {failure}" for failure in failures)]
    return "\n".join(lines)


def verdict(part, subject, side):
    """How the subject compares with this side, and with what is wanted."""
    if side in part["ratios"]:
        ratio, wanted = part["ratios"][side], part["wanted"].get(side)
        words = f"{subject} is {ratio:.2f}x"
        return words if wanted is None else f"{words}, wanted {wanted:g}x: {'yes' if ratio >= wanted else 'NO'}"
    if side == subject and part["under"]:
        figures = part["medians"][side]
        return ", ".join(f"under {show(k, v)}: {'yes' if figures[k] < v else 'NO'}" for k, v in part["under"].items())
    return ""
