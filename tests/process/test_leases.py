"""The supervisor speaks for its children: blocked loops keep their lease and are reported, stuck ones are replaced."""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path
from types import ModuleType

from redis import Redis

from procession import Procession
from procession.job import Crash
from procession.runtime.envoy import Envoy
from procession.runtime.identity import new_worker_id
from tests.chaos.proxy import proxied
from tests.process.family import Families, until


def test_a_blocked_event_loop_costs_no_lease_whatever_blocks_it_and_the_report_names_the_job(
    worker: Families, shop: ModuleType, app: Procession
) -> None:
    settings = {"lease": "2s", "heartbeat": "0.5s"}
    family = worker("--processes", "3", "--concurrency", "1", **settings)
    until(lambda: len(app.workers()) == 3)
    handles = {how: shop.hog.enqueue(7, how) for how in ("sleep", "regex", "c code")}
    until(lambda: len(worker.runs()) == 3)
    other = worker(**settings)  # it would take the jobs over as soon as a lease ended
    for handle in handles.values():
        assert handle.result(timeout=60) == "done"
        assert (handle.job().attempt, handle.job().crashes) == (1, 0)
    assert len(worker.runs()) == 3
    reports = family.log.split("event loop blocked for ")[1:]
    assert len(reports) == 3
    assert all('shop.py", line' in report for report in reports), "each with its stack"
    assert any(f"in job hog {handles['sleep'].jid}; its lease is extended" in report for report in reports)
    assert family.stop() == other.stop() == 0


def test_a_worker_whose_claim_loop_is_stuck_is_replaced_and_its_dossier_says_so(
    worker: Families, shop: ModuleType, tmp_path: Path
) -> None:
    family = worker(
        lease="5s", heartbeat="0.3s", patch="import procession.runtime.watch as watch\nwatch.STUCK = 1.5"
    )
    handle = shop.stick.enqueue(str(tmp_path / "stuck"))
    assert handle.result(timeout=30) == "unstuck"
    crash = handle.job().failures[0].crash
    assert crash is not None
    assert re.fullmatch(r"signal 9 \(SIGKILL\): its claim loop was stuck for \d s", crash.how)
    assert "most recent call first" in crash.stack
    assert "its claim loop was stuck" in family.log


CLOSING = """
@app.lifespan
async def resources(app):
    yield {}
    ran("closing")
    await asyncio.sleep(%s)

@app.on("processed")
async def told(event):
    ran("telling")
    await asyncio.sleep(2)
"""


def test_a_worker_that_tells_its_handlers_and_closes_its_resources_is_not_reported_as_blocked(
    worker: Families, shop: ModuleType, tmp_path: Path
) -> None:
    with (tmp_path / "shop.py").open("a") as file:
        file.write(CLOSING % 2)
    family = worker(patch="import procession.runtime.watch\nprocession.runtime.watch.BLOCKED = 1.0", heartbeat="1s")
    shop.nap.enqueue(0, "nap").result(timeout=20)
    assert family.stop() == 0
    assert worker.runs() == ["nap", "telling", "closing"]
    assert "blocked" not in family.log


def test_a_worker_that_never_ends_to_close_its_resources_is_replaced(
    worker: Families, shop: ModuleType, app: Procession, tmp_path: Path
) -> None:
    with (tmp_path / "shop.py").open("a") as file:
        file.write(CLOSING % 3_600)
    family = worker(patch="import procession.runtime.watch\nprocession.runtime.watch.STUCK = 2.0", heartbeat="1s")
    until(app.workers)
    os.kill(family.children()[0], signal.SIGTERM)  # by nobody who would wait for it
    until(lambda: worker.runs() == ["closing"])
    assert shop.nap.enqueue(0, "nap").result(timeout=20) == "rested"
    family.kill()


def test_a_thousand_long_jobs_keep_their_lease_with_a_handful_of_commands(
    worker: Families, shop: ModuleType, app: Procession, valkey_url: str
) -> None:
    def asked() -> int:
        with Redis.from_url(valkey_url) as server:
            return int(server.info("commandstats")["cmdstat_evalsha"]["calls"])

    worker("--concurrency", "1000", "--quiet", lease="0.3s", heartbeat="0.15s")
    handles = app.enqueue_many([shop.nap.bind(6.5, f"{n}") for n in range(1_000)])
    until(lambda: len(worker.runs()) == 1_000)
    began, before = time.monotonic(), asked()
    time.sleep(2)
    commands = asked() - before
    assert commands / (time.monotonic() - began) < 40, "beats of one worker, not of a thousand jobs"
    until(lambda: app.stats().processed == 1_000, 30)
    assert len(worker.runs()) == 1_000
    assert {handle.job().attempt for handle in handles[::100]} == {1}


def test_the_envoy_never_keeps_its_caller_waiting_and_tells_a_death_once_the_store_is_back(
    app: Procession, shop: ModuleType
) -> None:
    with proxied(app.settings.url) as proxy:
        through = Procession(proxy.url, namespace=app.settings.namespace)
        handles = app.enqueue_many([shop.nap.bind(0, f"{n}") for n in range(3)])
        worker = new_worker_id()
        app.ask(app.database.claim(["q"], worker, b"t" * 16, limit=3, lease=60_000))
        envoy = Envoy(through.database, lease=60_000, budget=0.3)
        proxy.swallow(True)
        began = time.monotonic()
        for _ in range(50):
            envoy.alive({worker})
            time.sleep(0.01)
        envoy.died(worker, Crash(how="signal 9 (SIGKILL)"))
        assert time.monotonic() - began < 2
        proxy.swallow(False)
        proxy.reset()
        until(lambda: handles[0].job().crashes == 1)
        crash = handles[0].job().failures[0].crash
        assert crash is not None
        assert crash.beside == 2
        envoy.close()
        through.close()


def test_an_envoy_that_is_closed_says_what_is_left_or_says_that_it_could_not(
    app: Procession, caplog: object, tmp_path: Path
) -> None:
    gone = Procession(f"unix://{tmp_path}/nowhere", namespace="n")
    envoy = Envoy(gone.database, lease=1_000, budget=0.2)
    envoy.died("w", None)
    envoy.close()
    assert "was not told of 1 deaths" in caplog.text  # type: ignore[attr-defined]
