"""The standard streams of worker processes: what is wrong with them ends neither a job nor a worker."""

from __future__ import annotations

from types import ModuleType

import pytest

from tests.process.family import Families

BEGIN = "os.execv(sys.executable, [sys.executable, '-m', 'procession', *sys.argv[1:]])"
FULL = "os.dup2(os.open('/dev/full', os.O_WRONLY), 1)"
UNREAD = "reader, writer = os.pipe(); os.dup2(writer, 1); os.close(reader)"
CLOSED = "os.close(1)"
ALL_CLOSED = "os.close(0); os.close(1)"


def test_a_job_and_what_it_starts_find_an_empty_stdin(shop: ModuleType, worker: Families) -> None:
    family = worker()
    assert shop.read.enqueue().result(timeout=10) == ["", ""]
    assert family.stop() == 0


@pytest.mark.parametrize("stdout", [FULL, UNREAD, CLOSED, ALL_CLOSED], ids=["full", "unread", "closed", "all closed"])
def test_a_worker_whose_output_goes_nowhere_performs_jobs_and_ends_well(
    shop: ModuleType, worker: Families, monkeypatch: pytest.MonkeyPatch, stdout: str
) -> None:
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)  # so that what was printed goes out as the process ends
    family = worker(patch=f"import os, sys; {stdout}; {BEGIN}")
    assert shop.say.enqueue("hello").result(timeout=10) == "said"
    assert shop.say_apart.enqueue("hello").result(timeout=10) == "said"
    assert family.stop() == 0
    assert "died" not in family.log
