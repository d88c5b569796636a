"""The worked examples of docs/moving: what stands before is valid Python, what stands after runs, enqueues, and
retries what stood before retried, as late."""

from __future__ import annotations

import ast
import asyncio
import re
from pathlib import Path
from typing import Any

import pytest

from procession import JobTimeout, Retry

MOVING = Path(__file__).parents[2] / "docs" / "moving"


@pytest.mark.parametrize("page", sorted(MOVING.glob("*.md")), ids=lambda page: page.stem)
def test_the_example_after_the_move_runs(page: Path, monkeypatch: pytest.MonkeyPatch, namespace: str) -> None:
    monkeypatch.setenv("PROCESSION_URL", f"memory://{namespace}")
    before, after = re.findall(r'```python title="[^"]+"\n(.*?)```', page.read_text("utf-8"), re.DOTALL)
    ast.parse(before)
    names: dict[str, Any] = {"__name__": "shop.jobs"}
    exec(compile(after, str(page), "exec"), names)
    if "main" in names:
        asyncio.run(names["main"]())
    assert names["app"].stats().scheduled > 0


def moved(page: str, monkeypatch: pytest.MonkeyPatch) -> Retry:
    """The policy of the job that a page moves."""
    monkeypatch.setenv("PROCESSION_URL", "memory://moved")
    _, after = re.findall(r'```python title="[^"]+"\n(.*?)```', (MOVING / f"{page}.md").read_text("utf-8"), re.DOTALL)
    names: dict[str, Any] = {"__name__": "shop.jobs"}
    exec(compile(after, page, "exec"), names)
    policy = names["charge"].registered.retry
    assert isinstance(policy, Retry)
    return policy


def test_a_job_from_rq_waits_as_long_as_its_intervals_said(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [moved("rq", monkeypatch).delay(run) for run in (1, 2, 3)] == [10_000, 60_000, 300_000]


def test_a_job_from_celery_is_not_retried_for_its_time_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = moved("celery", monkeypatch)
    assert policy.wants(TimeoutError())
    assert not policy.wants(JobTimeout("ran longer"))
