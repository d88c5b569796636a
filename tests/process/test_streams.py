"""The standard streams of worker processes: what is wrong with them ends neither a job nor a worker."""

from __future__ import annotations

from types import ModuleType

import pytest

from procession import Procession
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


DETAILS = """
from procession import Procession, current_job
app = Procession()

@app.job(name="tells", queue="q")
async def tells() -> None:
    current_job().log.debug("in detail")
    current_job().log.info("in short")

@app.job(name="tells_apart", queue="q", executor="process")
def tells_apart() -> None:
    current_job().log.debug("in detail")
    current_job().log.info("in short")
"""


def test_of_what_a_job_logs_a_worker_keeps_what_the_setting_says_and_shows_what_its_command_says(
    worker: Families, app: Procession
) -> None:
    (worker.folder / "shop.py").write_text(DETAILS)
    handles = [app.job(lambda: None, name=name, queue="q").enqueue() for name in ("tells", "tells_apart")]
    family = worker("--quiet", capture_logs="DEBUG")
    for handle in handles:
        handle.wait(20)
        assert [line.text for line in app.log(handle.jid)] == ["in detail", "in short"]
    assert family.stop() == 0
    assert "in detail" not in family.log
    assert "in short" not in family.log
