"""What is read off the machine while a contestant works: processor time of processes and of the server, jobs left.

Runs in every contestant's environment, so it needs nothing beyond the standard library; the store is read by a client
of the contestant's own redis-py, where it has one.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

TICKS = os.sysconf("SC_CLK_TCK")
PATIENCE = 60.0
"""Seconds after which a wait is given up."""


def call(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a contestant's word, be it sync or async; what it answers, if anything, are the seconds that it took."""
    answer = function(*arguments)
    return runner().run(answer) if inspect.iscoroutine(answer) else answer


@cache
def runner() -> asyncio.Runner:
    """One loop for everything that is asked of a contestant here: its connections belong to it."""
    return asyncio.Runner()


def store() -> Any:
    """A client that reads the store past the contestant, None where there is no redis-py."""
    try:
        import redis
    except ImportError:
        return None
    if not os.environ.get("BENCH_STORE"):
        return None
    return redis.Redis.from_url(os.environ["BENCH_STORE"])


def server_seconds(client: Any) -> float:
    """Processor seconds that the server has used."""
    if client is None:
        return 0.0
    info = client.info("cpu")
    return float(info["used_cpu_user"]) + float(info["used_cpu_sys"])


def server_busy_seconds(client: Any) -> float:
    """Seconds in which the server's main thread ran, or was ready to and had no core; in the others it had nothing to
    do. 0 where the kernel does not say (`/proc/PID/schedstat` is of Linux)."""
    if client is None:
        return 0.0
    try:
        ran, waited, _ = Path(f"/proc/{client.info('server')['process_id']}/schedstat").read_text("ascii").split()
    except OSError:
        return 0.0
    return (int(ran) + int(waited)) / 1e9


def script_seconds(client: Any) -> float:
    """Seconds that the server has spent in commands that came over the wire; those within scripts are part of these."""
    if client is None:
        return 0.0
    stats = client.info("commandstats")
    scripts = sum(it["usec"] for name, it in stats.items() if name in ("cmdstat_evalsha", "cmdstat_eval"))
    return float(scripts) / 1e6


def wire_commands(client: Any, seconds: float) -> int:
    """Commands that come over the wire within so many seconds; what scripts call within is not counted."""
    heard = 0
    with client.monitor() as monitor:
        client.echo("begin")  # on a line of its own, which says more when it is opened
        timer = threading.Timer(seconds, client.echo, ["end"])
        timer.start()
        for line in monitor.listen():
            if line["command"] == "ECHO begin":
                heard = 0
            elif line["command"] == "ECHO end":
                return heard
            else:
                heard += line["client_type"] != "lua"
    return heard


def family(pid: int) -> list[int]:
    """A process and all its descendants."""
    found, parents = [pid], {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text("utf-8", "replace").rpartition(")")[2].split()
        except OSError:
            continue
        parents.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    for parent in found:
        found += parents.get(parent, [])
    return found


def process_seconds(pids: list[int]) -> float:
    """Processor seconds, user and system, that processes have used."""
    total = 0
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
        except OSError:
            continue
        total += int(fields[11]) + int(fields[12])
    return total / TICKS


def resident(pids: list[int]) -> int:
    """Resident bytes of processes, each process in full."""
    total = 0
    for pid in pids:
        try:
            total += int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1])
        except OSError:
            continue
    return total * os.sysconf("SC_PAGE_SIZE")


@contextmanager
def working(contestant: ModuleType, **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """Run the contestant's worker command; ends it and all that it started."""
    out = sys.stderr if os.environ.get("BENCH_SHOW") else subprocess.DEVNULL
    process = subprocess.Popen(contestant.worker(**options), stdout=out, stderr=out, stdin=subprocess.DEVNULL)
    try:
        yield process
    finally:
        started = family(process.pid)
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=5)
        for pid in reversed(started[1:]):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.kill()
        process.wait()


def until(done: Callable[[], bool], what: str, every: float = 0.002, patience: float = PATIENCE) -> None:
    """Wait; raises TimeoutError that says for what it waited in vain."""
    deadline = time.monotonic() + patience
    while not done():
        if time.monotonic() > deadline:
            raise TimeoutError(f"gave up on {what} after {patience:g} s")
        time.sleep(every)


def stamps() -> list[float]:
    """What the stamp jobs have written down so far, in milliseconds."""
    path = Path(os.environ["BENCH_STAMPS"])
    return [float(line) for line in path.read_text("ascii").split()] if path.exists() else []


def percentile(values: list[float], part: float) -> float:
    """The value below which `part` of the values lie."""
    ordered = sorted(values)
    return ordered[min(round(part * (len(ordered) - 1)), len(ordered) - 1)]
