"""The supervisor: queue workers as OS processes, one for one. It runs no job and no event loop, and waits for nothing.

It keeps N places filled (`seat.py`), each with a child (`children.py`), feels their pulse (`watch.py`), and leaves what
is to be said to the store to a thread (`envoy.py`): leases to be extended, and deaths, so that the dead one's jobs are
taken back in a moment and not after the lease.

- SIGTERM, SIGINT: the first asks the children to finish what runs, the second to give it back now.
- SIGHUP: each child in turn makes way for a fresh interpreter, the replacement first. When it comes because the
  terminal went away, it stops as SIGTERM does.
"""

from __future__ import annotations

import errno
import logging
import os
import signal
import socket
from collections.abc import Sequence
from contextlib import suppress
from types import FrameType
from typing import Any

from procession.client import Procession
from procession.clock import milliseconds, monotonic
from procession.runtime.blackbox import Ended
from procession.runtime.child import CANNOT_BEGIN, CUT_SHORT
from procession.runtime.children import Child
from procession.runtime.condition import Condition, Told
from procession.runtime.deputy import Deputy
from procession.runtime.envoy import Envoy
from procession.runtime.pulse import interval
from procession.runtime.seat import Seat
from procession.runtime.watch import Watch

log = logging.getLogger("procession.worker")

STOPS = (signal.SIGTERM, signal.SIGINT)
EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
"""Errors that say nothing of the terminal: there is no descriptor, or no memory, left to open it with."""
AWAY = 2.0
"""Seconds beyond two beats of the pulse without a look of ours after which the children's silence is not theirs."""


