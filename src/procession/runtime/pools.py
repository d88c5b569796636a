"""Threads for `def` jobs. They are daemons, so that a stuck one never keeps the process from ending.

CPython cannot kill a thread. One that outlives its job's timeout is written off: its place counts as lost until it
returns, and what it then returns goes nowhere. Called by the queue worker.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue


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
