"""The verbs about schedules, over `Store`. See `procession.database.schedules`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from uuid import UUID

import msgspec

from procession.database.memory.verbs import Verbs
from procession.database.operation import Operation
from procession.database.schedules import Fired, Scheduled
from procession.errors import ConfigError
from procession.job import State
from procession.schedule import FORGOTTEN, KEPT, MOST, Firing, Planned, Run, ScheduleInfo

AGAIN = 1_000
"""Milliseconds until one is looked at again whose run waits for the one before."""
RESTING = 300_000
"""Milliseconds until one is looked at again that rests."""


class ScheduleVerbs(Verbs):
    """Schedules in a dict; `due_at` of the store says when each is looked at next."""

    def schedules(self, names: Sequence[str] | None = None) -> Operation[Scheduled]:
        """See `Schedules.schedules`."""

        def run() -> Scheduled:
            there = self.store.schedules
            wanted = sorted(there) if names is None else names
            return Scheduled([there[name] for name in wanted if name in there], self.now())

        return self.operation(run)

    def due_schedules(self, limit: int) -> Operation[Scheduled]:
        """See `Schedules.due_schedules`."""

        def run() -> Scheduled:
            store, now, found = self.store, self.now(), []
            for _, name in sorted((at, name) for name, at in store.due_at.items() if at <= now)[:limit]:
                info = store.schedules[name]
                if info.lapsed(now):
                    if self._is_put_off(info) and now - info.declared_at > FORGOTTEN:
                        self._remove(name)
                    else:
                        store.due_at[name] = now + RESTING
                else:
                    found.append(info)
            return Scheduled(found, now, min((at for at in store.due_at.values() if at > now), default=0))

        return self.operation(run)

    def upsert_schedules(self, plans: Sequence[Planned], *, declared: bool | None = False) -> Operation[list[bool]]:
        """See `Schedules.upsert_schedules`."""

        def run() -> list[bool]:
            there = self.store.schedules
            if len(there.keys() | {it.name for it in plans}) > MOST:
                raise ConfigError(f"there may be {MOST:,} schedules; remove some")
            self.store.declared = self.store.declared or bool(declared)
            return [self._upsert(plan, declared) for plan in plans]

        return self.operation(run)

    def _upsert(self, plan: Planned, declared: bool | None) -> bool:
        info = self.store.schedules.get(plan.name)
        changed = info is None or info.asked != plan.asked
        if info is None or changed:
            kept = info or ScheduleInfo(name=plan.name, asked=plan.asked)
            info = msgspec.structs.replace(kept, asked=plan.asked, next_at=plan.next_at, waiting=False)
        rested = self._is_put_off(info)
        if declared is not None:
            info = msgspec.structs.replace(info, declared_at=self.now() if declared else 0)
        self._put(info, look=changed or rested)
        if changed or rested:
            self._call_workers()
        return changed

    def _call_workers(self) -> None:
        for worker in self.store.leases:
            self.store.ring(f"@{worker}", self.now())

    def touch_schedules(self, names: Sequence[str]) -> Operation[bool]:
        """See `Schedules.touch_schedules`."""

        def run() -> bool:
            for name in names:
                info = self.store.schedules.get(name)
                if info is not None and info.declared_at:
                    declared = msgspec.structs.replace(info, declared_at=self.now())
                    self._put(declared, look=self._is_put_off(info))
            return self.store.declared

        return self.operation(run)

    def pause_schedules(self, names: Sequence[str], reason: str = "") -> Operation[list[bool]]:
        """See `Schedules.pause_schedules`."""

        def pause(info: ScheduleInfo) -> bool:
            paused = {"paused_at": self.now(), "reason": reason[:200], "next_at": 0, "waiting": False}
            self._put(msgspec.structs.replace(info, **paused))
            return True

        return self._each_schedule(names, pause)

    def resume_schedules(self, plans: Sequence[Planned]) -> Operation[list[bool]]:
        """See `Schedules.resume_schedules`."""
        by_name = {it.name: it for it in plans}

        def resume(info: ScheduleInfo) -> bool:
            if not info.paused or info.asked != by_name[info.name].asked:
                return False
            self._put(msgspec.structs.replace(info, paused_at=0, reason="", next_at=by_name[info.name].next_at))
            self._call_workers()
            return True

        return self._each_schedule([it.name for it in plans], resume)

    def remove_schedules(self, names: Sequence[str]) -> Operation[list[bool]]:
        """See `Schedules.remove_schedules`."""
        return self._each_schedule(names, lambda info: self._remove(info.name))

    def _remove(self, name: str) -> bool:
        del self.store.schedules[name]
        self.store.due_at.pop(name, None)
        return True

    def _each_schedule(self, names: Sequence[str], change: Callable[[ScheduleInfo], bool]) -> Operation[list[bool]]:
        def run() -> list[bool]:
            there = self.store.schedules
            return [name in there and change(there[name]) for name in names]

        return self.operation(run)

    def _put(self, info: ScheduleInfo, *, look: bool = True) -> None:
        self.store.schedules[info.name] = info
        if info.paused or not info.next_at:
            self.store.due_at.pop(info.name, None)
        elif look:
            self.store.due_at[info.name] = info.next_at

    def _is_put_off(self, info: ScheduleInfo) -> bool:
        """It is not to be looked at when it is due next: it rests, or a run waits for the one before."""
        return self.store.due_at.get(info.name, info.next_at) != info.next_at

    # Firing

    def fire(self, firings: Sequence[Firing]) -> Operation[list[Fired]]:
        """See `Schedules.fire`."""
        return self.operation(lambda: [self._fire(it) for it in firings])

    def _fire(self, firing: Firing) -> Fired:
        info = self.store.schedules.get(firing.name)
        if info is None or info.asked != firing.asked:
            return "lost"
        runs, last_at = [*info.runs], info.last_at
        if not firing.expected:
            written = self._unfinished(info)
            for run, job in firing.runs:
                if self._enqueue(job).new:
                    runs.append(run)
            self._put(msgspec.structs.replace(info, runs=_shortened(runs, written)), look=False)
            return "fired"
        if info.next_at != firing.expected or info.paused:
            return "lost"
        written = self._unfinished(info) if firing.overlap != "allow" else []
        coming = {job.jid for _, job in firing.runs}
        active = [jid for jid in written if jid not in coming] if firing.runs else []
        if active and firing.overlap == "queue_one":
            self._put(msgspec.structs.replace(info, waiting=True))
            self.store.due_at[firing.name] = self.now() + AGAIN
            return "busy"
        if firing.overlap == "cancel_previous":
            self._cancel_each(active)
        runs += [firing.missed] if firing.missed else []
        for run, job in firing.runs:
            if run.at <= last_at:
                continue
            last_at = run.at
            if active and firing.overlap == "skip":
                runs.append(Run(run.at, note="skipped"))
            else:
                self._enqueue(job)
                runs.append(run)
        left = _shortened(runs, written)
        changes = {"next_at": firing.next_at, "last_at": last_at, "waiting": False, "runs": left}
        self._put(msgspec.structs.replace(info, **changes))
        return "fired"

    def _unfinished(self, info: ScheduleInfo) -> list[UUID]:
        over = (None, *(state for state in State if state.final))
        jids = dict.fromkeys(UUID(run.jid) for run in info.runs if run.jid)
        return [jid for jid in jids if self._state(jid) not in over]

    def _cancel_each(self, jids: Sequence[UUID]) -> None:
        cancelling = self.cancel(jids, "the next run is due")
        cancelling.run()  # type: ignore[attr-defined]  # within the operation that asks, under the store's lock


def _shortened(runs: Sequence[Run], unfinished: Sequence[UUID]) -> tuple[Run, ...]:
    """The history without its oldest lines, but those of `unfinished` runs, which `overlap` asks for, go last."""
    left, kept = [*runs], {str(jid) for jid in unfinished}
    while len(left) > KEPT:
        goes = next((at for at, run in enumerate(left[:KEPT]) if run.jid not in kept), 0)
        del left[goes]
    return tuple(left)
