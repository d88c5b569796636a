"""What `procession top` has on its screen, made of facts and of what the person has chosen to see. Asks nothing."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from procession.cli.top.facts import Facts
from procession.cli.top.keys import Screen
from procession.job import Job, State
from procession.terminal import in_a_line

KEYS = "q quit · ↑↓ · Tab queues/jobs · p pause · c cancel · r retry · w why · / filter · 1 running … 5 processed"
COLOURS = {
    State.QUEUED: "blue", State.DELAYED: "magenta", State.BLOCKED: "magenta", State.RUNNING: "cyan",
    State.PROCESSED: "green", State.FAILED: "red", State.CANCELLED: "bright_black",
}  # fmt: skip
LEAST_ROWS = 3


def drawn(facts: Facts, screen: Screen, *, title: str, height: int, trouble: str = "") -> RenderableType:
    """The whole screen, at most `height` lines: what grows is cut, the jobs get what is left."""
    head = [_states(facts, title), _rates(facts)]
    errors = [_error(facts, it) for it in range(min(2, len(facts.errors)))] if height >= 20 else []
    left = height - len(head) - len(errors) - 2  # the footer, and what the last key came to
    queues = min(len(facts.queues), max(LEAST_ROWS, left // 4)) or 1
    workers = min(len(facts.workers), max(2, left // 5)) or 1
    jobs = max(1, left - queues - workers - 3)  # three lines of headings
    parts: list[RenderableType] = [*head, _queues(facts, screen, queues), _workers(facts, workers)]
    parts += [_jobs(facts, screen, jobs), *errors, _said(screen, trouble)]
    return Group(*parts, Text(KEYS, style="dim", no_wrap=True, overflow="ellipsis"))


def _states(facts: Facts, title: str) -> Text:
    counts, line = facts.counts, Text(f"{in_a_line(title)}  ", style="bold", no_wrap=True, overflow="ellipsis")
    for state in (State.DELAYED, State.BLOCKED, State.QUEUED, State.RUNNING, State.PROCESSED, State.FAILED):
        number = getattr(counts, state.value)
        if number or state is not State.BLOCKED:
            line.append(f" {state.value} ", style=f"not bold {COLOURS[state]}")
            line.append(f"{number:,} ", style="bold")
    return line


def _rates(facts: Facts) -> Text:
    if not facts.rates:
        return Text("rates come with the next look", style="dim")
    rates = " · ".join(f"{number:,.1f} {name}" for name, number in facts.rates.items())
    return Text(f"a second: {rates}", style="dim", no_wrap=True, overflow="ellipsis")


def _table(*columns: str) -> Table:
    table = Table(box=None, padding=(0, 1), expand=True, header_style="dim")
    for at, name in enumerate(columns):
        share = 3 if at == 0 else 2 if name == "" else None  # what it is called, and what is to be said of it
        table.add_column(_cell(name), no_wrap=True, overflow="ellipsis", ratio=share)
    return table


def _cell(text: str, style: str = "") -> Text:
    """What strangers wrote, as it is: markup and emoji codes in it mean nothing here."""
    return Text(in_a_line(text), style=style)


def _window(rows: Sequence[object], chosen: int | None, height: int) -> range:
    """Which rows are shown: the first, or those around the chosen one."""
    first = 0 if chosen is None else max(0, min(chosen - height // 2, len(rows) - height))
    return range(first, min(len(rows), first + height))


def _queues(facts: Facts, screen: Screen, height: int) -> Table:
    table, chosen = _table("queue", "queued", "oldest", ""), screen.row if screen.pane == "queues" else None
    for at in _window(facts.queues, chosen, height):
        it = facts.queues[at]
        why = f"paused{f' by {it.paused_by}' if it.paused_by else ''} {it.reason}".strip() if it.paused else ""
        oldest = ago(facts.at - it.oldest) if it.oldest else ""
        table.add_row(_cell(it.name), f"{it.queued:,}", oldest, _cell(why, "yellow"), style=_style(at == chosen))
    if not facts.queues:
        table.add_row(Text("no queue yet", style="dim"))
    return table


def _workers(facts: Facts, height: int) -> Table:
    table = _table("worker", "running", "memory", "beat")
    fit = height if len(facts.workers) <= height else height - 1
    for it in facts.workers[:fit]:
        memory = f"{it.memory / 1e6:.0f} MB" if it.memory else ""
        table.add_row(_cell(it.id), f"{it.running}/{it.concurrency}", memory, ago(facts.at - it.beat_at))
    if not facts.workers:
        table.add_row(Text("no queue worker is alive", style="yellow"))
    elif len(facts.workers) > fit:
        table.add_row(Text(f"and {len(facts.workers) - fit} more", style="dim"))
    return table


def _jobs(facts: Facts, screen: Screen, height: int) -> Table:
    shown = screen.filter if screen.typed is None else f"{screen.typed}▏"
    table = _table(f"jobs: {shown}", "queue", "attempt", "for", "")
    chosen = screen.row if screen.pane == "jobs" else None
    for at in _window(facts.jobs, chosen, height):
        job = facts.jobs[at]
        name = _cell(job.name or "(undecodable)", COLOURS[job.state])
        facts_of = (_cell(job.queue), str(job.attempt), ago(facts.at - since(job)), _cell(_note(job)))
        table.add_row(name, *facts_of, style=_style(at == chosen))
    if not facts.jobs:
        table.add_row(Text("none", style="dim"))
    return table


def _error(facts: Facts, at: int) -> Text:
    it = facts.errors[at]
    text = f"{it.count:,} × {it.type}: {it.message}, {ago(facts.at - it.last_at)} ago"
    return Text(in_a_line(text), style="red", no_wrap=True, overflow="ellipsis")


def _said(screen: Screen, trouble: str) -> Text:
    if trouble:
        return Text(in_a_line(trouble), style="bold yellow", no_wrap=True, overflow="ellipsis")
    says = screen.asked.question if screen.asked is not None else screen.says
    return Text(in_a_line(says), style="bold", no_wrap=True, overflow="ellipsis")


def _style(chosen: bool) -> str:
    return "reverse" if chosen else ""


def _note(job: Job) -> str:
    if job.state is State.RUNNING:
        progress = job.progress
        part = f"{progress.part:.0%} " if progress is not None and progress.part is not None else ""
        return f"{part}{progress.text if progress is not None else ''}".strip() or str(job.jid)
    said = (job.error if job.state is State.FAILED else None) or job.reason
    return said.splitlines()[0] if said else str(job.jid)


def since(job: Job) -> int:
    """When a job became what it is."""
    if job.state is State.DELAYED:
        return job.due_at
    return job.finish_at or job.start_at or job.enqueued_at


def ago(milliseconds: int) -> str:
    """A duration in at most five characters; what lies ahead begins with "in"."""
    seconds = abs(milliseconds) // 1_000
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "m")):
        if seconds >= size:
            text = f"{seconds // size}{unit}"
            break
    else:
        text = f"{seconds}s"
    return f"in {text}" if milliseconds <= -1_000 else text
