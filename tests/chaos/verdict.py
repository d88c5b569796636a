"""The total-queue check: what was asked for against what came out, after a final drain.

The words and the method are those of Jepsen's `total-queue` checker (jepsen, `checker.clj`): *lost* was
acknowledged and never came out, *phantom* came out and nobody ever put it in, and an enqueue whose answer was lost may
come out or not.
Added for a queue with leases: *run twice*, *settled twice* (two accepted final outcomes of one job), and how many
seconds passed until work interrupted by a fault was running again. Pure: evidence in, report out.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from uuid import UUID

from msgspec import Struct

from procession import State
from procession.database import Counts
from tests.chaos.journal import Entry, Event, Run


class Marks(Struct, frozen=True, kw_only=True):
    """When a scenario has passed. Lost, phantom and settled twice must always be 0."""

    recovery: float | None = None
    """Most seconds until work that a fault interrupted runs again."""
    run_twice: int = 0
    """Most runs beyond the first, where a fault forces them; `Stage.forced` adds to it."""


class Evidence(Struct, kw_only=True):
    """All that is known at the end."""

    entries: Mapping[UUID, Entry]
    runs: Mapping[UUID, Sequence[Run]]
    events: Sequence[Event]
    final: Mapping[UUID, State]
    """What the store says: final states only; whatever else it holds is `unfinished`."""
    reasons: Mapping[UUID, str] = {}
    """Why the failed ones are that, and after how many deaths of their worker."""
    unfinished: Sequence[UUID] = ()
    counts: Counts
    accepted: Mapping[UUID, int] | None = None
    """How many final outcomes the store's own history shows; None where it keeps none."""
    fenced: int = 0
    """How many outcomes were refused, by the workers' logs."""
    forgetful: bool = False
    """True for a store that keeps nothing: what ran before it forgot has come out all the same."""
    excused: frozenset[UUID] = frozenset()
    """Jobs whose loss the fault forces and the docs state: acknowledged in the second that a power cut took."""
    complaints: Sequence[str] = ()
    """What else went wrong: contradictions in the store, exit codes, workers that take no work any more."""


class Report(Struct, kw_only=True):
    """One line of the table."""

    name: str
    seed: int
    jobs: int = 0
    acknowledged: int = 0
    unknown: int = 0
    lost: int = 0
    excused: int = 0
    phantom: int = 0
    run_twice: int = 0
    overlapped: int = 0
    settled_twice: int = 0
    fenced: int = 0
    recovery_p50: float | None = None
    recovery_max: float | None = None
    seconds: float = 0.0
    breaches: list[str] = []
    notes: list[str] = []
    """What else was measured."""
    skipped: str = ""
    """Why it could not be played on this machine."""

    @property
    def passed(self) -> bool:
        return not self.breaches


def judge(name: str, seed: int, evidence: Evidence, marks: Marks) -> Report:
    """Compare, count, and name every breach."""
    entries = evidence.entries
    acknowledged = {jid for jid, entry in entries.items() if entry.answer == "yes"}
    missing = {jid for jid in acknowledged if not _came_out(jid, evidence)}
    lost = missing - evidence.excused
    phantom = _phantoms(evidence)
    recoveries = recovered(evidence.runs, evidence.events)
    report = Report(
        name=name,
        seed=seed,
        jobs=len(entries),
        acknowledged=len(acknowledged),
        unknown=sum(entry.answer == "unknown" for entry in entries.values()),
        lost=len(lost),
        excused=len(missing & evidence.excused),
        phantom=len(phantom),
        run_twice=sum(extra_runs(runs) for runs in evidence.runs.values()),
        overlapped=sum(_overlap(runs) for runs in evidence.runs.values()),
        settled_twice=settled_twice(evidence),
        fenced=evidence.fenced,
        recovery_p50=round(statistics.median(recoveries), 2) if recoveries else None,
        recovery_max=round(max(recoveries), 2) if recoveries else None,
    )
    report.breaches = [*_breaches(report, marks), *_misjudged(evidence), *_fences(evidence), *evidence.complaints]
    report.notes = _late(evidence)
    if lost:
        report.breaches.append(f"lost: {', '.join(map(str, sorted(lost)[:5]))} …")
    return report


def extra_runs(runs: Sequence[Run]) -> int:
    """Runs that no policy asked for: each that follows a run which did not raise."""
    return sum(before.how != "raise" for before, _ in pairwise(runs))


def settled_twice(evidence: Evidence) -> int:
    """Accepted final outcomes beyond the first, by the store's history and by its counters of events: the larger."""
    by_history = sum(count - 1 for count in (evidence.accepted or {}).values())
    told = evidence.counts.processed + evidence.counts.failed + evidence.counts.cancelled
    taken_out = [jid for jid, it in evidence.entries.items() if it.answer == "removed" and jid not in evidence.final]
    removed = sum(_was_settled(jid, evidence) for jid in taken_out)
    return max(by_history, abs(told - len(evidence.final) - removed))


