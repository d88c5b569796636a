"""What happened, written where no crash can take it back: the runs of job bodies, the faults, what was enqueued.

Job bodies append a line per event to one file, in one `write` each, so that lines of many processes never mix and a
SIGKILL loses none. Times are `time.monotonic()`, one clock for all processes of a machine.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections import defaultdict
from pathlib import Path
from uuid import UUID

from msgspec import Struct

from procession import State, current_job
from procession.registry import HOUR

JOURNAL = "CHAOS_JOURNAL"
"""The variable that tells job bodies where the file is."""
TIMEOUT = HOUR / 1_000
"""Seconds that each of these jobs may run: they leave it at the default."""


class Run(Struct):
    """One run of a job body: `ended` is 0.0 when it never came to its end."""

    jid: UUID
    attempt: int
    fence: int
    pid: int
    started: float
    ended: float = 0.0
    how: str = ""
    """`end`, `raise`, `stop` (it was cancelled), or nothing."""
    looked: float = math.inf
    """When its worker last saw that the lease was good; a moment before `started`, unless it was stopped in between."""


def write(kind: str) -> None:
    """Called by job bodies: one event of the current run, and for how long it runs, by its worker's clock."""
    path = os.environ.get(JOURNAL)
    if path is None:
        return
    job = current_job()
    since = TIMEOUT - job.remaining if job.remaining is not None else -math.inf
    line = f"{kind} {job.jid} {job.attempt} {job.fence} {os.getpid()} {time.monotonic():.6f} {since:.6f}\n"
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)


class Runs:
    """Reads the file of the job bodies, as far as it goes now."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._at = 0
        self._open: dict[tuple[str, str], Run] = {}
        self.all: list[Run] = []

    def read(self) -> list[Run]:
        """Every run so far, in the order in which they began."""
        if self._path.exists():
            with self._path.open("rb") as file:
                file.seek(self._at)
                text = file.read()
            whole = text[: text.rfind(b"\n") + 1]
            self._at += len(whole)
            for line in whole.decode().splitlines():
                self._take(line)
        return self.all

    def by_job(self) -> dict[UUID, list[Run]]:
        """The runs of each job."""
        found: dict[UUID, list[Run]] = defaultdict(list)
        for run in self.read():
            found[run.jid].append(run)
        return found

    def open_on(self, pids: set[int]) -> list[Run]:
        """What runs in these processes now."""
        return [run for run in self.read() if run.pid in pids and not run.ended]

    def _take(self, line: str) -> None:
        kind, jid, attempt, fence, pid, at, since = line.split(" ")
        if kind == "start":
            run = Run(UUID(jid), int(attempt), int(fence), int(pid), float(at), looked=float(at) - float(since))
            self._open[jid, fence] = run
            self.all.append(run)
        else:
            run = self._open[jid, fence]
            run.ended, run.how = float(at), kind


class Event(Struct, frozen=True):
    """A fault, or its end. `victims` are the processes that it hit."""

    at: float
    what: str
    victims: frozenset[int] = frozenset()
    heals: bool = False
    """True for the moment from which on work should go on again."""


class Entry(Struct):
    """One job as its producer knows it."""

    jid: UUID
    expected: State = State.PROCESSED
    asked: float = 0.0
    acknowledged: float = 0.0
    answer: str = ""
    """`yes`, `unknown` or `no`: what the last answer said about its being stored; `removed` when it was taken out."""


class Ledger:
    """What producers asked for and what they were told. Any thread may write."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: dict[UUID, Entry] = {}
        self.oddities: list[str] = []
        """Errors of another kind than the documented ones."""

    def asked(self, jid: UUID, expected: State = State.PROCESSED) -> None:
        """A producer is about to enqueue this job."""
        with self._lock:
            self._entries.setdefault(jid, Entry(jid, expected, asked=time.monotonic()))

    def told(self, jid: UUID, answer: str) -> None:
        """The answer: `yes`, `unknown` or `no`. A yes is never taken back, an unknown is never made a no."""
        with self._lock:
            entry = self._entries[jid]
            if answer == "yes" and not entry.acknowledged:
                entry.acknowledged = time.monotonic()
            if not (entry.answer == "yes" or (entry.answer == "unknown" and answer == "no")):
                entry.answer = answer

    def odd(self, error: Exception) -> None:
        """A call raised something that it should not."""
        with self._lock:
            self.oddities.append(repr(error)[:200])

    def removed(self, jid: UUID) -> None:
        """Somebody took this job out of the store: it need not be there at the end."""
        with self._lock:
            self._entries[jid].answer = "removed"

    def entries(self) -> dict[UUID, Entry]:
        """All of them now."""
        with self._lock:
            return dict(self._entries)
