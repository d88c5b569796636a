"""What the dashboard costs with a million jobs in the store: time of each page and of the store, a cold load, viewers.

`make bench-web` (or `python bench/web.py --jobs 100000` for a quick look). A fresh Valkey, filled through the seam;
`procession web` in a process of its own; pages over HTTP, each ten times. Store time is what the server's own processor
clock says (`INFO cpu`). Exits with 1 when a figure is over its bound or a count is not exact.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import httpx
import msgspec
from machine import described
from redis import Redis
from server import valkey
from websockets.asyncio.client import connect

from procession import Procession
from procession.codec import encode_failure
from procession.job import Failure, NewJob, Outcome, new_jid
from procession.moves import Move

PAGE, STORE, COLD, LIVE = 200.0, 10.0, 40_000, 5.0
"""Bounds: milliseconds of a page, of the store for it, bytes of a cold load, per cent of a core for twenty clients."""
DAY = (400.0, 20.0)
"""The same where a program reads 1,440 minutes."""
QUEUES, BATCH, TIMES, CLIENTS = 20, 500, 10, 20
SHARES = {"processed": 0.1, "failed": 0.1, "delayed": 0.02, "running": 0.0002}
"""Parts of all jobs; the rest is queued. The store keeps 100,000 processed and as many failed."""
NAMES = [f"shop.{word}" for word in ("deliver", "charge", "resize", "report", "remind")]
PATHS = (
    "/", "/?span=24h", "/?span=7d", "/jobs?state=queued", "/jobs?state=failed", "/jobs?state=processed",
    "/jobs?state=delayed", "/jobs?state=running", "/jobs?state=queued&queue=q7",
    "/jobs?q=state:failed+error:KeyError", "/jobs?q=args.user:nobody", "/bulk?do=retry&q=state:failed", "/jobs/JID",
    "/names?span=24h", "/queue?queue=q7", "/errors", "/queues", "/schedules", "/workers", "/workers/w0", "/trail",
    "/metrics", "/api/stats", "/api/jobs?state=failed", "/api/history?since=24h",
)  # fmt: skip


class Filler:
    """Fills a store through the seam."""

    def __init__(self, app: Procession, jobs: int) -> None:
        self.app = app
        self.wanted = {state: round(part * jobs) for state, part in SHARES.items()}
        self.wanted["queued"] = jobs - sum(self.wanted.values())
        self._made = 0

    def fill(self) -> dict[str, int]:
        """How many are in each state."""
        self._finished(Move.PROCESS, self.wanted["processed"])
        self._finished(Move.FAIL, self.wanted["failed"])
        self._enqueue(self.wanted["running"], "q0")
        for at in range(10):
            self._beat(f"w{at}")
            self._claim(f"w{at}", "q0", self.wanted["running"] // 10)
        self._enqueue(self.wanted["delayed"], delay=3_600_000)
        self._enqueue(self.wanted["queued"])
        return self.wanted

    def process(self, number: int) -> None:
        """So many jobs more are enqueued, claimed and processed."""
        self._finished(Move.PROCESS, number)

    def _new(self, queue: str, delay: int) -> NewJob:
        self._made += 1
        name = NAMES[self._made % len(NAMES)]
        spec = (name, {"user": self._made, "to": f"user{self._made}@example.org"})
        return NewJob(jid=new_jid(), spec=msgspec.json.encode(spec), queue=queue, delay=delay)

    def _enqueue(self, number: int, queue: str = "", delay: int = 0) -> None:
        database = self.app.database
        for first in range(0, number, 1_000):
            jobs = [self._new(queue or f"q{at % QUEUES}", delay) for at in range(first, min(first + 1_000, number))]
            self.app.ask(database.enqueue(jobs))

    def _beat(self, worker: str) -> None:
        info = {"host": "bench", "pid": 1, "queues": [f"q{at}" for at in range(QUEUES)], "concurrency": 50}
        self.app.ask(self.app.database.heartbeat(worker, lease=3_600_000, info=msgspec.json.encode(info)))

    def _claim(self, worker: str, queue: str, limit: int) -> list[Any]:
        token, database = os.urandom(16), self.app.database
        return self.app.ask(database.claim([queue], worker, token, limit=limit, lease=3_600_000)).jobs

    def _finished(self, move: Move, number: int) -> None:
        database = self.app.database
        for first in range(0, number, BATCH):
            self._enqueue(min(BATCH, number - first), "q0")
            self.app.ask(database.settle("w0", [self._outcome(it, move) for it in self._claim("w0", "q0", BATCH)]))

    @staticmethod
    def _outcome(job: Any, move: Move) -> Outcome:
        if move is Move.PROCESS:
            return Outcome(jid=job.jid, token=job.token, move=move, value=b'{"sent": true}')
        kind = "KeyError" if job.jid.int % 50 == 0 else "TimeoutError"
        trace = "Traceback (most recent call last):\n" + '  File "/srv/shop/hooks.py", line 88, in deliver\n' * 12
        failure = Failure(attempt=1, type=kind, message="the gateway did not answer", traceback=trace, at=1)
        return Outcome(jid=job.jid, token=job.token, move=move, failure=encode_failure(failure), reason="exhausted")


@contextmanager
def dashboard(url: str) -> Iterator[tuple[str, int]]:
    """`procession web`: its address and its process."""
    command = [sys.executable, "-m", "procession", "web", "--port", "0", "--url", url]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        found = re.search(r"http://\S+", process.stdout.readline())
        assert found is not None
        yield found[0].rstrip("/"), process.pid
    finally:
        process.terminate()
        process.wait(timeout=30)
        process.stdout.close()


def store_seconds(server: Redis) -> float:
    """Processor time of the store so far."""
    its = server.info("cpu")
    return float(its["used_cpu_user_main_thread"]) + float(its["used_cpu_sys_main_thread"])


def process_seconds(pid: int) -> float:
    """Processor time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def pages(address: str, server: Redis, jid: str) -> list[tuple[str, float, float, float, int]]:
    """Path, median and longest milliseconds, store milliseconds each, bytes."""
    found = []
    with httpx.Client(base_url=address, trust_env=False, timeout=30) as client:
        for path in PATHS:
            path = path.replace("JID", jid)
            client.get(path)
            times, before = [], store_seconds(server)
            for _ in range(TIMES):
                began = time.perf_counter()
                answer = client.get(path)
                times.append((time.perf_counter() - began) * 1_000)
                assert answer.status_code == 200, (path, answer.status_code)
            spent = (store_seconds(server) - before) * 1_000 / TIMES
            found.append((path.replace(jid, "JID"), median(times), max(times), spent, len(answer.content)))
    return found


