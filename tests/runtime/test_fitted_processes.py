"""In a job process: layers, dependencies, resources, hooks and the codec chain are at work where the job runs."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from procession import State
from tests.runtime import fitted
from tests.runtime.working import working


def test_all_that_surrounds_a_job_is_in_its_own_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    word = tmp_path / "word"
    monkeypatch.setenv("FITTED_WORD", str(word))

    async def main() -> None:
        async with working(fitted.app):
            for job in (fitted.sync, fitted.coroutine):
                n, opened_in, ran_in = await job.enqueue(7).result_async(30)
                assert n == 7
                assert opened_in == ran_in != os.getpid()
            failed = await fitted.failing.enqueue().wait_async(30)
            assert (failed.state, failed.error) == (State.FAILED, "ValueError: for good")

    asyncio.run(main())
    assert word.read_text().endswith(" ValueError: for good")
    assert not word.read_text().startswith(f"{os.getpid()} ")
    fitted.app.flush(confirm="fitted")


def test_what_the_lifespan_sets_in_its_context_each_job_on_its_loop_or_in_its_process_begins_with() -> None:
    async def main() -> None:
        async with working(fitted.app):
            for job in (fitted.on_loop, fitted.in_process, fitted.moves_sync) * 2:
                assert (await job.enqueue().result_async(30))[0] == "north"

    asyncio.run(main())
    fitted.app.flush(confirm="fitted")
