"""Orders to real workers in real processes: heard at once, answered, also by a worker whose loop does not turn."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import threading
from types import ModuleType

import pytest
from click.testing import CliRunner

from procession import Procession
from procession.cli import cli
from procession.cli.ending import Ended
from procession.errors import NoAnswer, UnknownWorker
from procession.runtime.queue_worker import QueueWorker
from tests.process.family import TELLING, Families, until

HASTY = """
import procession.runtime.children

procession.runtime.children.KILL_AFTER = 0.5
"""


def one(app: Procession) -> str:
    """The id of the only worker, once it serves."""
    workers = until(lambda: [it for it in app.workers() if it.beat_at])
    assert len(workers) == 1
    found: str = workers[0].id
    return found


def test_a_worker_is_quieted_shows_its_stack_resumes_and_is_stopped_for_good(
    app: Procession, shop: ModuleType, worker: Families
) -> None:
    family = worker("--processes", "1")
    name = one(app)
    with pytest.raises(UnknownWorker):
        app.quiet_worker("nobody")
    running = shop.nap.enqueue(30, "long")
    until(lambda: app.stats().running)
    app.quiet_worker(name, by="ann")
    until(lambda: app.workers()[0].quiet_by == "ann", 3)
    waiting = shop.nap.enqueue(0, "later")
    stack = app.stack(name, timeout=5)  # answered by its bell: far within a heartbeat of five seconds
    assert f"nap {running.jid} attempt 1" in stack.text
    assert "await asyncio.sleep(seconds)" in stack.text
    assert "does not run" in app.stack(name, jid=waiting.jid, timeout=5).text
    assert app.last_stack(name) is not None
    assert app.stats().queued == 1
    app.resume_worker(name)
    waiting.result(timeout=5)
    assert app.workers()[0].quiet_at == 0
    running.cancel()
    app.stop_worker(name, by="ann")
    assert family.process.wait(timeout=20) == 0  # nobody took its place, so the supervisor had nothing left to do
    assert app.workers() == []
    assert "told to stop by ann" in family.log


def test_other_workers_take_what_a_quiet_one_leaves(app: Procession, shop: ModuleType, worker: Families) -> None:
    family = worker("--processes", "2")
    until(lambda: len([it for it in app.workers() if it.beat_at]) == 2)
    quiet = app.workers()[0]
    app.quiet_worker(quiet.id)
    until(lambda: {it.id: it.quiet_at for it in app.workers()}[quiet.id])
    for handle in [shop.nap.enqueue(0, f"n{at}") for at in range(20)]:
        handle.result(timeout=10)
    assert quiet.pid not in worker.runners().values()
    app.stop_worker(quiet.id)
    until(lambda: len(app.workers()) == 1)
    assert shop.nap.enqueue(0, "still served").result(timeout=10) == "rested"
    assert family.stop() == 0


def test_stacks_of_threads_and_of_job_processes_are_told(
    app: Procession, shop: ModuleType, worker: Families
) -> None:
    handles = [shop.doze.enqueue(20, "thread"), shop.apart.enqueue(20, "process")]
    family = worker("--processes", "1")
    until(lambda: len(worker.runs()) == 2)
    text = app.stack(one(app), timeout=10).text
    assert "in a thread" in text
    assert "time.sleep(seconds)" in text
    assert "in a process" in text
    assert "in apart" in text
    only = app.stack(one(app), jid=handles[0].jid, timeout=10).text
    assert ("doze" in only, "apart" in only) == (True, False)
    family.kill()


def test_a_worker_that_is_stuck_in_c_code_is_told_by_its_supervisor(
    app: Procession, shop: ModuleType, worker: Families
) -> None:
    family = worker("--processes", "1")
    name = one(app)
    shop.hog.enqueue(60, "sum")
    until(lambda: app.stats().running)
    text = app.stack(name, timeout=25).text
    assert "the event loop has not turned for" in text
    assert "in hog" in text
    family.kill()


def test_an_embedded_worker_obeys_too(app: Procession, shop: ModuleType) -> None:
    ended = threading.Thread(target=lambda: asyncio.run(QueueWorker(app, queues=["q"]).run()))
    ended.start()
    name = one(app)
    assert app.stack(name, timeout=5).text == f"nothing runs on {name}"
    app.stop_worker(name)
    ended.join(10)
    assert not ended.is_alive()
    with pytest.raises(UnknownWorker):
        app.stack(name, timeout=1)


def test_a_worker_that_does_not_answer_is_said_so(app: Procession) -> None:
    app.ask(app.database.heartbeat("mute", lease=60_000, info=b"{}"))
    with pytest.raises(NoAnswer, match="has not answered yet"):
        app.stack("mute", timeout=0.2)


def test_the_command_line_gives_orders_by_any_ending_of_the_name(
    app: Procession, shop: ModuleType, worker: Families
) -> None:
    def said(*words: str) -> str:
        done = CliRunner().invoke(cli, ["workers", *words], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.output

    family = worker("--processes", "1")
    name = one(app)
    assert "is told to be quiet" in said("quiet", name[-6:], "--by", "ann")
    until(lambda: app.workers()[0].quiet_at)
    assert "quiet since" in said()
    assert said("stack", name[-6:]).strip() == f"nothing runs on {name}"
    assert json.loads(said("resume", "--all", "--json")) == {name: True}
    with pytest.raises(Ended, match="no worker 'nobody' is alive"):
        CliRunner().invoke(cli, ["workers", "quiet", "nobody"], catch_exceptions=False, standalone_mode=False)
    assert "is told to stop" in said("stop", name[-6:])
    assert family.process.wait(timeout=20) == 0
    assert [(it.who, it.what, it.via) for it in app.trail()][-1] == ("ann", "quiet", "cli")
    shown = CliRunner().invoke(cli, ["trail"], catch_exceptions=False).output.splitlines()
    assert [line.split()[5] for line in shown[1:]] == ["stop-worker", "resume-worker", "stack", "quiet"]


def test_a_worker_that_is_told_to_stop_while_its_replacement_starts_leaves_nobody_behind(
    app: Procession, shop: ModuleType, worker: Families
) -> None:
    family = worker("--processes", "1")
    name = one(app)
    (worker.folder / "shop.py").write_text("import time; time.sleep(60)")
    family.process.send_signal(signal.SIGHUP)
    until(lambda: len(family.children()) == 2)
    app.stop_worker(name)
    assert family.process.wait(timeout=20) == 0
    assert app.workers() == []


def test_a_worker_that_finishes_what_runs_when_its_replacement_comes_has_been_told_to_stop_for_good(
    app: Procession, shop: ModuleType, worker: Families
) -> None:
    family = worker("--processes", "1")
    name = one(app)
    running = shop.nap.enqueue(60, "long")
    until(lambda: app.stats().running)
    gate, code = worker.folder / "gate", worker.folder / "shop.py"
    code.write_text(f"import os, time\nwhile not os.path.exists({str(gate)!r}): time.sleep(0.02)\n{code.read_text()}")
    family.process.send_signal(signal.SIGHUP)
    until(lambda: len(family.children()) == 2)
    app.stop_worker(name)
    until(lambda: "told to stop" in family.log)
    gate.touch()
    until(lambda: len(family.children()) == 1)
    running.cancel()
    assert family.process.wait(timeout=20) == 0
    assert app.workers() == []


def test_a_stuck_worker_that_is_told_to_stop_while_its_replacement_starts_leaves_nobody_behind(
    app: Procession, shop: ModuleType, worker: Families
) -> None:
    family = worker(patch=HASTY, grace="0.5s", heartbeat="0.5s", lease="5s")
    name = one(app)
    shop.hog.enqueue(60, "sum")
    until(worker.runs)
    (worker.folder / "shop.py").write_text("import time; time.sleep(60)")
    family.process.send_signal(signal.SIGHUP)
    until(lambda: len(family.children()) == 2)
    app.stop_worker(name)
    assert family.process.wait(timeout=20) == 1, "one had to be killed"
    assert "it did not end within" in family.log
    assert app.workers() == []


def test_a_worker_that_is_told_to_stop_as_it_makes_way_leaves_its_place_to_who_has_taken_over(
    app: Procession, shop: ModuleType, worker: Families
) -> None:
    family = worker("--processes", "1", patch=TELLING)
    name = one(app)
    running = shop.nap.enqueue(60, "long")
    until(lambda: app.stats().running)
    family.process.send_signal(signal.SIGHUP)
    until(lambda: f"{name} makes way" in family.log)
    app.stop_worker(name)
    until(lambda: "told to stop" in family.log)
    running.cancel()
    until(lambda: name not in {it.id for it in app.workers()})
    [pid] = until(lambda: len(family.children()) == 1 and family.children())
    os.kill(pid, signal.SIGKILL)
    until(lambda: family.log.count("serves") == 3)
    assert family.stop() == 0


def test_orders_to_stop_and_the_first_sigterm_ask_for_the_same(
    app: Procession, shop: ModuleType, worker: Families
) -> None:
    family = worker("--processes", "1")
    name = one(app)
    running = shop.nap.enqueue(3, "long")
    until(lambda: app.stats().running)
    for times in (1, 2):
        app.stop_worker(name)
        until(lambda: family.log.count("told to stop") == times)  # noqa: B023
    assert family.stop() == 0
    assert running.result(timeout=1) == "rested"
    assert worker.runs() == ["long"]
