"""The pulse of a worker process, felt by its supervisor through a pipe: the loop turns, and the claim loop turns.

A byte a second says that the event loop lives, another that the queue worker's own turn went round. The supervisor
needs no more to tell three cases apart: a healthy worker, a blocked loop (sync code in an `async def` job: its lease is
extended for it, it is reported and not shot), and a claim loop that is stuck while all else lives (it is replaced).
Four more bytes say that the store has answered a heartbeat, so that the worker serves; that it should make way for a
fresh one; that it was told to stop, so that nobody takes its place; and that it leaves by itself, so that its exit code
is its own word and not that of a job.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable
from pathlib import Path

from procession.clock import monotonic

log = logging.getLogger("procession.worker")

LOOP, TURN, SERVES, WORN, DISMISSED, LEAVES = b".", b"!", b"+", b"~", b"x", b"-"
EVERY = 1.0
"""Seconds between two bytes of each kind, at most; less where heartbeats come faster than each five seconds."""


def interval(heartbeat: float) -> float:
    """Seconds between two bytes for a worker that beats each `heartbeat` seconds."""
    return min(EVERY, heartbeat / 5)


class Beating:
    """The worker's end: writes the bytes. Without a pipe it only looks.

    Args:
        descriptor: the pipe.
        every: seconds between two bytes.
        seen_in: takes down in which job the loop is blocked, for the supervisor to find.
    """

    def __init__(
        self,
        descriptor: int | None = None,
        *,
        every: float = EVERY,
        seen_in: Callable[[str], None] | None = None,
    ) -> None:
        self.every = every
        self._descriptor = descriptor
        self._seen_in = seen_in
        self._reported = False
        self._turned = 0.0
        self._worn = self._dismissed = False

    async def run(self, look: Callable[[], None]) -> None:
        """Say again and again that the loop turns, and call `look` each time."""
        while True:
            self._write(LOOP)
            self._reported = False
            if self._worn:  # said again: a byte is lost when the pipe is full
                self._write(WORN)
            if self._dismissed:
                self._write(DISMISSED)
            look()
            await asyncio.sleep(self.every)

    def turned(self) -> None:
        """The claim loop went round."""
        now = monotonic()
        if now - self._turned >= self.every:
            self._turned = now
            self._write(TURN)

    def serves(self) -> None:
        """The store has answered a heartbeat: it knows this worker, which can take jobs."""
        self._write(SERVES)

    def dismissed(self) -> None:
        """This worker was told to stop, by an order: nobody is to take its place."""
        self._dismissed = True
        self._write(DISMISSED)

    def leaves(self) -> None:
        """This process ends now, with an exit code that says why."""
        self._write(LEAVES)

    def blocked(self, seconds: float, job: str, stack: str) -> None:
        """The loop does not turn, says the thread that keeps the lease. A supervisor reports it; without one we do."""
        if self._seen_in is not None:
            self._seen_in(job)
        elif not self._reported:
            self._reported = True
            log.warning("event loop blocked for %.1f s in %s; a thread extends the lease\n%s", seconds, job, stack)

    def worn_out(self, why: str) -> None:
        """This worker should make way for a fresh one: a supervisor starts the replacement first, then stops this
        one. Nobody does for a worker without one, so that is a warning."""
        if self._worn:
            return
        self._worn = True
        self._write(WORN)
        log.log(
            logging.WARNING if self._descriptor is None else logging.INFO, "this worker should be replaced: %s", why
        )

    def _write(self, byte: bytes) -> None:
        if self._descriptor is not None:
            with contextlib.suppress(OSError):  # the supervisor is gone, or slow: its pipe is not worth waiting for
                os.write(self._descriptor, byte)


class Felt:
    """The supervisor's end: when each kind was last heard."""

    def __init__(self) -> None:
        reader, self.writer = os.pipe()
        os.set_blocking(reader, False)
        os.set_blocking(self.writer, False)
        self._reader = reader
        self.loop = self.turn = monotonic()
        self.begun = False
        """The store has answered it: the worker serves."""
        self.worn = False
        self.dismissed = False
        """It was told to stop, and nobody is to take its place."""
        self.left = False
        """It has ended by itself, and no code of a job has ended it."""

    def child_started(self) -> None:
        """Close the end that the child has inherited."""
        os.close(self.writer)

    def feel(self) -> None:
        """Read what has come."""
        with contextlib.suppress(BlockingIOError):
            heard = os.read(self._reader, 65_536)
            now = monotonic()
            if LOOP in heard:
                self.loop = now
            if TURN in heard:
                self.turn = now
            if SERVES in heard:
                self.begun = True
            if WORN in heard:
                self.worn = True
            if DISMISSED in heard:
                self.dismissed = True
            if LEAVES in heard:
                self.left = True

    def pardon(self, now: float) -> None:
        """The listener itself has not listened for a while (the machine was suspended): silence counts from now."""
        self.loop = self.turn = now

    def close(self) -> None:
        """The child is gone."""
        os.close(self._reader)


def is_stopped(pid: int) -> bool:
    """True when the process is stopped by a signal (Linux): then it is not alive in any useful sense."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[:1] in (["T"], ["t"])
