"""The pulse of a worker process, felt by its supervisor through a pipe: the loop turns, and the claim loop turns.

A byte a second says that the event loop lives, another that the queue worker's own turn went round. The supervisor
needs no more to tell three cases apart: a healthy worker, a blocked loop (sync code in an `async def` job: its lease is
extended for it, it is reported and not shot), and a claim loop that is stuck while all else lives (it is replaced).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from pathlib import Path

from procession.clock import monotonic

log = logging.getLogger("procession.worker")

LOOP, TURN = b".", b"!"
EVERY = 1.0
"""Seconds between two bytes of each kind, at most."""


class Beating:
    """The worker's end: writes the bytes. Without a pipe it does nothing."""

    def __init__(self, descriptor: int | None) -> None:
        self._descriptor = descriptor
        self._turned = 0.0

    async def run(self) -> None:
        """Say once a second that the loop turns."""
        while self._descriptor is not None:
            self._write(LOOP)
            await asyncio.sleep(EVERY)

    def turned(self) -> None:
        """The claim loop went round."""
        now = monotonic()
        if now - self._turned >= EVERY:
            self._turned = now
            self._write(TURN)

    def worn_out(self, why: str) -> None:
        """This worker should make way for a fresh one: a supervisor starts the replacement first, then stops this
        one."""
        log.warning("this worker should be replaced: %s", why)

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

    def child_started(self) -> None:
        """Close the end that the child has inherited."""
        os.close(self.writer)

    def feel(self) -> None:
        """Read what has come."""
        with contextlib.suppress(BlockingIOError):
            heard = os.read(self._reader, 65_536)
            now = monotonic()
            if heard:
                self.begun = True
            if LOOP in heard:
                self.loop = now
            if TURN in heard:
                self.turn = now

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
