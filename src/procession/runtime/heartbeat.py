"""Staying alive in the store's eyes: what to conclude from a heartbeat, and a thread that extends the lease.

The loop of the queue worker beats and compares. The thread only extends, over a connection of its own, when the loop
has not for a beat and a half: so sync code inside an `async def` job does not cost the lease. C code that keeps the
interpreter's lock starves a thread too; against that, a supervisor vouches for its children (`vouching.py`).
"""

from __future__ import annotations

import logging
import sys
import threading
import traceback
from collections.abc import Collection, Mapping
from typing import NamedTuple
from uuid import UUID

from procession.clock import monotonic
from procession.database import Database, Held
from procession.errors import ProcessionError

log = logging.getLogger("procession.worker")


class Conclusion(NamedTuple):
    """What a queue worker has to do after comparing."""

    lost: list[UUID]
    """Running here, but no longer ours: stop, write nothing."""
    strangers: list[Held]
    """Ours in the store, but not here (a claim's reply was lost): give back."""
    cancelled: list[UUID]
    """Running here, and somebody asked for its cancellation."""


def compare(store: Collection[Held], here: Mapping[UUID, bytes], *, claiming: bytes = b"") -> Conclusion:
    """Compare what the store believes this worker to run with what it runs: jid → claim token.

    `claiming` is the token of a claim asked in the same trip: what it holds is about to be begun, so it is no stranger,
    even when the trip was repeated and its first claim had already run.
    """
    believed = {held.jid: held for held in store}
    lost = [jid for jid, token in here.items() if jid not in believed or believed[jid].token != token]
    strangers = [
        held
        for jid, held in believed.items()
        if held.token != claiming and (jid not in here or here[jid] != held.token)
    ]
    cancelled = [jid for jid, token in here.items() if jid in believed and believed[jid] == Held(jid, token, True)]
    return Conclusion(lost, strangers, cancelled)


class LeaseKeeper:
    """A thread that extends a worker's lease when its loop is late, and says where the loop is stuck."""

    def __init__(self, database: Database, worker: str, *, lease: int, heartbeat: float) -> None:
        self._database = database
        self._worker = worker
        self._lease = lease
        self._late = heartbeat * 1.5
        self._last = monotonic()
        self._watched: int | None = None
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="procession-lease", daemon=True)

    def start(self) -> None:
        """Begin to watch the thread that calls this: the one of the loop."""
        self._watched = threading.get_ident()
        self._last = monotonic()
        self._thread.start()

    def touched(self) -> None:
        """The loop has just extended the lease itself."""
        self._last = monotonic()

    def close(self) -> None:
        """End the thread."""
        self._done.set()

    def _run(self) -> None:
        connection = self._database.connect()
        said = 0.0
        while not self._done.wait(self._late / 3):
            late = monotonic() - self._last
            if late < self._late:
                continue
            if self._last != said:
                said = self._last
                log.warning(
                    "no heartbeat for %.1f s; a thread extends the lease. The loop is at:\n%s", late, self._stack()
                )
            try:
                connection.ask(self._database.extend([self._worker], lease=self._lease))
            except ProcessionError:
                continue  # the loop logs the outage
        connection.close()

    def _stack(self) -> str:
        frame = sys._current_frames().get(self._watched or 0)
        return "".join(traceback.format_stack(frame, limit=12)) if frame is not None else ""
