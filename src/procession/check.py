"""Before a deploy: does this code still fit what is in the store? Jobs and schedules against the registry, job by job.

Pure: a generator that yields questions and is sent the answers, a page at a time; it holds the findings and never the
jobs. `app.check()` and `procession check` ask. Nothing here changes or runs a job.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Literal

import msgspec
from msgspec import Struct

from procession.database import Database, Page, Query, Scheduled, Walk
from procession.errors import BadArguments, ConfigError, Sealed
from procession.job import Job, State
from procession.registry import Registered, Registry
from procession.schedule import Schedule, ScheduleInfo
from procession.sealing import Sealing, Timed, is_sealed

Kind = Literal["name", "missing", "extra", "value", "sealed", "unreadable", "queue", "schedule"]
Grade = Literal["problem", "warning"]

TRIP = 500
"""Jobs of one page: a few milliseconds of the server's time."""
SAMPLES = 3
"""Ids of jobs that a finding names."""
MOST = 200
"""Different findings that are kept; of what comes then only the number is told."""
WAITING = (State.QUEUED, State.DELAYED, State.BLOCKED, State.RUNNING)
"""States from which a job will run under the new code; a running one does if its worker dies or gives it back."""


class Finding(Struct, kw_only=True):
    """One thing that does not fit, with all jobs that share it."""

    kind: Kind
    grade: Grade
    """A warning is about what is over: finished jobs, which fail if somebody retries them, and schedules that stood in
    code and do not any more, which rest once no worker declares them."""
    name: str
    """The job's name as it is stored; for `schedule` that of the schedule, for `queue` that of the queue."""
    says: str
    do: str
    count: int = 0
    states: Counter[str] = msgspec.field(default_factory=Counter)
    samples: list[str] = []


class Checked(Struct, frozen=True, kw_only=True):
    """What a check came to."""

    findings: tuple[Finding, ...]
    """Problems first, the most frequent of them first."""
    looked_at: dict[str, int]
    """Jobs by state, and `schedules`."""
    complete: bool
    """False when the store holds more jobs than the limit let it look at."""
    left_out: int = 0
    """Findings beyond the 200 that are kept."""

    @property
    def fits(self) -> bool:
        """There is no problem; there may be warnings."""
        return not any(it.grade == "problem" for it in self.findings)


class _Misfit(Struct, frozen=True):
    kind: Kind
    name: str
    says: str
    do: str


def check(
    database: Database,
    registry: Registry,
    declared: Mapping[str, Schedule],
    *,
    queues: Sequence[str],
    limit: int | None,
) -> Walk[Checked]:
    """Compare what waits, what has failed and what is scheduled with the code of a registry.

    Args:
        declared: schedules that stand in this code, by name: its workers store them anew when they begin.
        queues: those that the workers to come will serve.
        limit: most jobs of each state that are looked at; None for all.

    Raises:
        ConfigError: the limit is below 1.
    """
    if limit is not None and (not isinstance(limit, int) or limit < 1):
        raise ConfigError(f"limit={limit!r} must be at least 1; None looks at every job")
    workers, scheduled = yield (database.workers(), database.schedules())
    served = {*queues, *(queue for it in workers for queue in it.queues)}
    found, looked_at, complete = _Findings(), Counter[str](), True
    found_schedules: Scheduled = scheduled
    for info in found_schedules.schedules:
        grade: Grade = "warning" if info.declared_at and info.name not in declared else "problem"
        for misfit in _of_schedule(info, declared.get(info.name), registry, served):
            found.add(misfit, grade, "scheduled", "")
    looked_at["schedules"] = len(found_schedules.schedules)
    for state in (*WAITING, State.FAILED):
        cursor = None
        while True:
            most = TRIP if limit is None else min(TRIP, limit - looked_at[state.value])
            if most <= 0:
                complete = False
                break
            page: Page = yield (database.page(Query(state=state), cursor=cursor, limit=most),)
            looked_at[state.value] += len(page.jobs)
            for job in page.jobs:
                for misfit in _of_job(job, registry, served):
                    found.add(misfit, "warning" if state.final else "problem", state.value, str(job.jid))
            cursor = page.cursor
            if cursor is None:
                break
    return Checked(
        findings=found.in_order(), looked_at=dict(looked_at), complete=complete, left_out=found.left_out
    )


class _Findings:
    """What was found, alike with alike."""

    def __init__(self) -> None:
        self._by_key: dict[tuple[_Misfit, Grade], Finding] = {}
        self.left_out = 0

    def add(self, misfit: _Misfit, grade: Grade, state: str, jid: str) -> None:
        finding = self._by_key.get((misfit, grade))
        if finding is None:
            if len(self._by_key) >= MOST:
                self.left_out += 1
                return
            finding = Finding(kind=misfit.kind, grade=grade, name=misfit.name, says=misfit.says, do=misfit.do)
            self._by_key[misfit, grade] = finding
        finding.count += 1
        finding.states[state] += 1
        if jid and len(finding.samples) < SAMPLES:
            finding.samples.append(jid)

    def in_order(self) -> tuple[Finding, ...]:
        return tuple(sorted(self._by_key.values(), key=lambda it: (it.grade, -it.count, it.name, it.says)))


