"""The verbs of what is measured, as scripts with arguments; how counts are packed is in `lua/lib/record.lua`."""

from __future__ import annotations

import struct
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from procession.database.measures import HOUR, MINUTE, Bucket, Counts, ErrorGroup, Seen, Step
from procession.database.operation import Operation

T = TypeVar("T")

SLOT = struct.Struct(">BI")


class MeasureScripts(ABC):
    """See `procession.database.measures.Measures`."""

    @abstractmethod
    def _ask(self, verb: str, arguments: Sequence[Any], read: Callable[[Any], T]) -> Operation[T]:
        """A script with its arguments, and how to read its reply."""

    def measure(self, series: Mapping[str, Counts], errors: Sequence[Seen] = ()) -> Operation[None]:
        """See `Measures.measure`."""
        arguments: list[Any] = [len(series)]
        for name, counts in series.items():
            arguments += (name, b"".join(SLOT.pack(slot, number) for slot, number in counts.items()))
        for it in errors:
            arguments += (it.fingerprint, msgspec.json.encode(it))
        return self._ask("measure", arguments, lambda _: None)

    def history(self, *, step: Step, number: int, scope: str = "") -> Operation[list[Bucket]]:
        """See `Measures.history`."""

        def read(reply: list[Any]) -> list[Bucket]:
            now, *rows = reply
            first = now // step - number + 1
            pairs = zip(rows[::2], rows[1::2], strict=True)
            return [Bucket((first + at) * step, _counts(e), _counts(h)) for at, (e, h) in enumerate(pairs)]

        return self._ask("history", [int(step == HOUR), number, scope], read)

    def groups(self, limit: int) -> Operation[list[ErrorGroup]]:
        """See `Measures.groups`."""

        def read(reply: list[bytes]) -> list[ErrorGroup]:
            return [_group(name, raw) for name, raw in zip(reply[::2], reply[1::2], strict=True)]

        return self._ask("groups", [limit], read)

    def mute(self, fingerprint: str, milliseconds: int) -> Operation[bool]:
        """See `Measures.mute`."""
        return self._ask("mute", [fingerprint, milliseconds], bool)


def _counts(raw: bytes) -> Counts:
    return dict(SLOT.iter_unpack(raw))


def _group(fingerprint: bytes, raw: bytes) -> ErrorGroup:
    fields = msgspec.json.decode(raw)
    fields["minutes"] = [(int(minute) * MINUTE, int(number)) for minute, number in fields["minutes"]]
    for name in ("count", "first_at", "last_at", "muted_until"):
        fields[name] = int(fields[name])
    return msgspec.convert({**fields, "fingerprint": fingerprint.decode()}, ErrorGroup)