def _was_settled(jid: UUID, evidence: Evidence) -> bool:
    """It had come to its end: by the history, or where there is none by its runs. One whose run was interrupted, and
    that was taken out while it waited for the next, had not."""
    if evidence.accepted is not None:
        return jid in evidence.accepted
    return any(run.how in ("end", "raise") for run in evidence.runs.get(jid, ()))


def recovered(runs: Mapping[UUID, Sequence[Run]], events: Sequence[Event]) -> list[float]:
    """Seconds from each fault until each job that it interrupted ran again; and from each healing to the next run."""
    found = []
    for event in events:
        if event.heals:
            later = [run.started for job in runs.values() for run in job if run.started > event.at]
            found += [min(later) - event.at] if later else []
    for before, after in (pair for job in runs.values() for pair in pairwise(job) if pair[0].how != "raise"):
        hits = [it.at for it in events if before.pid in it.victims and before.started <= it.at < after.started]
        found += [after.started - max(hits)] if hits else []
    return found


def _came_out(jid: UUID, evidence: Evidence) -> bool:
    runs = evidence.runs.get(jid, ())
    if evidence.forgetful:
        return any(run.how in ("end", "raise") for run in runs)
    state = evidence.final.get(jid)
    return state is not None and (state is not State.PROCESSED or any(run.how == "end" for run in runs))


def _phantoms(evidence: Evidence) -> set[UUID]:
    seen = {*evidence.runs, *evidence.final, *evidence.unfinished}
    return {jid for jid in seen if jid not in evidence.entries or evidence.entries[jid].answer == "no"}


def _overlap(runs: Sequence[Run]) -> bool:
    return any(before.ended > after.started for before, after in pairwise(runs))


def _breaches(report: Report, marks: Marks) -> list[str]:
    found = [f"{name} {count}" for name in ("lost", "phantom", "settled_twice") if (count := getattr(report, name))]
    if report.run_twice > marks.run_twice:
        found.append(f"{report.run_twice} extra runs, at most {marks.run_twice} are forced by the fault")
    if marks.recovery is not None and (report.recovery_max or 0) > marks.recovery:
        found.append(f"recovery took {report.recovery_max} s, at most {marks.recovery:.1f} s is promised")
    if not report.acknowledged:
        found.append("nothing was enqueued, so nothing was shown")
    return found


def _misjudged(evidence: Evidence) -> list[str]:
    wrong = Counter(
        f"{entry.expected} became {evidence.final[jid]} ({evidence.reasons.get(jid, 'no reason known')})"
        for jid, entry in evidence.entries.items()
        if jid in evidence.final and evidence.final[jid] is not entry.expected
    )
    return [f"{count} jobs that should be {what}" for what, count in wrong.items()]


def _fences(evidence: Evidence) -> list[str]:
    """A fence is handed out once, and each run of a job has a larger one than the run before."""
    fences = Counter(run.fence for runs in evidence.runs.values() for run in runs)
    repeated = sum(count > 1 for count in fences.values())
    falling = [
        f"job {before.jid} ran in process {before.pid} at {before.started:.1f} by fence {before.fence},"
        f" then in {after.pid} at {after.started:.1f} by {after.fence} (its lease seen at {after.looked:.1f});"
        f" meanwhile: {_meanwhile(evidence, before, after)}"
        for before, after in _behind(evidence)
        if not _was_about_to_begin(after, evidence)
    ]
    return [f"{repeated} fences repeated, {len(falling)} falling", *falling] if repeated or falling else []


def _late(evidence: Evidence) -> list[str]:
    late = sum(_was_about_to_begin(run, evidence) for _, run in _behind(evidence))
    return [f"{late} begun late, by a process that was suspended just then"] if late else []


def _behind(evidence: Evidence) -> list[tuple[Run, Run]]:
    """Two runs of a job, of which the second has no larger fence than the first."""
    pairs = (pair for runs in evidence.runs.values() for pair in pairwise(runs))
    return [(before, after) for before, after in pairs if after.fence <= before.fence]


def _was_about_to_begin(run: Run, evidence: Evidence) -> bool:
    """Its process was suspended between its last look at the lease and the first line of the job, where nothing can
    look any more."""
    return any(
        event.what == "suspended" and run.pid in event.victims and run.looked < event.at < run.started
        for event in evidence.events
    )


def _meanwhile(evidence: Evidence, before: Run, after: Run) -> str:
    """The faults of the last half minute before the second of two runs that hit one of their processes, in words."""
    return ", ".join(
        f"{event.what} at {event.at:.1f}"
        for event in evidence.events
        if after.started - 30 < event.at <= after.started
        and (not event.victims or event.victims & {before.pid, after.pid})
    )