def cold_load(address: str) -> int:
    """Bytes of the Overview with all that it needs, as they come over the wire: bodies, compressed where they are."""
    with httpx.Client(base_url=address, trust_env=False, headers={"Sec-Fetch-Site": "none"}) as client:
        page = client.get("/")
        total = page.num_bytes_downloaded
        assets = {*re.findall(r'(?:href|src)="(/static/[^"]+)"', page.text)}
        return total + sum(client.get(it).num_bytes_downloaded for it in assets)


async def _watch(address: str, views: list[str], seconds: float) -> int:
    """Hold a socket for each view; returns how many messages came."""
    heard = 0

    async def one(view: str) -> None:
        nonlocal heard
        url = f"{address.replace('http', 'ws')}/live?{view}"
        async with connect(url, origin=address, proxy=None, max_size=None) as line:  # type: ignore[arg-type]
            async for _ in line:
                heard += 1

    tasks = [asyncio.create_task(one(view)) for view in views]
    await asyncio.sleep(seconds)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return heard


def live(address: str, pid: int, server: Redis, views: list[str], seconds: float) -> tuple[float, float, int]:
    """Per cent of a core of the dashboard, and of the store, and how many messages came."""
    asyncio.run(_watch(address, views[:1], 2.0))
    before, at, began = process_seconds(pid), store_seconds(server), time.monotonic()
    heard = asyncio.run(_watch(address, views, seconds))
    took = time.monotonic() - began
    return (process_seconds(pid) - before) / took * 100, (store_seconds(server) - at) / took * 100, heard


@contextmanager
def moving(filler: Filler, each_second: int) -> Iterator[None]:
    """So many jobs are enqueued and processed each second, meanwhile."""
    over = threading.Event()

    def move() -> None:
        while not over.wait(0.1):
            filler.process(each_second // 10)

    thread = threading.Thread(target=move)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def main() -> int:
    """Fill, measure, print the tables."""
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--jobs", type=int, default=1_000_000)
    words.add_argument("--seconds", type=float, default=20.0)
    asked = words.parse_args()
    over: list[str] = []

    def within(what: str, value: float, bound: float) -> None:
        if value > bound:
            over.append(f"{what}: {value:,.1f} is over {bound:,.0f}")

    with valkey("none") as url:
        server, app = Redis.from_url(url), Procession(url, budget="60s")
        filler, began = Filler(app, asked.jobs), time.monotonic()
        wanted = filler.fill()
        took, memory = time.monotonic() - began, server.info("memory")["used_memory"] / 1e6
        jid = str(app.jobs("failed", limit=1).jobs[0].jid)
        print(", ".join(f"{name} {value}" for name, value in described().items()))
        print(f"{asked.jobs:,} jobs in {took:.0f} s, {memory:,.0f} MB in the store: {json.dumps(wanted)}\n")
        with dashboard(url) as (address, pid):
            counts = httpx.get(f"{address}/api/stats", trust_env=False).json()
            shown = {state: counts.get(f"kept_{state}", counts.get(state)) for state in wanted}
            if shown != wanted:
                over.append(f"counts {shown} are not exact")
            print("| page | median | longest | store | bytes |\n|---|---:|---:|---:|---:|")
            for path, middle, longest, spent, size in pages(address, server, jid):
                print(f"| `{path}` | {middle:.0f} ms | {longest:.0f} ms | {spent:.1f} ms | {size:,} |")
                page, store = DAY if "since=24h" in path else (PAGE, STORE)
                within(f"{path} median ms", middle, page)
                within(f"{path} store ms", spent, store)
            size = cold_load(address)
            within("cold load", size, COLD)
            print(f"\nA cold load of the Overview: {size:,} bytes.\n")
            print("| 20 live clients | dashboard | store | messages |\n|---|---:|---:|---:|")
            same = ["view=overview"] * CLIENTS
            each = [f"view=jobs&state=queued&queue=q{at}" for at in range(CLIENTS)]
            for says, views, rate, bound in (
                ("the Overview, nothing moves", same, 0, LIVE), ("the Overview, 100 jobs/s", same, 100, LIVE),
                ("a list of their own each, 100 jobs/s", each, 100, 100.0),
            ):  # fmt: skip
                with moving(filler, rate):
                    ours, its, heard = live(address, pid, server, views, asked.seconds)
                within(says, ours, bound)
                print(f"| {says} | {ours:.1f} % | {its:.1f} % | {heard:,} |")
        app.close()
        server.close()
    print("\n" + ("\n".join(over) or "everything is within its bounds"))
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main())
