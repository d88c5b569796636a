"""`procession demo`: the brief's demonstration, live in the terminal, on a store of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import sleep
from typing import Protocol
from uuid import UUID

import click

from procession.cli.beside import dashboard, stay
from procession.cli.shared import FAILED
from procession.clock import monotonic
from procession.job import Job, State

COLUMNS = {
    "scheduled": (State.QUEUED, State.DELAYED),
    "running": (State.RUNNING,),
    "processed": (State.PROCESSED,),
    "failed": (State.FAILED, State.CANCELLED),
}
STYLES = {"scheduled": "cyan", "running": "yellow", "processed": "green", "failed": "red"}
REFRESH = 0.1
PATIENCE = 120.0


class Screen(Protocol):
    """Shows the jobs as they are now."""

    def show(self, jobs: Sequence[Job]) -> None: ...


@click.command()
@click.option("--jobs", "count", type=click.IntRange(1, 1000), default=10, show_default=True)
@click.option("--processes", type=click.IntRange(1, 16), default=2, show_default=True)
@click.option("--seed", type=int, default=0, help="Make the chances repeatable.")
@click.option("--pace", type=float, default=1.0, show_default=True, help="Times 1–3 seconds per job.")
@click.option("--web", is_flag=True, help="Show it on the dashboard, too, until Ctrl-C.")
def demo(count: int, processes: int, seed: int, pace: float, web: bool) -> None:
    """Ten jobs that sleep and fail at random, seen moving: scheduled → running → processed / failed."""
    for number in (signal.SIGTERM, signal.SIGHUP):  # its workers and its store end with it, however it ends
        if signal.getsignal(number) is not signal.SIG_IGN:  # as it is under nohup
            signal.signal(number, lambda number, _: sys.exit(128 + number))
    with tempfile.TemporaryDirectory(prefix="procession-demo-") as home:
        os.environ.update(PROCESSION_HOME=home, PROCESSION_URL="embedded", PROCESSION_DEMO_PACE=str(pace))
        os.environ["PROCESSION_NAMESPACE"] = "demo"
        from procession.database.redis.embedded import Server
        from procession.demo import DummyWorker, app

        try:
            with dashboard(web), _screen() as screen:
                handles = app.enqueue_many(DummyWorker.bind(number, seed) for number in range(1, count + 1))
                jids = [handle.jid for handle in handles]
                screen.show(_found(jids))  # while they wait, for nobody performs them yet
                with _workers(processes, Path(home)) as process:
                    seen = _watch(jids, screen, process)
                    stay(web)
            found = app.stats()
            app.close()
        finally:
            Server().stop()
    shown = f"{{processed: {found.processed}, scheduled: {found.scheduled}, failed: {found.failed}}}"
    click.echo(shown)
    if (found.processed, found.scheduled, found.failed) != seen:
        click.echo(f"but seen were processed, scheduled, failed = {seen}", err=True)
        raise click.exceptions.Exit(FAILED)


def _found(jids: Sequence[UUID]) -> list[Job]:
    from procession.demo import app

    return [job for job in app.ask(app.database.find(jids)) if job is not None]


def _watch(jids: Sequence[UUID], screen: Screen, process: subprocess.Popen[bytes]) -> tuple[int, int, int]:
    """Show the jobs until all have ended; count what was seen."""
    deadline = monotonic() + PATIENCE
    while True:
        jobs = _found(jids)
        screen.show(jobs)
        ended = [job for job in jobs if job.state.final]
        if len(ended) == len(jids) or monotonic() > deadline or process.poll() is not None:
            processed = sum(job.state is State.PROCESSED for job in ended)
            return processed, len(jobs) - len(ended), len(ended) - processed
        sleep(REFRESH)


@contextmanager
def _workers(processes: int, home: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The queue workers of the demo, in processes of their own; their log goes to a file beside the store."""
    with (home / "worker.log").open("wb") as log:
        command = [sys.executable, "-m", "procession", "worker", "procession.demo:app", "--processes", str(processes)]
        command += ["--threads", "2"]  # few enough that some wait
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        try:
            yield process
        finally:
            process.terminate()
            process.wait(timeout=30)


@contextmanager
def _screen() -> Iterator[Screen]:
    if sys.stdout.isatty():
        try:
            from rich.live import Live
        except ImportError:
            pass
        else:
            with Live(refresh_per_second=10) as live:
                yield _Columns(live)
            return
    yield _Lines()


class _Lines:
    """A line for each move, where there is no terminal."""

    def __init__(self) -> None:
        self._last: dict[object, str] = {}

    def show(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            column = _column(job)
            before = self._last.get(job.jid)
            if column != before:
                self._last[job.jid] = column
                why = f": {job.error}" if column == "failed" else ""
                click.echo(f"{_title(job)} {before} → {column}{why}" if before else f"{_title(job)} {column}")


class _Columns:
    """Four columns through which the jobs move."""

    def __init__(self, live: object) -> None:
        self._live = live

    def show(self, jobs: Sequence[Job]) -> None:
        from rich.table import Table
        from rich.text import Text

        table = Table(expand=True)
        cells = []
        for name in COLUMNS:
            here = [job for job in jobs if _column(job) == name]
            table.add_column(f"{name} ({len(here)})", style=STYLES[name], ratio=1)
            cells.append(Text("\n".join(_title(job) for job in here) + "\n" * (len(jobs) - len(here))))
        table.add_row(*cells)
        self._live.update(table)  # type: ignore[attr-defined]


def _column(job: Job) -> str:
    return next(name for name, states in COLUMNS.items() if job.state in states)


def _title(job: Job) -> str:
    return f"DummyWorker {job.args.get('number', '?'):>2}"
