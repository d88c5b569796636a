"""The brief's log lines: started, finished in N ms, failed. Written to `procession.worker.jobs`, and only these.

While jobs come slowly enough to read, each has its lines. Above `READABLE` a second, the lines of success give way
to one summary a second: two formatted lines cost more than a whole no-op job. Failures are always logged. No job waits
for its lines: that it started is written once it waits for the first time, or has ended.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from procession.clock import monotonic
from procession.job import Outcome
from procession.moves import Move
from procession.runtime.active import Active
from procession.runtime.executor import PROCESS, Run, Verdict
from procession.terminal import plain

log = logging.getLogger("procession.worker.jobs")

READABLE = 50
"""Jobs a second up to which each success has its own lines."""


class JobLog:
    """Decides line by line; `verbose` brings every line back."""

    def __init__(self, verbose: bool = False) -> None:
        self._verbose = verbose
        self._second = 0
        self._begun = 0
        self._quiet_until = 0.0
        """The end of this second when its rest is only summed up, and the next as long as it goes on so; else 0."""
        self._summed = 0

    def started(self, run: Run, now: float) -> None:
        """A run began, at this reading of the clock."""
        if now >= self._second + 1:
            self._turn(int(now))
        self._begun += 1
        self._quieten()
        if not self._quiet_until:
            log.info("%s %s started, attempt %d", run.registered.name, run.claimed.jid, run.claimed.attempt)

    def finished(self, ended: Iterable[tuple[Active, Verdict]]) -> None:
        """Runs came to an outcome, one after the other. Of those that did not wait nothing was said before."""
        until, counted = self._quiet_until, 0
        for active, verdict in ended:
            if active.started < until and verdict.outcome.move == PROCESS and not active.logged:
                counted += 1
                continue
            self._sum_up(counted)
            if active.started and not active.logged:
                self.started(active.run, active.started)
            self._finished(active, verdict)
            until, counted = self._quiet_until, 0
        self._sum_up(counted)

    def _sum_up(self, runs: int) -> None:
        self._begun += runs
        self._summed += runs

    def _finished(self, active: Active, verdict: Verdict) -> None:
        name, outcome, seconds = active.run.registered.name, verdict.outcome, active.took or 0.0
        if outcome.move != PROCESS:
            self.ended(name, outcome, verdict, seconds)
        elif self._quiet_until:
            self._summed += 1
        else:
            log.info("%s %s finished in %.0f ms", name, outcome.jid, seconds * 1_000)

    def ended(self, name: str, outcome: Outcome, verdict: Verdict, seconds: float = 0.0) -> None:
        """A job was not processed: always logged."""
        took = f" after {seconds * 1_000:.0f} ms" if seconds else ""
        if outcome.move == Move.FAIL:
            log.error(
                "%s %s failed%s (%s): %s\n%s", name, outcome.jid, took, outcome.reason, verdict.error, verdict.traceback
            )
        elif outcome.move == Move.RETRY:
            log.warning(
                "%s %s failed%s, again in %.1f s: %s\n%s",
                name, outcome.jid, took, outcome.delay / 1_000, verdict.error, verdict.traceback,
            )  # fmt: skip
        elif outcome.move == Move.CRASH:
            log.error("%s %s killed its process%s: %s\n%s", name, outcome.jid, took, verdict.error, verdict.traceback)
        else:
            log.info("%s %s: %s%s (%s)", name, outcome.jid, outcome.move, took, outcome.reason)

    def _turn(self, second: int) -> None:
        if self._summed:
            log.info("finished %d jobs in the last second", self._summed)
        self._second, self._quiet_until = second, 0.0
        self._quieten()
        self._begun = self._summed = 0

    def _quieten(self) -> None:
        if self._begun > READABLE and not self._verbose:
            self._quiet_until = self._second + 1.0

    def flush(self) -> None:
        """Write what is summed up so far; called now and then, and at the end."""
        if self._summed and int(monotonic()) != self._second:
            self._turn(int(monotonic()))


class _Plain(logging.Formatter):
    """Lines whose errors and names a terminal does not obey."""

    def format(self, record: logging.LogRecord) -> str:
        return plain(super().format(record))


def log_to_stderr(level: int) -> None:
    """Show the library's lines; no other logger is touched."""
    logger = logging.getLogger("procession")
    if not logger.handlers:
        handler = logging.StreamHandler()
        handler.setLevel(level)  # by itself, since loggers of jobs may let more pass, to be kept
        handler.setFormatter(_Plain("%(asctime)s %(levelname)-7s %(message)s"))
        logger.addHandler(handler)
    logger.setLevel(level)
