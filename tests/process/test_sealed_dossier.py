"""The dossier of a death under a codec chain: how it ended can be read by all, what it logged by who has the key."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from procession import Encrypted, Procession
from procession.job import Crash
from procession.sealing import CLOSED
from tests.process.family import Families


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Comes before the shop is imported."""
    monkeypatch.setenv("SHOP_KEY", Encrypted.new_key())


def dossier(app: Procession, jid: object) -> Crash:
    job = app.find_job(jid)  # type: ignore[arg-type]
    assert job is not None
    (failure,) = job.failures
    assert failure.type == "WorkerDied"
    assert failure.crash is not None
    return failure.crash


def test_log_lines_and_stacks_are_sealed_and_how_it_ended_is_not(
    worker: Families, shop: ModuleType, app: Procession, tmp_path: Path
) -> None:
    worker()
    handle = shop.die_once.enqueue(str(tmp_path / "fault"), "SIGSEGV")
    assert handle.result(timeout=40) == "survived"
    crash = dossier(app, handle.jid)
    assert any("die_once" in line for line in crash.log)
    assert len(crash.log) > 1
    assert "the_guilty_function" in crash.stack
    stored = repr(app.ask(app.database.find([handle.jid]))[0].failures)  # type: ignore[union-attr]
    assert stored.count("$sealed:") == 2
    assert "started" not in stored
    assert "guilty" not in stored
    for codec in ([], [Encrypted([Encrypted.new_key()])]):
        stranger = Procession(app.settings.url, namespace=app.settings.namespace, codec=codec)
        seen = dossier(stranger, handle.jid)
        assert (seen.how, seen.log, seen.stack) == ("signal 11 (SIGSEGV)", (CLOSED,), CLOSED)
        assert (seen.host, seen.pid, seen.memory) == (crash.host, crash.pid, crash.memory)
        stranger.close()
