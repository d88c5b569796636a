"""`app.schedules`: what an application does with schedules at run time, and what it declares in code.

Held by `client.py` through `scheduling.py`. Each verb is a walk: it yields questions and is sent the answers, so that
the sync and the async form of a verb are one line each. Decisions about instants are in `schedule.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, TypedDict, TypeVar, Unpack
from uuid import UUID

import msgspec
from msgspec import Raw
from msgspec.structs import asdict, replace

from procession.asker import Asker
from procession.clock import instant, milliseconds
from procession.cron import Dst
from procession.database import Scheduled, Walk
from procession.enqueuer import Call, Options, check_options, lasting_of, limit_of
from procession.errors import ConfigError, UnknownSchedule
from procession.job import new_jid
from procession.names import check_headers, check_queue, check_tags, check_text
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
    schedule_of,
)
from procession.sealing import Sealing, is_sealed
from procession.unique import for_call

T = TypeVar("T")
Infos = list[ScheduleInfo]
Jids = list[UUID]
Truths = list[bool]
Words = list[str]
NOT_OF_SCHEDULES = ("delay", "at", "jid", "durability")


class Timing(TypedDict, total=False):
    """What every schedule may be told, beside its rule."""

    tz: str
    dst: Dst
    missed: Missed
    catch_up: int
    overlap: Overlap
    jitter: float | str | timedelta


class Edit(Timing, total=False):
    """What an edit may change; one of `cron` and `every` takes the place of both."""

    cron: str
    every: float | str | timedelta
    queue: str
    priority: int


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
    if for_call(it.unique, options, it.signature):
        raise ConfigError(
            f"{it.name} is a unique job, and a schedule enqueues each instant once by itself: schedule its"
            " using(unique=False), and say overlap= for runs that meet"
        )
    limit = limit_of(call, options)
    return schedule_of({
        "name": name,
        "job": it.name,
        "cron": cron or "",
        "every": 0 if every is None else milliseconds(every, "every"),
        "args": Raw(call.arguments),
        "queue": check_queue(options.get("queue") or it.queue),
        "priority": check_priority(options["priority"]) if "priority" in options else it.priority,
        "attempts": options.get("attempts"),
        "tags": check_tags(options["tags"]) if "tags" in options else it.tags,
        "headers": check_headers(options.get("headers") or {}),
        "limit": limit.text(call.arguments, it.signature) if limit else "",
        "slots": limit.most if limit else 0,
        **_durations(options, it.expires, it.deadline),
        **timing,
        "jitter": milliseconds(timing.get("jitter", 0), "jitter"),
    })


def _durations(options: Options, expires: int, deadline: int) -> dict[str, Any]:
    for option in NOT_OF_SCHEDULES:
        if option in options:
            raise ConfigError(f"{option}= fits one job and not a schedule of many; leave it out")
    timeout = options.get("timeout")
    if isinstance(options.get("expires"), datetime):
        raise ConfigError("expires= of a schedule is a duration, counted from each run's enqueue")
    return {
        "timeout": None if timeout is None else milliseconds(timeout, "timeout"),
        "expires": lasting_of(options, "expires", expires),
        "deadline": lasting_of(options, "deadline", deadline),
    }


def edited(schedule: Schedule, changes: Edit) -> Schedule:
    """The schedule with these changes. Raises ConfigError."""
    unknown = changes.keys() - Edit.__annotations__.keys()
    if unknown:
        known = ", ".join(Edit.__annotations__)
        raise ConfigError(f"an edit cannot change {min(unknown)!r}; it can change {known}, and the arguments")
    new: dict[str, Any] = {**changes}
    if "cron" in new or "every" in new:
        new = {"cron": "", "every": 0, **new}
    for name in ("every", "jitter"):
        if name in new:
            new[name] = milliseconds(new[name], name)
    if "queue" in new:
        check_queue(new["queue"])
    if "priority" in new:
        check_priority(new["priority"])
    return schedule_of({**asdict(schedule), **new})


def called_with(schedule: Schedule, call: Call[Any]) -> Schedule:
    """The schedule, which is in plain, with the arguments of this call. A limit that followed from the old ones follows
    from the new ones; one that was given with the schedule stays."""
    rule, args, signature = call.registered.limit, Raw(call.arguments), call.registered.signature
    if rule is None or not schedule.limit or rule.text(bytes(schedule.args), signature) != schedule.limit:
        return replace(schedule, args=args)
    return replace(schedule, args=args, limit=rule.text(call.arguments, signature), slots=rule.most)


def _in_plain(schedule: Schedule) -> Schedule:
    if not isinstance(schedule, Schedule):
        given: Any = schedule
        raise ConfigError(f"{given!r:.200} is no Schedule, such as the `schedule` of what find() returns")
    if is_sealed(schedule.args):
        raise ConfigError(f"the args of schedule {schedule.name!r} are sealed and cannot be opened here")
    return schedule_of(asdict(schedule))


class Schedules:
    """Schedules of one namespace. A name that is not known raises UnknownSchedule, but for `find` and `remove`.

    Args:
        app: asks the store that they live in.
        calling: binds arguments to a job function, a worker class or a job's name.
    """

    def __init__(self, app: Asker, calling: Callable[[Any, Sequence[Any], Mapping[str, Any]], Call[Any]]) -> None:
        self._app = app
        self._calling = calling
        self.declared: dict[str, Schedule] = {}
        """What stands in code: workers store it when they begin."""

    def declare(self, schedule: Schedule) -> None:
        """Take in a schedule that stands in code. Raises ConfigError when its name is taken."""
        if schedule.name in self.declared:
            raise ConfigError(f"two schedules are named {schedule.name!r}; give one of them a name=")
        self.declared[schedule.name] = schedule

    def list(self) -> Infos:
        """Every schedule, by name: what was asked, when it is due next, whether it is paused, its last 30 runs."""
        return self._app.walk(self._list())

    async def list_async(self) -> Infos:
        """See `list`."""
        return await self._app.walk_async(self._list())

    def find(self, name: str) -> ScheduleInfo | None:
        """One schedule, None when it is not there."""
        return self._app.walk(self._find(name))

    async def find_async(self, name: str) -> ScheduleInfo | None:
        """See `find`."""
        return await self._app.walk_async(self._find(name))

    def upsert(
        self,
        name: str,
        job: Any,
        *,
        cron: str | None = None,
        every: float | str | timedelta | None = None,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        **timing: Unpack[Timing],
    ) -> bool:
        """Make a schedule, or make it so; False when it was just so already.

        An edit counts from now: nothing that was due before it is made up for. What stands in code is stored anew when
        a worker begins, so code wins over an edit of what it declares.

        Args:
            name: 1 to 200 printable characters; at most 2,000 schedules in a namespace.
            job: a bound call (`report.bind("eu")`); or a job function, a worker class, a name of this app.
            cron, every: one of them; see `Procession.cron` and `Procession.every`, also for `timing`.
            args, kwargs: for a job that is not bound yet, checked here.
        """
        return self._app.walk(self._upsert(self._asked(name, job, cron, every, args, kwargs, timing)))

    async def upsert_async(
        self,
        name: str,
        job: Any,
        *,
        cron: str | None = None,
        every: float | str | timedelta | None = None,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        **timing: Unpack[Timing],
    ) -> bool:
        """See `upsert`."""
        return await self._app.walk_async(self._upsert(self._asked(name, job, cron, every, args, kwargs, timing)))

    def edit(
        self,
        name: str,
        *,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        **changes: Unpack[Edit],
    ) -> bool:
        """Change what is named of a schedule, and leave the rest as it is; False when it was just so already.

        It counts from now, as every edit; what stands in code comes back when a worker begins, see `upsert`.

        Args:
            args, kwargs: new arguments, all of them; then its job must be one of this app. Without them, nothing of the
                job needs to be known here, nor a key where they are sealed.
            changes: `cron` or `every`, `queue`, `priority`, and everything of `timing` in `upsert`.
        """
        return self._app.walk(self._edit(name, args, kwargs, changes))

    async def edit_async(
        self,
        name: str,
        *,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        **changes: Unpack[Edit],
    ) -> bool:
        """See `edit`."""
        return await self._app.walk_async(self._edit(name, args, kwargs, changes))

    def save(self, schedule: Schedule) -> bool:
        """Store a schedule as a record, such as one that was read (`ScheduleInfo.schedule`) and changed; else as
        `upsert`. Raises ConfigError when its arguments are sealed: they are those of whom they were sealed for."""
        return self._app.walk(self._upsert(_in_plain(schedule), declared=None))

    async def save_async(self, schedule: Schedule) -> bool:
        """See `save`."""
        return await self._app.walk_async(self._upsert(_in_plain(schedule), declared=None))

    def pause(self, name: str, reason: str = "") -> None:
        """Let a schedule not be due. What it inserted stays."""
        self._app.walk(self._pause(name, reason))

    async def pause_async(self, name: str, reason: str = "") -> None:
        """See `pause`."""
        await self._app.walk_async(self._pause(name, reason))

    def resume(self, name: str) -> None:
        """Undo `pause`: it is due at its next instant, and nothing between is made up for."""
        self._app.walk(self._resume(name))

    async def resume_async(self, name: str) -> None:
        """See `resume`."""
        await self._app.walk_async(self._resume(name))

    def run_now(self, name: str) -> UUID:
        """Enqueue one run more, now, whatever runs or is due, paused or not; returns its jid."""
        return self._app.walk(self._run_now(name))

    async def run_now_async(self, name: str) -> UUID:
        """See `run_now`."""
        return await self._app.walk_async(self._run_now(name))

    def remove(self, name: str) -> bool:
        """Forget a schedule and its history; its jobs stay. False when it is not there."""
        return self._app.walk(self._remove(name))

    async def remove_async(self, name: str) -> bool:
        """See `remove`."""
        return await self._app.walk_async(self._remove(name))

    def backfill(self, name: str, after: datetime, until: datetime) -> Jids:
        """Enqueue a run for each instant in (after, until], at most 100, and return their jids.

        An instant whose job is still in the store is left as it is: asking twice makes each job once.
        """
        return self._app.walk(self._backfill(name, instant(after, "after"), instant(until, "until")))

    async def backfill_async(self, name: str, after: datetime, until: datetime) -> Jids:
        """See `backfill`."""
        return await self._app.walk_async(self._backfill(name, instant(after, "after"), instant(until, "until")))

    # Walks

    @property
    def _sealing(self) -> Sealing | None:
        return self._app.registry.policies.sealing

    def _asked(self, name: str, job: Any, cron: Any, every: Any, args: Any, kwargs: Any, timing: Timing) -> Schedule:
        bound = isinstance(job, Call)
        if bound and (args or kwargs):
            raise ConfigError("a bound call has its arguments; give args= and kwargs= with a job function or a name")
        call = job if bound else self._calling(job, args, kwargs or {})
        return scheduled(name, call, cron=cron, every=every, **timing)

    def _edit(self, name: str, args: Any, kwargs: Any, changes: Edit) -> Walk[bool]:
        info, now = yield from self._there(name)
        schedule = edited(info.schedule, changes)
        if args is None and kwargs is None:
            plan = planned(schedule, now)  # its arguments stay as they are stored, sealed or not
        else:
            call = self._calling(schedule.job, args or (), kwargs or {})
            plan = planned(called_with(schedule.opened(self._sealing), call), now, self._sealing, [info])
        changed: Truths = yield self._app.database.upsert_schedules([plan], declared=None)
        return changed[0]

    def _list(self) -> Walk[Infos]:
        found: Scheduled = yield self._app.database.schedules()
        return [self._opened(it) for it in found.schedules]

    def _opened(self, info: ScheduleInfo) -> ScheduleInfo:
        """For whoever reads it: with its arguments in plain, where they can be opened here."""
        if self._sealing is None:
            return info
        try:
            return msgspec.structs.replace(info, asked=msgspec.json.encode(info.schedule.opened(self._sealing)))
        except ConfigError:
            return info

    def _find(self, name: str) -> Walk[ScheduleInfo | None]:
        found: Scheduled = yield self._app.database.schedules([name])
        return self._opened(found.schedules[0]) if found.schedules else None

    def _there(self, name: str) -> Walk[tuple[ScheduleInfo, int]]:
        found: Scheduled = yield self._app.database.schedules([name])
        if not found.schedules:
            raise UnknownSchedule(f"there is no schedule {name!r}; `procession schedules` lists them")
        return found.schedules[0], found.now

    def _upsert(self, schedule: Schedule, declared: bool | None = False) -> Walk[bool]:
        found: Scheduled = yield self._app.database.schedules([schedule.name])
        plan = planned(schedule, found.now, self._sealing, found.schedules)
        changed: Truths = yield self._app.database.upsert_schedules([plan], declared=declared)
        return changed[0]

    def _pause(self, name: str, reason: str) -> Walk[None]:
        yield from self._there(name)
        yield self._app.database.pause_schedules([name], check_text(reason, "reason"))

    def _resume(self, name: str) -> Walk[None]:
        info, now = yield from self._there(name)
        yield self._app.database.resume_schedules([planned_again(info, now)])

    def _run_now(self, name: str) -> Walk[UUID]:
        info, now = yield from self._there(name)
        jid = new_jid()
        yield from self._fire(by_hand(info, now, jid, self._sealing))
        return jid

    def _remove(self, name: str) -> Walk[bool]:
        gone: Truths = yield self._app.database.remove_schedules([name])
        return gone[0]

    def _backfill(self, name: str, after: int, until: int) -> Walk[Jids]:
        info, _ = yield from self._there(name)
        firing = backfill(info, after, until, self._sealing)
        yield from self._fire(firing)
        return [job.jid for _, job in firing.runs]

    def _fire(self, firing: Firing) -> Walk[None]:
        fired: Words = yield self._app.database.fire([firing])
        if fired == ["lost"]:
            raise ConfigError(f"schedule {firing.name!r} was changed at this moment; ask again")
