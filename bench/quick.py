"""Drain, enqueue and latency on an embedded server of its own, through the public API and the real worker command.

python bench/quick.py [--jobs N]
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).resolve().parent


def worker(*options: str) -> subprocess.Popen[bytes]:
    """The command that users run, with logging at its default."""
    command = [sys.executable, "-m", "procession", "worker", "quick_app:app", *options]
    return subprocess.Popen(command, cwd=HERE, stderr=subprocess.DEVNULL)


def timed(what: str, count: int, run: Callable[[], object]) -> None:
    """Run, and print the rate."""
    started = time.perf_counter()
    run()
    took = time.perf_counter() - started
    print(f"{what:<44} {count / took:>10,.0f} /s   ({count:,} in {took:.2f} s)")


def main(jobs: int) -> None:
    """All figures, one line each."""
    from quick_app import app, noop, stamp

    app.stats()
    timed("enqueue one at a time, sync", jobs // 10, lambda: [noop.enqueue(n, "x" * 20) for n in range(jobs // 10)])
    timed("enqueue in bulk", jobs, lambda: app.enqueue_many([noop.bind(n, "x" * 20) for n in range(jobs)]))
    waiting = app.stats().queued
    process = worker("-q", "noop")
    try:
        while not (first := app.stats().processed):
            time.sleep(0.001)
        started = time.perf_counter()
        while app.stats().processed < waiting:
            time.sleep(0.02)
        took = time.perf_counter() - started
        print(
            f"{'drain no-op jobs, one worker process':<44} {(waiting - first) / took:>10,.0f} /s   ({waiting:,} jobs)"
        )
    finally:
        process.terminate()
        process.wait()
    process = worker("-q", "stamp")
    try:
        stamp.enqueue(time.time()).result(timeout=30)
        samples = []
        for _ in range(min(200, max(jobs // 100, 10))):
            samples.append(stamp.enqueue(time.time()).result(timeout=30) * 1_000)
            time.sleep(0.02)
        samples.sort()
        p99 = samples[max(int(len(samples) * 0.99) - 1, 0)]
        print(f"{'latency enqueue → start, idle worker':<44} p50 {statistics.median(samples):.2f} ms, p99 {p99:.2f} ms")
    finally:
        process.terminate()
        process.wait()
    app.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=20_000)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="procession-bench-") as home:
        os.environ.update(PROCESSION_HOME=home, PROCESSION_URL="embedded", PROCESSION_NAMESPACE="bench")
        from procession.database.redis.embedded import Server

        try:
            main(asked.jobs)
        finally:
            Server().stop()
