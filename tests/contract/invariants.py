"""What must hold at any time, on any backend: counters equal a full scan, and each job is in exactly one place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from procession.database import Database, Query
from procession.job import Job, State


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


def check_invariants(database: Database, ask: Callable[..., Any]) -> None:
    """Raise AssertionError where the store contradicts itself."""
    counts = ask(database.counts())
    found = {state: all_jobs(database, ask, state) for state in State}
    for state, jobs in found.items():
        assert all(job.state is state for job in jobs), state
        name = f"kept_{state.value}" if state.final else state.value
        assert getattr(counts, name) == len(jobs), (name, counts)
    jids = [job.jid for jobs in found.values() for job in jobs]
    assert len(jids) == len(set(jids)), "a job is in two places"
    queued = {info.name: info.queued for info in ask(database.queues()) if info.queued}
    by_queue: dict[str, int] = {}
    for job in found[State.QUEUED]:
        by_queue[job.queue] = by_queue.get(job.queue, 0) + 1
    assert queued == by_queue
    held = sum(info.running for info in ask(database.workers()))
    assert held == counts.running
