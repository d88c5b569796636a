"""The verb behind "edit and retry": a finished job runs again as something else was asked of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol
from uuid import UUID

from msgspec import Struct

from procession.database.operation import Operation
from procession.limits import Slot


class Revision(Struct, frozen=True, kw_only=True):
    """A finished job as it was read, and what is asked of it now."""

    jid: UUID
    finish_at: int
    """When it was finished, as it was read: the fence. A job that was finished anew since is left as it is."""
    spec: bytes
    key: bytes = b""
    """Its unique key from now on, 16 bytes, where it has one; empty to leave that as it is."""
    slot: Slot | None = None
    """The limit that it comes under from now on, where it is under one; None to leave that as it is."""


class Revisions(Protocol):
    """Changing what is asked of jobs."""

    def revise(self, revisions: Sequence[Revision]) -> Operation[list[bool]]:
        """Replace the specs of finished jobs and queue them again, as `retry` does; True for each that was changed.

        - A job that is not there, not finished, or was finished at another time is left as it is.
        - So is one whose unique key, the old or the new one, another job holds.
        - One whose limit has no slot free is blocked, as any job that is ready.
        - Under a new key the old one is free; what else its rules say (what frees it, window, deadline) stays.
        """
        ...
