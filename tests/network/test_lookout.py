"""How a line waits for an answer: when it looks for one before it sleeps, and when it does not."""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from procession.clock import Deadline
from procession.database.redis import lookout
from procession.database.redis.lookout import Lookout


class Ends:
    """Both ends of a connection, and with which time limits ours was looked at."""

    def __init__(self) -> None:
        self.ours, self.theirs = socket.socketpair()
        self._poll = select.poll()
        self._poll.register(self.ours, select.POLLIN)
        self.looks: list[float] = []
        self.lookout = Lookout(self)  # type: ignore[arg-type]

    def poll(self, timeout: float) -> list[Any]:
        self.looks.append(timeout)
        return self._poll.poll(timeout)

    def answer(self, *, after: float = 0.0) -> bool:
        """Wait for an answer that comes after so many seconds. True when it was seen without sleep."""
        self.looks.clear()
        sender = threading.Timer(after, self.theirs.send, [b"x"])
        sender.start() if after else self.theirs.send(b"x")
        self.lookout.wait(Deadline(20.0))
        assert self.ours.recv(10) == b"x"
        return not any(self.looks)

    def close(self) -> None:
        self.ours.close()
        self.theirs.close()


@pytest.fixture
def ends(monkeypatch: pytest.MonkeyPatch) -> Iterator[Ends]:
    monkeypatch.setattr(lookout, "LOOK", 0.5)
    monkeypatch.setattr(lookout, "STREAK", 60.0)
    made = Ends()
    yield made
    made.close()


def test_an_answer_is_looked_for_once_the_last_one_was_near(ends: Ends) -> None:
    assert [ends.answer() for _ in range(3)] == [False, True, True]


def test_who_looked_in_vain_sleeps_and_does_not_look_for_the_next(ends: Ends) -> None:
    ends.answer()
    assert not ends.answer(after=1.0)
    assert ends.looks[0] == 0
    assert len(ends.looks) > 2
    assert not ends.answer()
    assert len(ends.looks) == 1
    assert ends.answer()


def test_a_question_after_a_pause_is_waited_for_asleep(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    ends.answer()
    monkeypatch.setattr(lookout, "STREAK", 0.0)
    assert not ends.answer()


def test_nobody_looks_while_another_thread_waits(ends: Ends) -> None:
    other = Ends()
    ends.answer()
    sleeper = threading.Thread(target=other.lookout.wait, args=[Deadline(20.0)])
    sleeper.start()
    while not other.looks:
        pass
    assert not ends.answer()
    other.theirs.send(b"x")
    sleeper.join()
    assert ends.answer()
    other.close()


def test_its_time_limit_is_kept(ends: Ends) -> None:
    ends.answer()
    with pytest.raises(TimeoutError):
        ends.lookout.wait(Deadline(0.1))
    assert not Lookout.waiting
