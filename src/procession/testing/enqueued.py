"""What a test has seen enqueued, what it asks for, and how the two differ, in words. Pure.

A question names a job, some of its arguments, and the options that were set with `using()`: in the same words in which
the code under test enqueues. Arguments are compared as a run would get them, after their way through JSON.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from msgspec import Struct

from procession.client import Procession
from procession.codec import decode_spec
from procession.enqueuer import Call, Options, new_job
from procession.errors import BadArguments, ConfigError, Sealed
from procession.job import NewJob, Spec
from procession.registry import Registered
from procession.unique import UniqueOptions
from procession.worker import Caller

SHOWN = 8
"""Most enqueues that a message shows."""


class Enqueued(Struct, frozen=True, kw_only=True):
    """One job that was stored in a test. Whatever became of it since: `jid` finds it."""

    jid: UUID
    name: str
    arguments: Mapping[str, Any]
    """By parameter name, as a run gets them, defaults filled in."""
    queue: str
    priority: int
    delay: timedelta
    """How long after its enqueue it is due; zero for at once."""
    due_at: datetime
    tags: tuple[str, ...]
    by: UUID | None
    """The job whose run enqueued it, None when the test did."""
    schedule: str
    """The schedule whose instant it is, else empty."""
    raw: bytes
    """The call as it is stored, opened."""
    job: NewJob

    def __str__(self) -> str:
        due = f", due in {self.delay}" if self.delay else ""
        by = f", by schedule {self.schedule}" if self.schedule else f", by job {self.by}" if self.by else ""
        return f"{self.name}({shown_arguments(self.arguments)})  in queue {self.queue}{due}{by}"


class Wanted(Struct, frozen=True):
    """What a test asks for."""

    registered: Registered
    options: Options
    arguments: dict[str, Any]

    def __str__(self) -> str:
        options = ", ".join(f"{name}={value!r}" for name, value in self.options.items())
        shown = shown_arguments(self.arguments) or "…"
        return f"{self.registered.name}({shown})" + (f" using({options})" if options else "")


def noted(app: Procession, job: NewJob, now: int, by: UUID | None, schedule: str) -> Enqueued:
    """What a test sees of a job that was stored."""
    spec = decode_spec(job.spec)
    arguments, raw = _arguments(app, spec, job.jid)
    due = max(now + job.delay if job.delay else job.at or now, now)
    return Enqueued(
        jid=job.jid, name=spec.name, arguments=arguments, queue=job.queue, priority=job.priority,
        delay=timedelta(milliseconds=due - now), due_at=datetime.fromtimestamp(due / 1_000, UTC),
        tags=spec.options.tags, by=by, schedule=schedule, raw=raw, job=job,
    )  # fmt: skip


def _arguments(app: Procession, spec: Spec, jid: UUID) -> tuple[dict[str, Any], bytes]:
    registered, sealing = app.registry.get(spec.name), app.registry.policies.sealing
    try:
        raw = bytes(spec.args) if sealing is None else sealing.open(spec.args, jid, "args", spec.name)
        if registered is None:
            return {}, raw
        args, kwargs = registered.signature.decode(raw)
    except (BadArguments, Sealed):  # the run will say so
        return {}, b"{}"
    bound = registered.signature.signature.bind(*args, **kwargs)
    bound.apply_defaults()
    return dict(bound.arguments), raw


def wanted(apps: Sequence[Procession], job: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Wanted:
    """What a question means.

    Raises:
        ConfigError: it names no job of these apps, or an option of which a job that was stored says nothing.
        BadArguments: the job has no such parameter.
    """
    if isinstance(job, Call):
        if args or kwargs:
            raise ConfigError("a bound call has its arguments already; give it alone")
        args, kwargs = job.registered.signature.decode(job.arguments)
        return Wanted(job.registered, _comparable(job.options), job.registered.signature.named(args, kwargs))
    if isinstance(job, Caller):
        registered, options = job.registered, _comparable(job.options)
    else:
        found = [it for app in apps if (it := app.registry.of(job)) is not None]
        if not found:
            raise ConfigError(f"{getattr(job, '__qualname__', job)!r} is no job of the apps under test")
        registered, options = found[0], Options()
    try:
        given = registered.signature.signature.bind_partial(*args, **kwargs).arguments
    except TypeError as error:
        raise BadArguments(f"{registered.signature}: {error}; nothing can have been enqueued so") from None
    return Wanted(registered, options, dict(given))


def _comparable(options: Options) -> Options:
    unknown = options.keys() - {*_FIELDS, *_IN_SPEC}
    if unknown:
        raise ConfigError(f"{min(unknown)}= leaves no trace in a job that was enqueued; ask without it")
    return options


def differences(asked: Wanted, it: Enqueued) -> list[str]:
    """How an enqueue of the same job is not what was asked for; empty when it is."""
    found = []
    for name, value in asked.arguments.items():
        if name not in it.arguments:
            found.append(f"{name} is not there")
        elif value != it.arguments[name]:  # a stand-in such as ANY says what equals it, so it stands on the left
            found.append(f"{name} is {_shown(it.arguments[name])}")
    return found + [said for option in asked.options if (said := _otherwise(asked, it, option))]


_FIELDS = {
    "delay": ("delay", "at"), "at": ("delay", "at"), "queue": ("queue",), "priority": ("priority",), "jid": ("jid",),
    "expires": ("expires_in", "expires_at"), "deadline": ("deadline",), "limit": ("slot",),
    **dict.fromkeys(UniqueOptions.__annotations__, ("unique", "delay")),
}  # fmt: skip
_IN_SPEC = ("timeout", "attempts", "tags", "headers")


_HELD = {"unique": ("not unique", "another unique key"), "slot": ("under no limit", "under another limit")}
"""How that differs which is stored as a digest: where there is none, and where there is one."""


def _otherwise(asked: Wanted, it: Enqueued, option: str) -> str:
    """Compare what the option comes to with what was stored: both are made by the enqueuer."""
    should = new_job(Call(asked.registered, it.raw, asked.options), it.jid)
    if option in _IN_SPEC:
        mine, its = (getattr(decode_spec(job.spec).options, option) for job in (should, it.job))
        if option == "headers":  # layers around the enqueue may have added others
            return "" if mine.items() <= its.items() else f"headers are {its!r}"
        return "" if mine == its else f"{option} is {its!r}"
    for field in _FIELDS.get(option, ()):
        mine, its = getattr(should, field), getattr(it.job, field)
        if mine != its:
            if field in _HELD:
                return _HELD[field][its is not None]
            return f"{field} is {_time(field, its)}"
    return ""


def _time(field: str, value: Any) -> str:
    if field in ("delay", "expires_in", "deadline"):
        return str(timedelta(milliseconds=value))
    if field in ("at", "expires_at"):
        return datetime.fromtimestamp(value / 1_000, UTC).isoformat() if value else "not set"
    return repr(value)


def missing(asked: Wanted, log: Sequence[Enqueued]) -> str:
    """Why an assertion failed that something was enqueued: what was, the nearest first."""
    same = sorted(
        ((differences(asked, it), it) for it in log if is_of(asked, it)), key=lambda pair: (len(pair[0]), str(pair[1]))
    )
    lines = [f"{asked} was not enqueued"]
    if same:
        lines.append("what was, of this job:")
        lines += [f"  {it}\n    but {', '.join(differs)}" for differs, it in same[:SHOWN]]
        lines += [f"  … and {len(same) - SHOWN} more"] if len(same) > SHOWN else []
    others = Counter(it.name for it in log if not is_of(asked, it))
    if others:
        lines.append("other jobs: " + ", ".join(f"{name} × {number}" for name, number in others.most_common(SHOWN)))
    if not log:
        lines.append("nothing at all was enqueued")
    return "\n".join(lines)


def unwelcome(asked: Wanted, found: Sequence[Enqueued]) -> str:
    """Why an assertion failed that nothing was enqueued."""
    return "\n".join([f"{asked} was enqueued:", *(f"  {it}" for it in found[:SHOWN])])


def is_of(asked: Wanted, it: Enqueued) -> bool:
    """The enqueue is one of this job."""
    return it.name == asked.registered.name or it.name in asked.registered.aliases


def shown_arguments(arguments: Mapping[str, Any]) -> str:
    """Arguments by name, as they are written in a call."""
    return ", ".join(f"{name}={_shown(value)}" for name, value in arguments.items())


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:79] + "…"
