"""The verbs about schedules as scripts with arguments. See `procession.database.schedules`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import msgspec

from procession.database.operation import Operation
from procession.database.redis.rules import rules_of
from procession.database.schedules import Fired, Scheduled
from procession.errors import ConfigError
from procession.schedule import MOST, Firing, Planned, ScheduleInfo

T = TypeVar("T")


class ScheduleVerbs(ABC):
    """A part of `RedisDatabase`."""

    @abstractmethod
    def _ask(self, verb: str, arguments: Sequence[Any], read: Callable[[Any], T]) -> Operation[T]: ...

    @property
    @abstractmethod
    def _cancelled_kept(self) -> int: ...

    def schedules(self, names: Sequence[str] | None = None) -> Operation[Scheduled]:
        """See `Schedules.schedules`."""
        return self._ask("schedules", [int(names is None), *(names or ())], _scheduled)

    def due_schedules(self, limit: int) -> Operation[Scheduled]:
        """See `Schedules.due_schedules`."""
        return self._ask("due_schedules", [limit], _scheduled)

    def upsert_schedules(self, plans: Sequence[Planned], *, declared: bool | None = False) -> Operation[list[bool]]:
        """See `Schedules.upsert_schedules`."""

        def read(reply: list[int]) -> list[bool]:
            if -1 in reply:
                raise ConfigError(f"there may be {MOST:,} schedules; remove some")
            return _truths(reply)

        return self._ask("upsert_schedules", [2 if declared is None else int(declared), MOST, *_words(plans)], read)

    def touch_schedules(self, names: Sequence[str]) -> Operation[bool]:
        """See `Schedules.touch_schedules`."""
        return self._ask("touch_schedules", [*names], bool)

    def pause_schedules(self, names: Sequence[str], reason: str = "") -> Operation[list[bool]]:
        """See `Schedules.pause_schedules`."""
        return self._ask("pause_schedules", [reason[:200], *names], _truths)

    def resume_schedules(self, plans: Sequence[Planned]) -> Operation[list[bool]]:
        """See `Schedules.resume_schedules`."""
        return self._ask("resume_schedules", _words(plans), _truths)

    def remove_schedules(self, names: Sequence[str]) -> Operation[list[bool]]:
        """See `Schedules.remove_schedules`."""
        return self._ask("remove_schedules", [*names], _truths)

    def fire(self, firings: Sequence[Firing]) -> Operation[list[Fired]]:
        """See `Schedules.fire`."""
        words = [word for firing in firings for word in _firing(firing)]
        return self._ask("fire", [self._cancelled_kept, *words], lambda reply: [it.decode() for it in reply])


def _words(plans: Sequence[Planned]) -> list[Any]:
    return [word for it in plans for word in (it.name, it.asked, it.next_at)]


def _firing(it: Firing) -> list[Any]:
    missed = (it.missed.at, it.missed.note) if it.missed else (0, "")
    words = [it.name, it.asked, it.expected, it.next_at, it.overlap, *missed, len(it.runs)]
    for run, job in it.runs:
        words += [run.at, run.jid, run.note, job.jid.bytes, job.queue, job.priority, job.at, job.expires_in, job.spec]
        words.append(b"" if job.slot is None and not job.deadline else rules_of(job))
    return words


def _truths(reply: list[int]) -> list[bool]:
    return [bool(it) for it in reply]


def _scheduled(reply: list[Any]) -> Scheduled:
    now, next_due, *rows = reply
    return Scheduled([_info(*row) for row in rows], now, next_due)


def _info(name: bytes, asked: bytes, state: bytes, declared_at: int) -> ScheduleInfo:
    known = msgspec.json.decode(state, type=dict[str, Any])
    return msgspec.convert({**known, "name": name.decode(), "asked": asked, "declared_at": declared_at}, ScheduleInfo)
