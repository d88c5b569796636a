"""`procession logs` and `procession watch`: what a job says, and how far it is, until it ends.

Both read at most once a second, and at once when the job ends: its bell rings for whoever watches.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.util import find_spec
from uuid import UUID, uuid4

import click
import msgspec

from procession.cli.shared import (
    FAILED,
    jid_of,
    job_fields,
    json_option,
    json_text,
    open_app,
    print_json,
    store_options,
)
from procession.client import Procession
from procession.errors import JobNotFound
from procession.job import Job, State
from procession.notes import LogLine
from procession.terminal import plain

EVERY = 1.0
"""Seconds between two looks at a job that has not ended."""
Show = Callable[[Job], None]


@click.command()
@click.argument("jid")
@click.option("-f", "--follow", is_flag=True, help="Go on until the job is processed, failed or cancelled.")
@click.option("--attempt", type=click.IntRange(min=1), help="Only the lines of this attempt.")
@store_options
@json_option
def logs(
    jid: str, follow: bool, attempt: int | None, url: str | None, namespace: str | None, as_json: bool
) -> None:
    """The log lines of job JID; with --json a document per line."""
    app, wanted, seen = open_app(url, namespace), jid_of(jid), 0
    for _ in _states(app, wanted) if follow else [_found(app, wanted)]:
        for line in app.log(wanted, after=seen):
            seen = line.index
            if attempt in (None, line.attempt):
                click.echo(json_text(msgspec.json.encode(line).decode()) if as_json else plain(_shown(line)))
        sys.stdout.flush()


@click.command()
@click.argument("jid")
@store_options
@json_option
def watch(jid: str, url: str | None, namespace: str | None, as_json: bool) -> None:
    """How far job JID is, until it ends; exit code 1 when it was not processed."""
    app, wanted = open_app(url, namespace), jid_of(jid)
    job = _found(app, wanted)
    with _silent() if as_json else _display() as show:
        for _ in _states(app, wanted):
            job = _found(app, wanted)
            show(job)
    if as_json:
        print_json(job_fields(job))
    if job.state is not State.PROCESSED:
        sys.exit(FAILED)


def _states(app: Procession, jid: UUID) -> Iterator[State]:
    """The state of a job about once a second; the last one is final, so what is read after it is all there is."""
    connection, waiter = app.connection(), uuid4().hex
    while True:
        state = connection.ask(app.database.watch([jid], waiter))[0]
        if state is None:
            raise _missing(jid)
        yield state
        if state.final:
            return
        connection.wait([f"@{waiter}"], EVERY)


def _found(app: Procession, jid: UUID) -> Job:
    job = app.find_job(jid)
    if job is None:
        raise _missing(jid)
    return job


def _missing(jid: UUID) -> JobNotFound:
    return JobNotFound(f"no job {jid}: never enqueued, removed, or its retention is over", jid=jid)


def _shown(line: LogLine) -> str:
    at = datetime.fromtimestamp(line.at / 1_000, UTC).strftime("%H:%M:%S.%f")[:-3]
    return f"{at} {line.level:<8} #{line.attempt} {line.logger}: {line.text}"


def _said(job: Job) -> str:
    progress = job.progress
    part = f"{progress.part:4.0%} " if progress is not None and progress.part is not None else ""
    return f"{job.state.value} {part}{plain(progress.text) if progress is not None else ''}".rstrip()


@contextmanager
def _silent() -> Iterator[Show]:
    yield lambda job: None


@contextmanager
def _display() -> Iterator[Show]:
    """A bar on a terminal where rich is installed, a line for each change otherwise."""
    if not (sys.stdout.isatty() and find_spec("rich")):
        yield _line_by_line()
        return
    from rich.markup import escape
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    with Progress(BarColumn(), TextColumn("{task.description}"), TimeElapsedColumn()) as bar:
        task = bar.add_task("", total=None)

        def show(job: Job) -> None:
            part = job.progress.part if job.progress is not None else None
            done = 1.0 if job.state is State.PROCESSED else part
            bar.update(task, total=None if done is None else 1.0, completed=done or 0, description=escape(_said(job)))

        yield show


def _line_by_line() -> Show:
    last = ""

    def show(job: Job) -> None:
        nonlocal last
        if _said(job) != last:
            last = _said(job)
            click.echo(last)
            sys.stdout.flush()

    return show
