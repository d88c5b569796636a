"""What the supervisor concludes from one child's pulse: extend its lease, report it, or end it.

Three cases look alike from outside and must not be treated alike. A blocked event loop is alive: its lease is extended,
and its stacks are reported. A claim loop that is stuck while the event loop turns will never take or settle a job
again: the process is ended, so that another takes its place. A process that was stopped (SIGSTOP) is not alive.
Nothing here waits: stacks that were asked for are read at a later look.
"""

from __future__ import annotations

import logging

from procession.runtime.blackbox import WRITTEN
from procession.runtime.children import Child
from procession.runtime.pulse import is_stopped

log = logging.getLogger("procession.worker")

BLOCKED = 5.0
"""Seconds without a turn of its event loop after which a child is reported."""
STUCK = 60.0
"""Seconds without a turn of its claim loop, while its event loop turns, after which a child is ended."""
SLOW_START = 60.0
"""Seconds after which a child that does not serve yet is mentioned."""


class Watch:
    """Over one child.

    Args:
        every: seconds between two bytes of its pulse.
        heartbeat: seconds between two extensions of its lease.
    """

    def __init__(self, child: Child, *, every: float, heartbeat: float) -> None:
        self._child = child
        self._late = 1.3 * every
        self._heartbeat = heartbeat
        self._extended = 0.0
        self._asked = 0.0
        self._reported = False
        self._mentioned = False

    def look(self, now: float) -> bool:
        """Report or end what needs it. True when the child's lease is to be extended for it."""
        pulse = self._child.pulse
        if not pulse.begun:
            self._mention(now)
            return False
        silent = now - pulse.loop
        if silent < self._late:
            self._turns_again()
            if now - pulse.turn > STUCK and self._stacks_are_there(now):
                self._end_stuck(now - pulse.turn)
            return False
        if is_stopped(self._child.process.pid):
            return False
        if silent > BLOCKED and not self._reported and self._stacks_are_there(now):
            self._report(silent)
        if now - self._extended < self._heartbeat:
            return False
        self._extended = now
        return True

    def _mention(self, now: float) -> None:
        if now - self._child.started > SLOW_START and not self._mentioned:
            self._mentioned = True
            log.warning("queue worker %s does not serve yet after %.0f s", self._child.worker_id, SLOW_START)

    def _stacks_are_there(self, now: float) -> bool:
        if not self._asked:
            self._asked = now
            self._child.box.ask_for_stacks(self._child.process)
        return now - self._asked >= WRITTEN

    def _report(self, silent: float) -> None:
        self._reported = True
        where = self._child.box.seen_in(self._child.pulse.loop) or "a job that the stack tells"
        log.warning(
            "queue worker %s: event loop blocked for %.0f s in %s; its lease is extended\n%s",
            self._child.worker_id, silent, where, self._child.box.stacks(),
        )  # fmt: skip

    def _turns_again(self) -> None:
        if self._reported:
            self._reported = False
            self._asked = 0.0
            self._child.box.forget_stacks()
            log.warning("queue worker %s: event loop turns again", self._child.worker_id)

    def _end_stuck(self, silent: float) -> None:
        if not self._child.because:
            self._child.kill(f"its claim loop was stuck for {silent:.0f} s")
            log.error("queue worker %s: %s\n%s", self._child.worker_id, self._child.because, self._child.box.stacks())
