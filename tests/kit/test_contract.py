"""The contract suite as the author of a backend meets it: a star import and a fixture, in a project of their own."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from procession.database.queue import Queue
from procession.testing import contract

PAGE = Path(__file__).parents[2] / "docs" / "backends.md"
FORGETFUL = """
class Forgetful(MemoryDatabase):
    def settle(self, worker, outcomes):
        real = super().settle(worker, outcomes)
        return self.operation(lambda: real.run() and [True for _ in outcomes])


@pytest.fixture
def database(clock):
    return Forgetful(Store(POLICY), "mine://", "mine", clock)
"""


BEGUN = """
class Begun:
    def __init__(self, real):
        self.real = real

    def __getattr__(self, name):
        assert name.startswith("connect") or name in WRITTEN, f"{name} is not written yet"
        return getattr(self.real, name)


@pytest.fixture
def database(clock):
    return Begun(MemoryDatabase(Store(POLICY), "mine://", "mine", clock))
"""


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> str:
    """The file that docs/backends.md shows, which is a whole suite."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    (text,) = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    return str(text)


def test_a_backend_of_ones_own_is_held_to_every_sentence(pytester: pytest.Pytester, shown: str) -> None:
    pytester.makepyfile(shown)
    result = pytester.runpytest_inprocess("-q", "-p", "no:cacheprovider", "-k", "not [async")
    outcomes = result.parseoutcomes()
    written = sum(1 for name in contract.__all__ if name.startswith("test_"))
    assert outcomes["passed"] >= written > 100
    assert not {"failed", "errors"} & outcomes.keys()


def test_one_that_accepts_what_it_must_refuse_is_found_out(pytester: pytest.Pytester, shown: str) -> None:
    pytester.makepyfile(shown + FORGETFUL)
    result = pytester.runpytest_inprocess("-q", "-p", "no:cacheprovider", "-k", "earlier_claim and sync")
    assert result.parseoutcomes()["failed"] > 10
    result.stdout.fnmatch_lines(["*assert not True*"])  # our asserts say what they saw in another project, too


def test_the_hot_verbs_are_held_to_theirs_while_the_rest_is_not_written(pytester: pytest.Pytester, shown: str) -> None:
    page = PAGE.read_text("utf-8")
    (asked,) = re.findall(r"no more than ((?:`\w+`[^`]*?)+)\.\n", page)
    hot = {name for name in dir(Queue) if not name.startswith("_")}
    parts = re.findall(r"from\s+procession\.testing\.contract\.\w+ import \*", page)
    star = "from procession.testing.contract import *"
    assert star in shown
    assert len(parts) == 2
    text = shown.replace(star, "\n".join(" ".join(it.split()) for it in parts).replace("schedules", "queue"))
    pytester.makepyfile(f"WRITTEN = {hot | {*re.findall('[a-z]+', asked)}}\n" + text + BEGUN)
    result = pytester.runpytest_inprocess("-q", "-p", "no:cacheprovider")
    outcomes = result.parseoutcomes()
    assert outcomes["passed"] > 80
    assert not {"failed", "errors"} & outcomes.keys()


def test_the_star_hands_on_every_test_that_is_written() -> None:
    for part in contract.PARTS:
        module = getattr(contract, part)
        written = [name for name, it in inspect.getmembers(module, inspect.isfunction) if name.startswith("test_")]
        assert set(written) <= {*contract.__all__}
