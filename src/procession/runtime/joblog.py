"""The brief's log lines: started, finished in N ms, failed. Written to `procession.worker`, and only there.

While jobs come slowly enough to read, each has its lines. Above `READABLE` a second, the lines of success give way to
one summary a second: two formatted lines cost more than a whole no-op job. Failures are always logged.
"""

from __future__ import annotations

import logging

from procession.moves import Move
from procession.runtime.executor import Run, Verdict

log = logging.getLogger("procession.worker")

READABLE = 50
"""Jobs a second up to which each success has its own lines."""
MOST_NAMES = 1_000
"""Unknown names that are remembered, so as to be logged once each."""


class JobLog:
    """Decides line by line; `verbose` brings every line back."""

    def __init__(self, verbose: bool = False) -> None:
        self._verbose = verbose
        self._at_info = log.isEnabledFor(logging.INFO)
        self._quiet = False
        self._begun = 0
        self._summed = 0
        self._ends = 0.0
        self._unknown: set[str] = set()

    @property
    def due(self) -> float | None:
        """When (monotonic seconds) a summary wants to be written."""
        return self._ends if self._summed else None

    def started(self, run: Run, now: float) -> None:
        """A run begins."""
        if not self._at_info:
            return
        if now >= self._ends:
            self.tick(now)
        self._begun += 1
        if self._begun > READABLE and not self._verbose:
            self._quiet = True
        if not self._quiet:
            log.info("%s %s started, attempt %d", run.registered.name, run.claimed.jid, run.claimed.attempt)

    def finished(self, run: Run, verdict: Verdict, seconds: float) -> None:
        """A run came to an outcome."""
        if verdict.outcome.move != Move.PROCESS:
            self.failed(run.registered.name, verdict, seconds)
        elif self._quiet:
            self._summed += 1
        elif self._at_info:
            log.info("%s %s finished in %.0f ms", run.registered.name, verdict.outcome.jid, seconds * 1_000)

    def failed(self, name: str, verdict: Verdict, seconds: float | None = None) -> None:
        """A job was not processed: always logged, failures with their traceback."""
        outcome = verdict.outcome
        took = "" if seconds is None else f" after {seconds * 1_000:.0f} ms"
        head = f"{name} {outcome.jid}"
        text = verdict.traceback or verdict.error
        if outcome.move == Move.FAIL:
            log.error("%s failed%s (%s): %s", head, took, outcome.reason, text)
        elif outcome.move == Move.RETRY:
            log.warning("%s failed%s, again in %.1f s: %s", head, took, outcome.delay / 1_000, text)
        elif outcome.move == Move.POSTPONE:
            self._not_known(verdict)
        else:
            log.info("%s: %s%s (%s)", head, outcome.move, took, outcome.reason)

    def _not_known(self, verdict: Verdict) -> None:
        if verdict.error not in self._unknown and len(self._unknown) < MOST_NAMES:
            self._unknown.add(verdict.error)
            log.warning("%s; its jobs wait, and are looked at again about every 10 s", verdict.error)

    def tick(self, now: float) -> None:
        """Begin a new second, if the last is over; called each turn."""
        if now >= self._ends:
            self.flush()
            self._quiet = self._begun > READABLE and not self._verbose
            self._ends, self._begun = now + 1.0, 0

    def flush(self) -> None:
        """Write what is summed up so far."""
        if self._summed:
            log.info("finished %d jobs in the last second", self._summed)
            self._summed = 0
