"""Staying alive in the store's eyes: what to conclude from a heartbeat, and a thread that extends the lease.

The loop of the queue worker beats and compares. The thread only extends, over a connection of its own, when the loop
is blocked and has not beaten for a beat and a half: so sync code inside an `async def` job does not cost the lease.
What keeps the interpreter's lock in C code starves a thread too; see docs/reliability.md.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import traceback
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from typing import NamedTuple
from uuid import UUID

from procession.clock import monotonic
from procession.database import Database, Held
from procession.errors import DatabaseError


class Conclusion(NamedTuple):
    """What a queue worker has to do after comparing."""

    lost: list[UUID]
    """Running here, but no longer ours: stop, write nothing."""
    strangers: list[Held]
    """Ours in the store, but not here (a claim's reply was lost): give back."""
    cancelled: list[UUID]
    """Running here, and somebody asked for its cancellation."""


def compare(store: Collection[Held], here: Mapping[UUID, bytes]) -> Conclusion:
    """Compare what the store believes this worker to run with what it runs: jid → claim token."""
    believed = {held.jid: held for held in store}
    lost = [jid for jid, token in here.items() if jid not in believed or believed[jid].token != token]
    strangers = [held for jid, held in believed.items() if jid not in here]
    cancelled = [jid for jid, held in believed.items() if held.cancel and jid in here and jid not in lost]
    return Conclusion(lost, strangers, cancelled)


class LeaseKeeper:
    """A thread that extends a worker's lease while its loop is blocked.

    Args:
        every: how often, in seconds, the loop says that it is `alive`.
        blocked: is told for how many seconds the loop has been blocked, in which job, and with which stack.
    """

    def __init__(
        self,
        database: Database,
        worker: str,
        *,
        lease: int,
        heartbeat: float,
        every: float,
        blocked: Callable[[float, str, str], None],
        running_in: Callable[[asyncio.Task[object]], str],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._loop_thread = threading.get_ident()
        self._database = database
        self._worker = worker
        self._lease = lease
        self._late = heartbeat * 1.5
        self._silent = every * 1.5
        self._blocked = blocked
        self._running_in = running_in
        self._extended = self._alive = monotonic()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="procession-lease", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def touched(self) -> None:
        """The loop has just extended the lease itself."""
        self._extended = monotonic()

    def alive(self) -> None:
        """The loop turns."""
        self._alive = monotonic()

    def close(self) -> None:
        """End the thread."""
        self._done.set()

    def _blocked_in(self) -> tuple[str, str]:
        """Which job the loop is in, and its stack."""
        task = asyncio.current_task(self._loop)
        frame = sys._current_frames().get(self._loop_thread)
        stack = "".join(traceback.format_stack(frame, limit=20)) if frame is not None else ""
        return self._running_in(task) if task is not None else "no job", stack

    def _run(self) -> None:
        connection = self._database.connect()
        while not self._done.wait(self._late / 3):
            now = monotonic()
            if now - self._alive < self._silent:
                continue
            self._blocked(now - self._alive, *self._blocked_in())
            if now - self._extended >= self._late:
                with suppress(DatabaseError):  # the loop logs the outage
                    connection.ask(self._database.extend([self._worker], lease=self._lease))
        connection.close()