class Supervisor:
    """Keeps `processes` queue workers alive.

    Args:
        app: whose store it speaks to, and whose settings say how long things may take.
        target: `module:app`, what the children import.
        told: called with the condition at each look.
        asked: the other words of `procession.runtime.child`: queues, concurrency, threads, bounds …
    """

    def __init__(
        self,
        app: Procession,
        target: str,
        *,
        queues: Sequence[str] | None = None,
        processes: int | None = None,
        burst: bool = False,
        log_level: int = logging.INFO,
        told: Sequence[Told] = (),
        **asked: Any,
    ) -> None:
        settings = app.settings
        self.app = app
        self._burst = burst
        self._told = told
        self._grace = milliseconds(settings.grace, "grace") / 1_000
        self._heartbeat = milliseconds(settings.heartbeat, "heartbeat") / 1_000
        self._every = interval(self._heartbeat)
        self._asked = {
            **asked,
            "target": target,
            "queues": list(queues) if queues else None,
            "burst": burst,
            "log_level": log_level,
            "every": self._every,
        }
        self._seats = [Seat() for _ in range(processes or settings.processes)]
        self._watches: dict[Child, Watch] = {}
        self._served = False
        self._stops = 0
        self._level = 0
        self._reloads = 0
        self._terminal = False
        self._code = 0

    # Life

    def run(self) -> int:
        """Keep the children until they are done or a signal came. Returns the exit code: 0 all ended as asked, 1 one
        died while it ended or did not end, 3 none could begin."""
        reader, writer = socket.socketpair()
        reader.settimeout(self._every / 2)
        writer.setblocking(False)
        old_descriptor = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        old = {number: signal.signal(number, self._heard) for number in (*STOPS, signal.SIGCHLD)}
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # under nohup it stays ignored
            old[signal.SIGHUP] = signal.signal(signal.SIGHUP, self._heard)
        self._terminal = _has_terminal()
        settings = self.app.settings
        lease, budget = milliseconds(settings.lease, "lease"), milliseconds(settings.budget, "budget") / 1_000
        self._envoy = Envoy(self.app.database, lease=lease, budget=budget)
        self._deputy = Deputy(self._envoy)
        try:
            self._keep(reader)
            return self._code
        finally:
            for child in self._children():
                child.close()
            self._envoy.close()
            for number, handler in old.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(old_descriptor)
            reader.close()
            writer.close()

    def stop(self) -> None:
        """As if SIGTERM had come; from any thread."""
        self._stops += 1

    def reload(self) -> None:
        """As if SIGHUP had come; from any thread."""
        self._reloads += 1

    def _heard(self, number: int, frame: FrameType | None) -> None:
        if number in STOPS:
            self._stops += 1
        elif number == signal.SIGHUP:
            self._reloads += 1

    def _keep(self, reader: socket.socket) -> None:
        looked = monotonic()
        while True:
            now = monotonic()
            if now - looked > AWAY + 2 * self._every:
                for child in self._children():
                    child.pulse.pardon(now)
            looked = now
            self._obey()
            self._look(now)
            self._tell()
            if all(seat.closed and not seat.members() for seat in self._seats):
                return
            with suppress(TimeoutError):
                reader.recv(64)  # a signal, a child's death, or half a beat

    def _children(self) -> list[Child]:
        return [child for seat in self._seats for child in seat.members()]

    def _tell(self) -> None:
        serves = [any(child.pulse.begun and not child.stopping for child in seat.members()) for seat in self._seats]
        condition = Condition(places=len(self._seats), serving=sum(serves), stopping=self._level > 0)
        for told in self._told:
            told(condition)

    # What signals ask for

    def _obey(self) -> None:
        if self._reloads:
            self._reloads = 0
            if self._terminal and not _has_terminal():
                self._stops += 1
            else:
                log.info("renewing the queue workers one by one, the replacement first")
                for seat in self._seats:
                    seat.renew()
        if self._stops:
            level = min(self._stops, 2)
            if level != self._level:
                self._level = level
                log.info("stopping: %s", "now" if level == 2 else f"finishing what runs, for at most {self._grace:g} s")
            for seat in self._seats:
                seat.closed = True
            for child in self._children():
                child.stop(level)

    # What a look finds

    def _look(self, now: float) -> None:
        alive = set()
        for seat in self._seats:
            for child in seat.members():
                ended = child.look(now)
                if child.pulse.dismissed:
                    seat.dismiss(child)
                if ended is not None:
                    self._ended(seat, child, ended, now)
                elif self._watches[child].look(now):
                    alive.add(child.worker_id)
            predecessor = seat.take_over()
            if predecessor is not None:
                predecessor.stop()
            if seat.empty(now):
                seat.serving = self._start(seat, now)
        if alive:
            self._envoy.alive(alive)
        self._deputy.look(self._seats, now)
        self._served = self._served or any(child.pulse.begun for child in self._children())
        self._renew(now)

    def _renew(self, now: float) -> None:
        """Start the replacement of one worn child, if no other replacement is under way."""
        if any(seat.changing for seat in self._seats):
            return
        for seat in self._seats:
            if seat.worn(now) and seat.serving is not None:
                seat.successor = self._start(seat, now)
                if seat.successor is not None:
                    log.info("queue worker %s: %s is to take over", seat.serving.worker_id, seat.successor.worker_id)
                return

    def _start(self, seat: Seat, now: float) -> Child | None:
        try:
            child = Child(self._asked, grace=self._grace)
        except OSError as error:
            log.error("cannot start a process: %s; again in %.1f s", error, seat.put_off(now))
            return None
        self._watches[child] = Watch(child, every=self._every, heartbeat=self._heartbeat)
        return child

    def _ended(self, seat: Seat, child: Child, ended: Ended, now: float) -> None:
        well = child.ended_well(ended)
        how = ended.how
        if not well:
            crash = child.dossier(ended)
            how = crash.how
            sealing = self.app.registry.policies.sealing
            self._envoy.died(child.worker_id, crash if sealing is None else sealing.seal_crash(crash, child.worker_id))
        child.close()
        del self._watches[child]
        pause = seat.left(child, now)
        if ended.code == CANNOT_BEGIN and not (self._served or child.pulse.begun):
            self._code = CANNOT_BEGIN
            self._stops = max(self._stops, 1)
        elif well and ended.code == CUT_SHORT:
            return
        elif well and not child.stopping and self._burst:
            seat.closed = True
            if seat.serving is not None and not seat.serving.pulse.begun:
                seat.serving.stop()  # it was to take over, and nothing is left to do
        elif seat.closed or self._burst:
            self._code = self._code if well else self._code or 1
        if not well:
            self._mourn(seat, child, how, pause)
        elif not (child.stopping or seat.closed):
            log.warning(
                "queue worker %s has ended, told to by a signal that was not ours; another starts in %.1f s",
                child.worker_id, pause,
            )  # fmt: skip

    def _mourn(self, seat: Seat, child: Child, how: str, pause: float) -> None:
        name = child.worker_id
        if seat.closed or not pause:
            log.error("queue worker %s died: %s; what it held is taken back", name, how)
        elif seat.serving is not None and not child.pulse.begun:
            log.error(
                "queue worker %s, a replacement, could not begin: %s; %s goes on, another try in %.1f s",
                name, how, seat.serving.worker_id, pause,
            )  # fmt: skip
        else:
            log.error("queue worker %s died: %s; its jobs are taken back, another starts in %.1f s", name, how, pause)


def _has_terminal() -> bool:
    """True while this process has a terminal that is there."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError as error:
        return error.errno in EXHAUSTED
    return True
