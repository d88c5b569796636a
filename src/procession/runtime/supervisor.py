"""The supervisor: queue workers as OS processes, one for one. It runs no user code and no event loop.

It starts children (never forks: each is a fresh interpreter), watches them, and when one dies it says so to the
store at
once, so that its jobs are taken back in a moment and not after the lease; then it starts another, with backoff. It
passes
signals on: the first asks the children to finish what runs, the second to stop now.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from time import sleep
from types import FrameType
from uuid import uuid4

from msgspec import Struct

from procession.client import Procession
from procession.clock import milliseconds, monotonic
from procession.errors import DatabaseError
from procession.job import Crash
from procession.runtime.child import CANNOT_BEGIN
from procession.runtime.pulse import EVERY, Felt, is_stopped

log = logging.getLogger("procession.worker")

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 30.0
"""Seconds before a dead child is replaced: doubled with each death in a row."""
HEALTHY = 10.0
"""Seconds after which a child's death no longer counts as one in a row."""
LATE = 1.3 * EVERY
"""Seconds without a turn of its event loop after which a child's lease is extended for it."""
BLOCKED = 5.0
"""Seconds without a turn of its event loop after which a child is reported."""
STUCK = 60.0
"""Seconds without a turn of its claim loop, while its event loop turns, after which a child is replaced."""
KILL_AFTER = 10.0
"""Seconds beyond the grace after which a child that does not end is killed."""


class Child(Struct, eq=False):
    """One process and the name of its queue worker in the store."""

    process: subprocess.Popen[bytes]
    worker_id: str
    started: float
    pulse: Felt
    extended: float = 0.0
    reported: bool = False


class Supervisor:
    """Keeps `processes` queue workers alive.

    Args:
        app: whose store it speaks to when a child died.
        target: `module:app`, what the children import.
    """

    def __init__(
        self,
        app: Procession,
        target: str,
        *,
        queues: Sequence[str] | None = None,
        concurrency: int | None = None,
        threads: int | None = None,
        processes: int | None = None,
        burst: bool = False,
        verbose: bool = False,
        log_level: int = logging.INFO,
    ) -> None:
        self.app = app
        self.processes = processes or app.settings.processes
        self._asked = {
            "target": target,
            "queues": list(queues) if queues else None,
            "concurrency": concurrency,
            "threads": threads,
            "burst": burst,
            "verbose": verbose,
            "log_level": log_level,
        }
        self._burst = burst
        self._grace = milliseconds(app.settings.grace, "grace") / 1_000
        self._children: list[Child] = []
        self._due: list[float] = []
        self._deaths = 0
        self._signals = 0
        self._passed = 0
        self._stop_at = 0.0
        self._code = 0
        self._undelivered: dict[str, Crash] = {}
        self._lease = milliseconds(app.settings.lease, "lease")
        self._beat_every = milliseconds(app.settings.heartbeat, "heartbeat") / 1_000

    def run(self) -> int:
        """Start the children and watch until they are done or a signal came. Returns the exit code."""
        reader, writer = socket.socketpair()
        reader.settimeout(0.5)
        writer.setblocking(False)
        old_descriptor = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)
        old = {number: signal.signal(number, self._heard) for number in numbers}
        try:
            for _ in range(self.processes):
                self._start()
            while self._children or self._due:
                with suppress(TimeoutError):
                    reader.recv(64)  # a signal, a child's death, or half a second
                self._look()
            return self._code
        finally:
            for child in self._children:
                child.process.kill()
                child.process.wait()
                child.pulse.close()
            for number, handler in old.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(old_descriptor)
            reader.close()
            writer.close()

    def stop(self) -> None:
        """As if a signal had come; from any thread."""
        self._signals += 1

    def _heard(self, number: int, frame: FrameType | None) -> None:
        if number != signal.SIGCHLD:
            self._signals += 1

    def _look(self) -> None:
        while self._passed < self._signals:
            self._pass_on()
        now = monotonic()
        for child in [*self._children]:
            code = child.process.poll()
            if code is not None:
                self._children.remove(child)
                self._died(child, code)
            elif self._stop_at and now > self._stop_at:
                log.error("queue worker %s does not end; killing it", child.worker_id)
                child.process.kill()
            else:
                self._watch(child, now)
        if not self._signals:
            for due in [due for due in self._due if due <= now]:
                self._due.remove(due)
                self._start()
        self._tell()

    def _watch(self, child: Child, now: float) -> None:
        """Extend the lease of a worker whose loop is blocked, and report it; replace one whose claim loop is stuck."""
        child.pulse.feel()
        if not child.pulse.begun:
            return
        silent = now - child.pulse.loop
        if silent < LATE:
            child.reported = False
            if now - child.pulse.turn > STUCK:
                log.error("queue worker %s: its claim loop is stuck; replacing it. Its stacks:", child.worker_id)
                self._dump(child)
                child.process.kill()
            return
        if is_stopped(child.process.pid):
            return
        if now - child.extended >= self._beat_every:
            child.extended = now
            with suppress(DatabaseError):  # while the store is away no lease ends that is not resumed
                self.app.ask(self.app.database.extend([child.worker_id], lease=self._lease))
        if silent > BLOCKED and not child.reported:
            child.reported = True
            log.warning("queue worker %s: event loop blocked for %.0f s. Its stacks:", child.worker_id, silent)
            self._dump(child)

    @staticmethod
    def _dump(child: Child) -> None:
        child.process.send_signal(signal.SIGUSR1)
        sleep(0.1)

    def _pass_on(self) -> None:
        self._passed += 1
        self._due.clear()
        self._stop_at = monotonic() + KILL_AFTER + (self._grace if self._passed == 1 else 0.0)
        log.info("stopping: %s", "finishing what runs" if self._passed == 1 else "now")
        for child in self._children:
            child.process.send_signal(signal.SIGTERM)

    def _start(self) -> None:
        worker_id = f"{socket.gethostname()[:60]}:{os.getpid()}:{uuid4().hex[:12]}"
        pulse = Felt()
        asked = {**self._asked, "worker_id": worker_id, "pulse": pulse.writer}
        process = subprocess.Popen(
            [sys.executable, "-m", "procession.runtime.child", json.dumps(asked)],
            stdin=subprocess.PIPE,
            start_new_session=True,
            pass_fds=[pulse.writer],
        )
        pulse.child_started()
        self._children.append(Child(process, worker_id, monotonic(), pulse))

    def _died(self, child: Child, code: int) -> None:
        child.pulse.close()
        if child.process.stdin is not None:
            child.process.stdin.close()
        if code == 0:
            return
        how = f"signal {-code} ({signal.Signals(-code).name})" if code < 0 else f"exit code {code}"
        self._undelivered[child.worker_id] = Crash(how=how)
        if code == CANNOT_BEGIN:
            self._code = CANNOT_BEGIN
            self._signals = max(self._signals, 1)
            return
        if self._signals or self._burst:
            self._code = 1
        if self._signals:
            return
        self._deaths = 0 if monotonic() - child.started > HEALTHY else self._deaths
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2**self._deaths)
        self._deaths += 1
        log.error(
            "queue worker %s died: %s; its jobs are taken back, another starts in %.1f s", child.worker_id, how, pause
        )
        self._due.append(monotonic() + pause)

    def _tell(self) -> None:
        """Say to the store who died. While the store is away it is said again; the lease ends in any case."""
        for worker_id, crash in [*self._undelivered.items()]:
            try:
                self.app.ask(self.app.database.leave(worker_id, crash=crash))
            except DatabaseError:
                return
            del self._undelivered[worker_id]
