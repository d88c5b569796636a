"""Where `async def` and `def` jobs run inside the worker's own process: tasks on its loop, and threads.

CPython cannot kill a thread. One that outlives its job's timeout is written off: its place counts as lost until it
returns, and what it then returns goes nowhere. Threads are daemons, so that a stuck one never keeps the process from
ending. Called by the performer.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from queue import SimpleQueue

from procession.errors import JobTimeout
from procession.runtime.active import Active, Performance, Waiting
from procession.runtime.executor import CANCEL_GRACE, Verdict, judge, perform, perform_async
from procession.runtime.pace import Pace
from procession.runtime.slots import Places
from procession.runtime.stacks import of_task, of_thread

log = logging.getLogger("procession.worker")


class LoopExecutor(Waiting):
    """`async def` jobs as tasks on the worker's loop."""

    kind = "on the loop"

    def __init__(self, performance: Performance, worker: str, size: int) -> None:
        super().__init__(performance, size)
        self._worker = worker
        self._tasks: dict[Active, asyncio.Task[None]] = {}
        self._pace = Pace()
        made = partial(asyncio.Task, loop=self.loop)  # what the loop does, but for a call in between
        self._new_task = self.loop.create_task if self.loop.get_task_factory() else made

    def fill(self) -> None:
        """See `Waiting.fill`."""
        waiting, tasks, began, new_task = self.waiting, self._tasks, self.performance.began, self._new_task
        while waiting and len(tasks) < self.size and self.performance.may_begin():
            active = waiting.popleft()
            began(active)
            tasks[active] = new_task(self._perform(active), name=active.run.registered.name)

    def stop(self, active: Active) -> None:
        """Cancel the task; one that does not end is written off."""
        task = self._tasks.get(active)
        if task is not None:
            task.cancel()
            self.loop.call_later(CANCEL_GRACE, self._write_off, active)

    def places(self) -> Places:
        """See `Executor.places`."""
        return Places(self.size, len(self._tasks), len(self.waiting), self._pace.soon())

    def running_in(self, task: asyncio.Task[object]) -> Active | None:
        """The run behind a task. May be asked from another thread."""
        return next((active for active, its in [*self._tasks.items()] if its is task), None)

    async def stack(self, active: Active) -> str:
        """See `Executor.stack`."""
        task = self._tasks.get(active)
        return of_task(task) if task is not None else ""

    async def close(self) -> None:
        """See `Executor.close`: what still runs ends with the loop."""
        self.close_waiting()

    async def _perform(self, active: Active) -> None:
        try:
            self.performance.ended(active, await perform_async(active.run, self._worker))
        finally:
            del self._tasks[active]
            self._pace.ended()
            if self.waiting:
                self.fill()

    def _write_off(self, active: Active) -> None:
        if not active.done:
            log.warning("job %s does not stop (%s); it is written off", active.run.claimed.jid, active.run.stopped)
            self.performance.ended(active, judge(active.run, JobTimeout("does not stop"), self._worker))


class ThreadExecutor(Waiting):
    """`def` jobs in threads."""

    kind = "in a thread"

    def __init__(self, performance: Performance, worker: str, size: int) -> None:
        super().__init__(performance, size)
        self._worker = worker
        self._pace = Pace()
        self._pool = ThreadPool(size)
        self._running: set[Active] = set()
        self._written_off: set[Active] = set()

    @property
    def lost(self) -> int:
        """Threads written off that have not returned."""
        return len(self._written_off)

    def fill(self) -> None:
        """See `Waiting.fill`."""
        while self.waiting and len(self._running) + self.lost < self.size and self.performance.may_begin():
            self._begin(self.waiting.popleft())

    def stop(self, active: Active) -> None:
        """Write the thread off."""
        if active not in self._running:
            return
        self._running.remove(active)
        self._written_off.add(active)
        log.warning(
            "job %s does not stop (%s); its thread is lost until it does", active.run.claimed.jid, active.run.stopped
        )
        self.performance.ended(active, judge(active.run, JobTimeout("does not stop"), self._worker))

    def places(self) -> Places:
        """See `Executor.places`."""
        return Places(self.size, len(self._running) + self.lost, len(self.waiting), self._pace.soon())

    async def stack(self, active: Active) -> str:
        """See `Executor.stack`."""
        return of_thread(active.thread) if active.thread else ""

    async def close(self) -> None:
        """See `Executor.close`: busy threads end with their work, or with the process."""
        self.close_waiting()
        self._pool.close()

    def _begin(self, active: Active) -> None:
        self._running.add(active)
        self.performance.began(active)

        def work() -> None:
            active.thread = threading.get_ident()
            verdict = perform(active.run, self._worker)
            with suppress(RuntimeError):  # a thread that was written off may outlive the loop
                self.loop.call_soon_threadsafe(self._returned, active, verdict)

        self._pool.submit(work)

    def _returned(self, active: Active, verdict: Verdict) -> None:
        self._running.discard(active)
        self._written_off.discard(active)
        self._pace.ended()
        self.performance.ended(active, verdict)
        self.fill()
        self.performance.place_freed()


class ThreadPool:
    """Up to `size` threads, started as they are needed."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._work: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._started = 0
        self._idle = 0
        self._lock = threading.Lock()

    def submit(self, work: Callable[[], None]) -> None:
        """Run `work` in a thread. It must not raise."""
        with self._lock:
            if self._idle:
                self._idle -= 1
            elif self._started < self.size:
                self._started += 1
                threading.Thread(target=self._run, name=f"procession-{self._started}", daemon=True).start()
        self._work.put(work)

    def close(self) -> None:
        """Let idle threads end; busy ones end with their work."""
        for _ in range(self._started):
            self._work.put(None)

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            work()
            del work
            with self._lock:
                self._idle += 1
