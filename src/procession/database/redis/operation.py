"""Operations as this database asks them: a script with its arguments, and how its reply is read.

An enqueue is one apart: its arguments are packed when it leaves, so that several may leave as one (`joining.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from procession.database.operation import Operation
from procession.database.redis.asking import of_script
from procession.database.redis.records import enqueue_arguments
from procession.database.redis.rules import stored
from procession.database.redis.scripts import Script, script
from procession.database.redis.steps import Question
from procession.job import NewJob, Stored

T = TypeVar("T")


class RedisOperation(Operation[T], Generic[T]):
    """One script with its arguments, and how to read its reply."""

    __slots__ = ("arguments", "read", "script")

    def __init__(self, script: Script, arguments: Sequence[Any], read: Callable[[Any], T]) -> None:
        self.script = script
        self.arguments = arguments
        self.read = read

    def question(self, tag: str) -> Question:
        """How the shard of this tag is asked."""
        return of_script(self.script, self.arguments, tag)


class Enqueue(Operation[list[Stored]]):
    """Jobs to be stored by one script; `now` is 0 for the server's own time."""

    __slots__ = ("jobs", "now")

    def __init__(self, now: int, jobs: Sequence[NewJob]) -> None:
        self.now = now
        self.jobs = jobs

    @property
    def script(self) -> Script:
        """The one that stores jobs."""
        return script("enqueue")

    def question(self, tag: str) -> Question:
        """See `RedisOperation.question`."""
        return of_script(script("enqueue"), [self.now, *enqueue_arguments(self.jobs)], tag)

    def read(self, reply: list[Any]) -> list[Stored]:
        """An answer for each job."""
        return [stored(job, answer) for job, answer in zip(self.jobs, reply, strict=True)]
