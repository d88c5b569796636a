"""Where `def` jobs run: in threads of the worker's own process.

CPython cannot kill a thread. One that outlives its job's timeout is written off: its place counts as lost until it
returns, and what it then returns goes nowhere. Threads are daemons, so that a stuck one never keeps the process from
ending. Called by the performer.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue

from procession.clock import monotonic
from procession.runtime.active import Active, Performance, Waiting
from procession.runtime.executor import Verdict, perform, postponed
from procession.runtime.pace import Pace
from procession.runtime.slots import Places
from procession.runtime.stacks import of_thread

log = logging.getLogger("procession.worker")


class ThreadExecutor(Waiting):
    """`def` jobs in threads."""

    kind = "in a thread"

    def __init__(self, performance: Performance, worker: str, size: int) -> None:
        super().__init__(performance, size)
        self._worker = worker
        self._pace = Pace(size)
        self._pool = ThreadPool(size)
        self._running: set[Active] = set()
        self._written_off: set[Active] = set()

    @property
    def lost(self) -> int:
        """Threads written off that have not returned."""
        return len(self._written_off)

    def fill(self) -> None:
        """See `Waiting.fill`."""
        while self.waiting and len(self._running) + self.lost < self.size:
            now = monotonic()
            if now >= self.performance.alive_until:
                return
            self._begin(self.waiting.popleft(), now)

    def stop(self, active: Active) -> None:
        """Write the thread off."""
        if active not in self._running:
            return
        self._running.remove(active)
        self._written_off.add(active)
        log.warning(
            "job %s does not stop (%s); its thread is lost until it does", active.run.claimed.jid, active.run.stopped
        )
        self.performance.written_off(active)

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

    def _begin(self, active: Active, now: float) -> None:
        self._running.add(active)
        self.performance.began(active, now)

        def work() -> None:
            active.thread = threading.get_ident()
            verdict = perform(active.run, self._worker)
            with suppress(RuntimeError):  # a thread that was written off may outlive the loop
                self.loop.call_soon_threadsafe(self._returned, active, verdict)

        try:
            self._pool.submit(work)
        except RuntimeError as error:  # the system has none to give
            self._running.discard(active)
            log.error("a thread could not be started: %s", error)
            why = f"a thread could not be started: {error}"
            self.performance.ended(active, postponed(active.run.claimed, why, why), now)
        else:
            self.performance.goes_on(active)

    def _returned(self, active: Active, verdict: Verdict) -> None:
        self._running.discard(active)
        self._written_off.discard(active)
        now = monotonic()
        self._pace.ended(now - active.started)
        self.performance.ended(active, verdict, now)
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
        """Run `work` in a thread. It must not raise. Raises RuntimeError when one is needed and cannot be started."""
        with self._lock:
            if self._idle:
                self._idle -= 1
            elif self._started < self.size:
                threading.Thread(target=self._run, name=f"procession-{self._started + 1}", daemon=True).start()
                self._started += 1
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
