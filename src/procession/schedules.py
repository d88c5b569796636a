"""`app.schedules`: what an application does with schedules at run time, and what it declares in code.

Held by `client.py` through `scheduling.py`. Each verb is a conversation: it yields questions and is sent the answers,
so that the sync and the async form of a verb are one line each. Decisions about instants are in `schedule.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from datetime import datetime, timedelta
from typing import Any, TypedDict, TypeVar, Unpack
from uuid import UUID

import msgspec
from msgspec import Raw

from procession.clock import instant, milliseconds
from procession.cron import Dst
from procession.database import Database, Operation, Scheduled
from procession.enqueuer import Call, Options, check_options
from procession.errors import ConfigError, UnknownSchedule
from procession.job import new_jid
from procession.names import check_queue, check_tags
from procession.registry import check_priority
from procession.schedule import (
    Firing,
    Missed,
    Overlap,
    Schedule,
    ScheduleInfo,
    backfill,
    by_hand,
    planned,
    planned_again,
)
from procession.sealing import Sealing, is_sealed

T = TypeVar("T")
Infos = list[ScheduleInfo]
Jids = list[UUID]
Truths = list[bool]
Words = list[str]
Steps = Generator[Operation[Any], Any, T]
"""Questions for the store, answered one by one, and what they come to."""

NOT_OF_SCHEDULES = ("delay", "at", "jid", "durability")


class Timing(TypedDict, total=False):
    """What every schedule may be told, beside its rule."""

    tz: str
    dst: Dst
    missed: Missed
    catch_up: int
    overlap: Overlap
    jitter: float | str | timedelta


def scheduled(
    name: str,
    call: Call[Any],
    *,
    cron: str | None = None,
    every: float | str | timedelta | None = None,
    **timing: Unpack[Timing],
) -> Schedule:
    """The record of a schedule. Raises ConfigError."""
    unknown = timing.keys() - Timing.__annotations__.keys()
    if unknown:
        raise ConfigError(f"unknown option {min(unknown)!r}; known are {', '.join(Timing.__annotations__)}")
    it, options = call.registered, check_options(call.options)
    return Schedule(
        name=name,
        job=it.name,
        cron=cron or "",
        every=0 if every is None else milliseconds(every, "every"),
        args=Raw(call.arguments),
        queue=check_queue(options.get("queue") or it.queue),
        priority=check_priority(options["priority"]) if "priority" in options else it.priority,
        attempts=options.get("attempts"),
        tags=check_tags(options["tags"]) if "tags" in options else it.tags,
        **_durations(options, it.expires),
        **{**timing, "jitter": milliseconds(timing.get("jitter", 0), "jitter")},  # type: ignore[arg-type]
    )


def _durations(options: Options, expires: int) -> dict[str, Any]:
    for option in NOT_OF_SCHEDULES:
        if option in options:
            raise ConfigError(f"{option}= fits one job and not a schedule of many; leave it out")
    timeout, wanted = options.get("timeout"), options.get("expires")
    if isinstance(wanted, datetime):
        raise ConfigError("expires= of a schedule is a duration, counted from each run's enqueue")
    return {
        "timeout": None if timeout is None else milliseconds(timeout, "timeout"),
        "expires": expires if wanted is None else milliseconds(wanted, "expires"),
    }


def _in_plain(schedule: Schedule) -> Schedule:
    if is_sealed(schedule.args):
        raise ConfigError(f"the args of schedule {schedule.name!r} are sealed and cannot be opened here")
    return schedule


class Schedules:
    """Schedules of one namespace. A name that is not known raises UnknownSchedule, but for `find` and `remove`.

    Args:
        database: gives the store that they live in.
        ask, ask_async: ask it one question.
        calling: turns a job function, a worker class or a job's name into a call without arguments.
        sealing: the app's codec chain, if it has one.
    """

    def __init__(
        self,
        database: Callable[[], Database],
        ask: Callable[[Operation[Any]], Any],
        ask_async: Callable[[Operation[Any]], Coroutine[Any, Any, Any]],
        calling: Callable[[Any], Call[Any]],
        sealing: Callable[[], Sealing | None] = lambda: None,
    ) -> None:
        self._database = database
        self._ask = ask
        self._ask_async = ask_async
        self._calling = calling
        self._sealing = sealing
        self.declared: dict[str, Schedule] = {}
        """What stands in code: workers store it when they begin."""

    def declare(self, schedule: Schedule) -> None:
        """Take in a schedule that stands in code. Raises ConfigError when its name is taken."""
        if schedule.name in self.declared:
            raise ConfigError(f"two schedules are named {schedule.name!r}; give one of them a name=")
        self.declared[schedule.name] = schedule

    def list(self) -> Infos:
        """Every schedule, by name: what was asked, when it is due next, whether it is paused, its last 30 runs."""
        return self._run(self._list())

    async def list_async(self) -> Infos:
        """See `list`."""
        return await self._run_async(self._list())

    def find(self, name: str) -> ScheduleInfo | None:
        """One schedule, None when it is not there."""
        return self._run(self._find(name))

    async def find_async(self, name: str) -> ScheduleInfo | None:
        """See `find`."""
        return await self._run_async(self._find(name))

    def upsert(
        self,
        name: str,
        job: Any,
        *,
        cron: str | None = None,
        every: float | str | timedelta | None = None,
        **timing: Unpack[Timing],
    ) -> bool:
        """Make a schedule, or make it so; False when it was just so already.

        An edit counts from now: nothing that was due before it is made up for. What stands in code is stored anew when
        a worker begins, so code wins over an edit of what it declares.

        Args:
            name: 1 to 200 printable characters; at most 2,000 schedules in a namespace.
            job: a bound call (`report.bind("eu")`); or, without arguments, a job function, a worker class, a name.
            cron, every: one of them; see `Procession.cron` and `Procession.every`, also for `timing`.
        """
        return self._run(self._upsert(self._asked(name, job, cron, every, timing)))

    async def upsert_async(
        self,
        name: str,
        job: Any,
        *,
        cron: str | None = None,
        every: float | str | timedelta | None = None,
        **timing: Unpack[Timing],
    ) -> bool:
        """See `upsert`."""
        return await self._run_async(self._upsert(self._asked(name, job, cron, every, timing)))

    def save(self, schedule: Schedule) -> bool:
        """Store a schedule as a record, such as one that was read (`ScheduleInfo.schedule`) and changed; else as
        `upsert`. Raises ConfigError when its arguments are sealed: they are those of whom they were sealed for."""
        return self._run(self._upsert(_in_plain(schedule)))

    async def save_async(self, schedule: Schedule) -> bool:
        """See `save`."""
        return await self._run_async(self._upsert(_in_plain(schedule)))

    def pause(self, name: str, reason: str = "") -> None:
        """Let a schedule not be due. What it inserted stays."""
        self._run(self._pause(name, reason))

    async def pause_async(self, name: str, reason: str = "") -> None:
        """See `pause`."""
        await self._run_async(self._pause(name, reason))

    def resume(self, name: str) -> None:
        """Undo `pause`: it is due at its next instant, and nothing between is made up for."""
        self._run(self._resume(name))

    async def resume_async(self, name: str) -> None:
        """See `resume`."""
        await self._run_async(self._resume(name))

    def run_now(self, name: str) -> UUID:
        """Enqueue one run more, now, whatever runs or is due, paused or not; returns its jid."""
        return self._run(self._run_now(name))

    async def run_now_async(self, name: str) -> UUID:
        """See `run_now`."""
        return await self._run_async(self._run_now(name))

    def remove(self, name: str) -> bool:
        """Forget a schedule and its history; its jobs stay. False when it is not there."""
        return self._run(self._remove(name))

    async def remove_async(self, name: str) -> bool:
        """See `remove`."""
        return await self._run_async(self._remove(name))

    def backfill(self, name: str, after: datetime, until: datetime) -> Jids:
        """Enqueue a run for each instant in (after, until], at most 100, and return their jids.

        An instant whose job is still in the store is left as it is: asking twice makes each job once.
        """
        return self._run(self._backfill(name, instant(after, "after"), instant(until, "until")))

    async def backfill_async(self, name: str, after: datetime, until: datetime) -> Jids:
        """See `backfill`."""
        return await self._run_async(self._backfill(name, instant(after, "after"), instant(until, "until")))

    # Conversations

    def _asked(self, name: str, job: Any, cron: Any, every: Any, timing: Timing) -> Schedule:
        call = job if isinstance(job, Call) else self._calling(job)
        return scheduled(name, call, cron=cron, every=every, **timing)

    def _list(self) -> Steps[Infos]:
        found: Scheduled = yield self._database().schedules()
        return [self._opened(it) for it in found.schedules]

    def _opened(self, info: ScheduleInfo) -> ScheduleInfo:
        """For whoever reads it: with its arguments in plain, where they can be opened here."""
        if self._sealing() is None:
            return info
        try:
            return msgspec.structs.replace(info, asked=msgspec.json.encode(info.schedule.opened(self._sealing())))
        except ConfigError:
            return info

    def _find(self, name: str) -> Steps[ScheduleInfo | None]:
        found: Scheduled = yield self._database().schedules([name])
        return self._opened(found.schedules[0]) if found.schedules else None

    def _there(self, name: str) -> Steps[tuple[ScheduleInfo, int]]:
        found: Scheduled = yield self._database().schedules([name])
        if not found.schedules:
            raise UnknownSchedule(f"there is no schedule {name!r}; `procession schedules` lists them")
        return found.schedules[0], found.now

    def _upsert(self, schedule: Schedule) -> Steps[bool]:
        found: Scheduled = yield self._database().schedules([schedule.name])
        plan = planned(schedule, found.now, self._sealing(), found.schedules)
        changed: Truths = yield self._database().upsert_schedules([plan])
        return changed[0]

    def _pause(self, name: str, reason: str) -> Steps[None]:
        yield from self._there(name)
        yield self._database().pause_schedules([name], reason)

    def _resume(self, name: str) -> Steps[None]:
        info, now = yield from self._there(name)
        yield self._database().resume_schedules([planned_again(info, now)])

    def _run_now(self, name: str) -> Steps[UUID]:
        info, now = yield from self._there(name)
        jid = new_jid()
        yield from self._fire(by_hand(info, now, jid, self._sealing()))
        return jid

    def _remove(self, name: str) -> Steps[bool]:
        gone: Truths = yield self._database().remove_schedules([name])
        return gone[0]

    def _backfill(self, name: str, after: int, until: int) -> Steps[Jids]:
        info, _ = yield from self._there(name)
        firing = backfill(info, after, until, self._sealing())
        yield from self._fire(firing)
        return [job.jid for _, job in firing.runs]

    def _fire(self, firing: Firing) -> Steps[None]:
        fired: Words = yield self._database().fire([firing])
        if fired == ["lost"]:
            raise ConfigError(f"schedule {firing.name!r} was changed at this moment; ask again")

    def _run(self, steps: Steps[T]) -> T:
        answer: Any = None
        try:
            while True:
                answer = self._ask(steps.send(answer))
        except StopIteration as end:
            result: T = end.value
            return result

    async def _run_async(self, steps: Steps[T]) -> T:
        answer: Any = None
        while True:
            try:
                question = steps.send(answer)
            except StopIteration as end:
                result: T = end.value
                return result
            answer = await self._ask_async(question)
