"""The verb of `procession.database.revision`, as a script with arguments."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from procession.database.operation import Operation
from procession.database.redis.rules import SLOT
from procession.database.revision import Revision

T = TypeVar("T")


class RevisionScripts(ABC):
    """See `procession.database.revision.Revisions`."""

    @abstractmethod
    def _ask(self, verb: str, arguments: Sequence[Any], read: Callable[[Any], T]) -> Operation[T]:
        """A script with its arguments, and how to read its reply."""

    def revise(self, revisions: Sequence[Revision]) -> Operation[list[bool]]:
        """See `Revisions.revise`."""
        arguments = [part for it in revisions for part in _words(it)]
        return self._ask("revise", arguments, lambda reply: [bool(changed) for changed in reply])


def _words(it: Revision) -> tuple[Any, ...]:
    slot = b"" if it.slot is None else SLOT.pack(it.slot.limit, it.slot.most)
    return (it.jid.bytes, it.finish_at, it.spec, it.key, slot)
