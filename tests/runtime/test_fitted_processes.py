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