def _of_job(job: Job, registry: Registry, served: set[str]) -> Iterator[_Misfit]:
    if not job.name:
        yield _Misfit("unreadable", "", "the record cannot be read", "look at it with `procession jobs show JID`")
        return
    if job.queue not in served and not job.state.final:
        yield _unserved(job.queue)
    registered = registry.get(job.name)
    if registered is None:
        yield _unknown(job.name, registry)
        return
    sealing = registry.policies.sealing
    raw = msgspec.json.encode(job.args)
    try:
        raw = _opened(raw, sealing, job.jid, job.name)
    except Sealed as error:
        yield _closed(job.name, str(error).replace(str(job.jid), "…"))
        return
    yield from _of_arguments(job.name, registered, raw)


def _of_schedule(
    info: ScheduleInfo, declared: Schedule | None, registry: Registry, served: set[str]
) -> Iterator[_Misfit]:
    """What does not fit of a schedule; of one that stands in this code only its queue is asked, the rest is checked."""
    if declared is not None:
        if declared.queue not in served:
            yield _unserved(declared.queue)
        return
    try:
        schedule = info.schedule
        raw = _opened(bytes(schedule.args), registry.policies.sealing, Timed(schedule.name, schedule.job), "")
    except Sealed as error:
        yield _Misfit("schedule", info.name, str(error), "give the app the codec= and the keys it was made with")
        return
    except ConfigError as error:
        yield _Misfit("schedule", info.name, str(error), "leave it to workers of the version that made it")
        return
    if schedule.queue not in served:
        yield _unserved(schedule.queue)
    registered = registry.get(schedule.job)
    if registered is None:
        says = f"its job {schedule.job} is not in this code{_like(schedule.job, registry)}"
        rests = "leave it: it rests once no worker declares it"
        gone = rests if info.declared_at else f"`procession schedules remove {info.name}`"
        do = f"{gone}, or give the renamed job aliases=[{schedule.job!r}]"
        yield _Misfit("schedule", info.name, says, do)
        return
    for misfit in _of_arguments(schedule.job, registered, raw):
        do = "change the schedule, or the job so that it takes what the schedule gives"
        yield _Misfit("schedule", info.name, f"{schedule.job}: {misfit.says}", do)


def _opened(raw: bytes, sealing: Sealing | None, whose: Any, name: str) -> bytes:
    if sealing is not None:
        return sealing.open(raw, whose, "args", name)
    if is_sealed(msgspec.Raw(raw)):
        raise Sealed("the arguments are sealed, and the app has no codec=")
    return raw


def _of_arguments(name: str, registered: Registered, raw: bytes) -> Iterator[_Misfit]:
    """What a worker would stumble over, each parameter by itself, so that one deploy mends them all."""
    signature = registered.signature
    with suppress(Exception):  # BadArguments, or what a type of the app raises when one of it is made
        signature.decode(raw)
        return
    parameters = signature.signature.parameters
    given: dict[str, msgspec.Raw] = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
    for parameter in given.keys() - parameters.keys():
        yield _Misfit(
            "extra", name, f"`{parameter}` is no parameter of {signature} any more",
            f"let it go on taking `{parameter}`, with a default, until these jobs have run",
        )  # fmt: skip
    required = [
        it.name
        for it in parameters.values()
        if it.default is it.empty and it.kind not in (it.VAR_POSITIONAL, it.VAR_KEYWORD)
    ]
    for parameter in required:
        if parameter not in given:
            yield _Misfit(
                "missing", name, f"`{parameter}` is needed by {signature} and was not given",
                f"give `{parameter}` a default until these jobs have run",
            )  # fmt: skip
    for parameter in given.keys() & parameters.keys():
        try:
            signature.decode(msgspec.json.encode({parameter: given[parameter]}))
        except BadArguments as error:
            said = str(error).rpartition(f"{signature}: ")[2]
            if said.endswith(" is missing"):
                continue
        except Exception as error:
            said = f"{type(error).__qualname__}: {error}"
        else:
            continue
        yield _Misfit(
            "value", name, f"a stored `{parameter}` is none any more: {said.splitlines()[0][:200]}",
            f"let the annotation of `{parameter}` take the old form too, until these jobs have run",
        )  # fmt: skip


def _unknown(name: str, registry: Registry) -> _Misfit:
    return _Misfit(
        "name", name, f"no job of this code has the name {name}{_like(name, registry)}",
        f"keep the code until these jobs have run, or give the renamed job aliases=[{name!r}]; to give them up:"
        f" `procession jobs cancel --filter 'job:{name}'`",
    )  # fmt: skip


def _like(name: str, registry: Registry) -> str:
    from difflib import get_close_matches  # only where a name is unknown

    near = get_close_matches(name, registry.names(), 1)
    return f"; {near[0]} is there" if near else ""


def _closed(name: str, says: str) -> _Misfit:
    return _Misfit("sealed", name, says, "give the app the codec= and the keys that these jobs were sealed with")


def _unserved(queue: str) -> _Misfit:
    return _Misfit(
        "queue", queue, f"neither workers of this code nor any that is alive serve the queue {queue}",
        f"start a worker for it: `procession worker MODULE:APP -q {queue}`",
    )  # fmt: skip
