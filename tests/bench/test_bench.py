"""The bench still runs: few jobs, ourselves and the floors, so that it cannot rot between two real runs."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[2] / "bench"


@pytest.fixture(autouse=True)
def bench_on_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bench is a folder of scripts, not a package."""
    monkeypatch.syspath_prepend(str(BENCH))


@pytest.mark.timeout(180)  # a busy machine; 15 s on an idle one
def test_the_bench_measures_ourselves_and_the_floors(tmp_path: Path) -> None:
    raw = tmp_path / "figures.json"
    rows = ["drain", "enqueue-bulk", "enqueue-one"]
    command = [sys.executable, str(BENCH / "run.py"), "--small", "--rounds", "1", "--mode", "none", "--json", str(raw)]
    command += [word for row in (*rows, "start") for word in ("--only", row)]
    command += [word for name in ("procession", "naive", "packed") for word in ("--with", name)]
    done = subprocess.run(command, cwd=BENCH, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "!" not in done.stdout, done.stdout
    figures = json.loads(raw.read_text("utf-8"))["figures"]
    measured = {(it["row"], it["contestant"]) for it in figures}
    assert {(row, name) for row in rows for name in ("procession", "naive", "packed")} <= measured
    assert ("start", "procession") in measured
    rates = ("per_second", "start_ms")
    assert all(any(numbers.get(rate, 0) > 0 for rate in rates) for it in figures for numbers in it["rounds"])


def test_the_worker_is_measured_in_one_process() -> None:
    command = [sys.executable, "worker.py", "--rounds", "1", "--history"]
    done = subprocess.run(command, cwd=BENCH, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2_000:]
    assert re.search(r"^worker: [\d.]+ µs a job at least, .*\nserver, claim and settle: [\d.]+ µs", done.stdout)


def test_a_figure_is_clearly_worse_only_when_its_rounds_lie_apart() -> None:
    from compare import verdicts
    from figures import Row

    row = Row("drain", "drain", "jobs/s", "per_second")

    def rounds(*values: float) -> list[dict[str, float]]:
        return [{"per_second": value} for value in values]

    def worse(new: list[dict[str, float]], old: list[dict[str, float]]) -> bool:
        return verdicts(row, new, old)[0][-1]

    assert worse(rounds(70, 71, 72), rounds(100, 101, 99))
    assert not worse(rounds(70, 71, 110), rounds(100, 101, 99))
    assert not worse(rounds(95, 96, 97), rounds(100, 101, 99))
    assert not worse(rounds(120, 121, 122), rounds(100, 101, 99))


def test_one_word_of_several_is_enough_to_take_part() -> None:
    from contestants import Contestant
    from run import rows, takes_part

    def with_words(*words: str) -> Contestant:
        return Contestant("one", "peers.one", sys.executable, frozenset(words), 1, "valkey", True, "", "")

    (latency,) = rows(["latency"])
    assert takes_part(with_words("enqueue_stamp", "worker"), latency)
    assert takes_part(with_words("enqueue_stamps", "worker"), latency)
    assert not takes_part(with_words("worker"), latency)
    assert not takes_part(with_words("enqueue_stamp", "enqueue_stamps"), latency)


def test_every_contestant_pins_its_versions_and_says_whether_it_loses_jobs() -> None:
    from contestants import FLOORS, OURS, PEERS, PYTHON
    from figures.start import CLIENTS

    assert (OURS, *PYTHON) == CLIENTS
    for name in PEERS:
        assert "LEAST_ONCE" in (BENCH / "peers" / f"{name}.py").read_text("utf-8")
        pinned = BENCH / "peers" / f"requirements-{name}.txt"
        if name in PYTHON:
            assert all("==" in line for line in pinned.read_text("ascii").split())
    for name in FLOORS:
        assert (BENCH / "floors" / f"{name}.py").exists()
    assert OURS not in PEERS
