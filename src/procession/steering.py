"""Looking at the whole of a namespace and steering it: counters, queues, workers, what is wrong and how to mend it.

`Procession` is this and more (`client.py`). Every verb stands beside its `_async` twin; what thinks is elsewhere
(`doctor.py`, `repair.py`, the verbs of the database), so that a twin is a few lines that ask.
"""

from __future__ import annotations

from procession.asker import Asker
from procession.clock import milliseconds, wall
from procession.database import Counts, Operation, Page, Query, QueueInfo, Walk, WorkerInfo
from procession.doctor import SAMPLED, Check, Facts, examine
from procession.errors import ConfigError
from procession.job import Job, State
from procession.names import check_queue, check_text
from procession.repair import Report, walk
from procession.stats import Stats

PURGED = 1_000
"""Most jobs that one trip of `purge` removes."""


class Steering(Asker):
    """The verbs about queues and the whole."""

    def stats(self) -> Stats:
        """What was processed, what failed, what is scheduled. O(1)."""
        return Stats.of(self.ask(self.database.counts()))

    async def stats_async(self) -> Stats:
        """See `stats`."""
        return Stats.of(await self.ask_async(self.database.counts()))

    def counts(self) -> Counts:
        """Every counter of the namespace. O(1)."""
        return self.ask(self.database.counts())

    async def counts_async(self) -> Counts:
        """See `counts`."""
        return await self.ask_async(self.database.counts())

    def queues(self) -> list[QueueInfo]:
        """Every queue that was ever used or paused."""
        return self.ask(self.database.queues())

    async def queues_async(self) -> list[QueueInfo]:
        """See `queues`."""
        return await self.ask_async(self.database.queues())

    def workers(self) -> list[WorkerInfo]:
        """Every queue worker that is alive, or whose jobs were not taken back yet."""
        return self.ask(self.database.workers())

    async def workers_async(self) -> list[WorkerInfo]:
        """See `workers`."""
        return await self.ask_async(self.database.workers())

    def peek(self, queue: str, *, rear: bool = False) -> Job | None:
        """The job that is claimed next from a queue, or with `rear` the last one; None when it is empty."""
        return _first(self.ask(self.database.peek(check_queue(queue), rear=rear)))

    async def peek_async(self, queue: str, *, rear: bool = False) -> Job | None:
        """See `peek`."""
        return _first(await self.ask_async(self.database.peek(check_queue(queue), rear=rear)))

    def pause(self, queue: str, reason: str = "", by: str = "") -> None:
        """Let nothing more be claimed from a queue; what runs finishes, what is enqueued waits. `by` says who did it:
        both are shown to whoever wonders."""
        self.ask(self._pause(queue, reason, by))

    async def pause_async(self, queue: str, reason: str = "", by: str = "") -> None:
        """See `pause`."""
        await self.ask_async(self._pause(queue, reason, by))

    def resume(self, queue: str) -> None:
        """Undo `pause`."""
        self.ask(self.database.resume([check_queue(queue)]))

    async def resume_async(self, queue: str) -> None:
        """See `resume`."""
        await self.ask_async(self.database.resume([check_queue(queue)]))

    def purge(self, queue: str) -> int:
        """Remove all queued jobs of a queue, and blocked ones that get a slot by it; returns how many. Delayed and
        running ones stay."""
        removed = 0
        while count := self.ask(self.database.purge(check_queue(queue), PURGED)):
            removed += count
        return removed

    async def purge_async(self, queue: str) -> int:
        """See `purge`."""
        removed = 0
        while count := await self.ask_async(self.database.purge(check_queue(queue), PURGED)):
            removed += count
        return removed

    def flush(self, *, confirm: str) -> None:
        """Remove everything in this namespace, and nothing of any other. `confirm` must be the namespace's name."""
        self.ask(self._confirmed_flush(confirm))

    async def flush_async(self, *, confirm: str) -> None:
        """See `flush`."""
        await self.ask_async(self._confirmed_flush(confirm))

    # What is wrong

    def doctor(self) -> list[Check]:
        """Look at the server and the queues, and say what is wrong and what to do. Changes nothing, needs no right."""
        inspection, clock = self.ask(self.database.inspect()), wall()
        return examine(
            Facts(
                inspection=inspection,
                queues=self.ask(self.database.queues()),
                workers=self.ask(self.database.workers()),
                counts=self.ask(self.database.counts()),
                delayed=self.ask(self._due_next()).jobs,
                clock=clock,
            )
        )

    async def doctor_async(self) -> list[Check]:
        """See `doctor`."""
        inspection, clock = await self.ask_async(self.database.inspect()), wall()
        return examine(
            Facts(
                inspection=inspection,
                queues=await self.ask_async(self.database.queues()),
                workers=await self.ask_async(self.database.workers()),
                counts=await self.ask_async(self.database.counts()),
                delayed=(await self.ask_async(self._due_next())).jobs,
                clock=clock,
            )
        )

    def repair(self, *, apply: bool = False) -> Report:
        """Find where the store contradicts itself: an index that lost an entry, a worker without a lease, a wrong
        counter.

        Only looks, unless `apply`. Exact when nothing moves; while jobs move nothing is accused wrongly. It walks
        through everything in steps of about two milliseconds; only a queue's entries are looked at in one step, about
        three microseconds each.
        """
        return self.walk(self._repair(apply))

    async def repair_async(self, *, apply: bool = False) -> Report:
        """See `repair`."""
        return await self.walk_async(self._repair(apply))

    # Within

    def _pause(self, queue: str, reason: str, by: str) -> Operation[None]:
        return self.database.pause([check_queue(queue)], check_text(reason, "reason"), check_text(by, "by"))

    def _due_next(self) -> Operation[Page]:
        return self.database.page(Query(state=State.DELAYED), limit=SAMPLED)

    def _repair(self, apply: bool) -> Walk[Report]:
        return walk(self.database, mend=apply, lease=milliseconds(self.settings.lease, "lease"))

    def _confirmed_flush(self, confirm: str) -> Operation[None]:
        if confirm != self.settings.namespace:
            raise ConfigError(f"flush removes every job; confirm it with confirm={self.settings.namespace!r}")
        return self.database.flush()


def _first(jobs: list[Job]) -> Job | None:
    return jobs[0] if jobs else None
