"""The verb of `procession.database.revision`, and what it shares with `retry`: a finished job starts anew."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TypeVar

from msgspec.structs import replace

from procession.database.memory.index import Record
from procession.database.memory.store import Store
from procession.database.memory.unique import holder_of, take_key
from procession.database.operation import Operation
from procession.database.revision import Revision
from procession.moves import Move

T = TypeVar("T")


class RevisionVerbs(ABC):
    """See `procession.database.revision.Revisions`."""

    store: Store
    now: Callable[[], int]

    @abstractmethod
    def operation(self, run: Callable[[], T]) -> Operation[T]:
        """A verb not yet asked."""

    def revise(self, revisions: Sequence[Revision]) -> Operation[list[bool]]:
        """See `Revisions.revise`."""
        return self.operation(lambda: [self._revise(it) for it in revisions])

    def _revise(self, it: Revision) -> bool:
        record = self.store.jobs.get(it.jid)
        if record is None or not record.state.final or record.finish_at != it.finish_at:
            return False
        if not _takes_key(self.store, record, it.key, self.now()):
            return False
        record.spec = it.spec
        if it.slot is not None:
            record.slot = it.slot
            self.store.slots.said(record, ready=True)
        revive(self.store, record, self.now())
        return True


def revive(store: Store, record: Record, now: int) -> None:
    """Queue a finished job that has its key, attempts and crashes counted anew, its result and deadline dropped; where
    its limit has no slot free, it is blocked."""
    store.ready(record, Move.REVIVE, now, due=now)
    record.attempt = record.crashes = record.start_at = record.finish_at = record.expires_at = 0
    record.worker, record.token, record.cancel, record.result = "", b"", False, None
    record.deadline = 0


def _takes_key(store: Store, record: Record, key: bytes, now: int) -> bool:
    old = record.unique
    if not key or old is None or old.key == key:
        return take_key(store, record, now)
    if holder_of(store, key, now) is not None:
        return False
    if store.unique.get(old.key) == record.jid:
        del store.unique[old.key]
    record.unique = replace(old, key=key)
    store.unique[key] = record.jid
    return True
