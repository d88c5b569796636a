"""Deploys: workers told to go, replaced under load, of two versions side by side, with wrong clocks."""

from __future__ import annotations

import os
import signal
import subprocess
import time

from procession import State
from procession.testing.contract.invariants import all_jobs
from tests.chaos.fleet import ROOT
from tests.chaos.machine import faketime
from tests.chaos.scenario import scenario
from tests.chaos.stage import Stage


def _uncharged(stage: Stage) -> None:
    """A deploy costs no attempt and is no crash."""
    stage.until(stage.nothing_left)
    jobs = all_jobs(stage.app.database, stage.app.ask, State.PROCESSED)
    charged = sum((job.attempt, job.crashes) != (1, 0) for job in jobs)
    if charged:
        stage.complaints.append(f"{charged} jobs were charged for a deploy")


def _deploy(stage: Stage, times: int) -> None:
    """Replace one family after the other, the new one first."""
    for _ in range(times):
        (new,) = stage.workers(1)
        old = next(family for family in stage.fleet.alive if family is not new)
        old.process.terminate()
        if old.process.wait(60) != 0:
            stage.complaints.append(f"{old.log.name} ended with {old.process.returncode}")


@scenario("ten deploys under load: SIGTERM, another starts")
def rolling_deploys(stage: Stage) -> None:
    stage.workers(3)
    producer = stage.producing(1_500, stage.shop.note, 0.3, rate=60)
    _deploy(stage, 10)
    producer.stop()
    _uncharged(stage)


@scenario("ten deploys under load that wait for nothing", settings={"grace": "0s"})
def deploys_without_grace(stage: Stage) -> None:
    stage.workers(3)
    producer = stage.producing(1_500, stage.shop.note, 0.3, rate=60)
    _deploy(stage, 10)
    producer.stop()
    stage.forced(10 * stage.concurrency)
    _uncharged(stage)


@scenario("a worker with short and long jobs is told to go, 5 s of grace", settings={"grace": "5s"})
def told_to_go(stage: Stage) -> None:
    (first,) = stage.workers(1)
    stage.enqueue(4, stage.shop.note, 2.0)
    stage.enqueue(4, stage.shop.note, 20.0)
    stage.until(lambda: stage.running(8))
    (second,) = stage.workers(1)
    began = time.monotonic()
    first.process.terminate()
    stage.until(lambda: len(stage.runs.open_on(second.pids)) == 4, 20)
    stage.forced(4)
    waited = time.monotonic() - began
    if not 4.5 < waited < 8 or first.process.wait(10) != 0:
        stage.complaints.append(f"the long jobs ran elsewhere after {waited:.1f} s of a grace of 5 s")
    _uncharged(stage)


@scenario("a supervisor alone is killed: its worker finishes what runs and goes", short=True)
def supervisor_killed(stage: Stage) -> None:
    first, _ = stage.workers(2)
    stage.enqueue(20, stage.shop.note, 4.0)
    stage.until(lambda: stage.running(20))
    os.kill(first.process.pid, signal.SIGKILL)
    first.process.wait()
    stage.until(lambda: not first.pids, 30)
    _uncharged(stage)


@scenario("200 jobs due in 12 s, five idle workers replaced again and again before")
def restarts_before_due(stage: Stage) -> None:
    stage.workers(5)
    began = time.monotonic()
    stage.enqueue(200, stage.shop.note.using(delay="12s"))
    for n in range(8):
        time.sleep(1.0)
        family = stage.fleet.serving[0]
        stage.worker()
        if n % 2:
            stage.vanish(family, holding=0)
        else:
            family.process.terminate()
    if stage.app.stats().running or stage.runs.read():
        stage.complaints.append("a worker held a job before it was due")
    stage.processed(200, 30)
    late = [run.started - began - 12 for run in stage.runs.read()]
    if min(late) < -0.1 or max(late) > 3.0:
        stage.complaints.append(f"due jobs began {min(late):.2f} to {max(late):.2f} s late")


@scenario("workers whose clocks are an hour ahead and behind", faketime=True)
def worker_clocks_wrong(stage: Stage) -> None:
    for offset in ("+3600", "-3600", "+0"):
        stage.workers(1, **faketime(offset))
    began = time.monotonic()
    stage.enqueue(100, stage.shop.note.using(delay="5s"))
    stage.enqueue(50, stage.shop.flaky, 2)
    stage.producing(600, stage.shop.note, 0.05, rate=60).finish()
    stage.until(stage.nothing_left)
    early = [run for run in stage.runs.read()[:150] if run.started < began - 1]
    stage.complaints += [f"{len(early)} jobs ran before their time"] if early else []


def _previous() -> str:
    """The commit to run beside this one: `CHAOS_PREVIOUS`, else the newest tag, else the one before."""
    if "CHAOS_PREVIOUS" in os.environ:
        return os.environ["CHAOS_PREVIOUS"]
    tag = subprocess.run(["git", "describe", "--tags", "--abbrev=0"], cwd=ROOT, capture_output=True, text=True)
    return tag.stdout.strip() or "HEAD^"


def _checked_out(stage: Stage, commit: str) -> str | None:
    """The sources of a commit in a folder of the stage; None where the history does not have it."""
    folder = stage.folder / "previous"
    folder.mkdir()
    packed = subprocess.run(["git", "archive", commit, "src"], cwd=ROOT, capture_output=True)
    if packed.returncode:
        return None
    subprocess.run(["tar", "-x", "-C", str(folder)], input=packed.stdout, check=True)
    return str(folder / "src")


FOUND = 300
"""Seconds within which 30 jobs find the one of two workers that knows them: the other puts each back for some 10 s, so
about one in two is left each time, and 90 s were too few now and then."""


@scenario("the release before and this one side by side, new and renamed jobs, then back to the old")
def two_versions(stage: Stage) -> None:
    commit = _previous()
    source = _checked_out(stage, commit)
    if source is None:
        stage.skipped = f"NOT PLAYED: this checkout's history has no {commit}"
        stage.enqueue(1)
        return
    old = {"PYTHONPATH": f"{source}:{ROOT}"}
    stage.workers(1, **old)
    stage.workers(1, CHAOS_NOVEL="1")
    stage.enqueue(300, stage.shop.note, 0.02)
    stage.enqueue(100, stage.shop.flaky, 1)
    stage.enqueue(100, stage.shop.note.using(delay="3s"), 0.02)
    novel = stage.enqueue(10, stage.shop.novel)
    former = stage.enqueue(20, stage.shop.former)
    stage.until(lambda: stage.ended(former) and stage.ended(novel), FOUND)
    for family in stage.fleet.alive[1:]:  # back to the release before: what only the new one knows waits
        family.process.terminate()
        family.process.wait(60)
    waiting = stage.enqueue(5, stage.shop.novel)
    stage.enqueue(200, stage.shop.note, 0.02)
    stage.until(lambda: stage.app.stats().queued == 0 and stage.app.stats().delayed == 5, 60)
    if stage.ended(waiting[:1]):
        stage.complaints.append("a job that nobody knows was ended")
    stage.worker(CHAOS_NOVEL="1")
    stage.until(lambda: stage.ended(waiting), FOUND)


@scenario("SIGHUP, five times: the processes are renewed one by one")
def renewals(stage: Stage) -> None:
    families = stage.workers(2)
    producer = stage.producing(900, stage.shop.note, 0.3, rate=60)
    for n in range(5):
        family = families[n % 2]
        before = family.children
        family.process.send_signal(signal.SIGHUP)
        stage.until(lambda old=before, it=family: not it.children & old, 30)
    producer.finish()
    _uncharged(stage)
