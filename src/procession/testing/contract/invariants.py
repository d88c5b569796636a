"""What must hold at any time, on any backend: the store's own check finds nothing, and readers see what the counters
say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from procession.database import Database, Query
from procession.job import Job, State
from procession.repair import Report, walk


def all_jobs(database: Database, ask: Callable[..., Any], state: State) -> list[Job]:
    """Every job of one state, page by page."""
    jobs: list[Job] = []
    cursor = None
    while True:
        page = ask(database.page(Query(state=state), cursor=cursor, limit=100))
        jobs += page.jobs
        cursor = page.cursor
        if cursor is None:
            return jobs


def walked(database: Database, ask: Callable[..., Any], *, mend: bool = False, lease: int = 15_000) -> Report:
    """The whole check of `procession repair`, asked through a connection."""
    steps = walk(database, mend=mend, lease=lease)
    page = None
    while True:
        try:
            page = ask(steps.send(page) if page else next(steps))
        except StopIteration as end:
            report: Report = end.value
            return report


def check_invariants(database: Database, ask: Callable[..., Any]) -> None:
    """Raise AssertionError where the store contradicts itself."""
    assert walked(database, ask) == Report(findings=[], checked=walked(database, ask).checked)
    counts = ask(database.counts())
    jids = []
    for state in State:
        jobs = all_jobs(database, ask, state)
        assert all(job.state is state for job in jobs), state
        name = f"kept_{state.value}" if state.final else state.value
        assert getattr(counts, name) == len(jobs), (name, counts)
        jids += [job.jid for job in jobs]
    assert len(jids) == len(set(jids)), "a job is in two places"
    assert counts.repaired == 0
