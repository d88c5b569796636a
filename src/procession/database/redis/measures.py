"""The verbs of what is measured, as scripts with arguments; how counts are packed is in `lua/lib/record.lua`."""

from __future__ import annotations

import struct
from abc import ABC, abstractmethod
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from procession.database.measures import (
    HOUR,
    MINUTE,
    Bucket,
    By,
    Counts,
    ErrorGroup,
    Seen,
    Slice,
    Step,
    depth_of,
    sliced,
)
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
            found = []
            for at in range(number):
                events, histograms, own, whole = (_counts(it) for it in rows[4 * at : 4 * at + 4])
                found.append(Bucket((first + at) * step, events, histograms, depth_of(scope, own, whole)))
            return found

        return self._ask("history", [int(step == HOUR), number, scope], read)

    def breakdown(self, *, by: By, step: Step, number: int, back: int = 0) -> Operation[list[Slice]]:
        """See `Measures.breakdown`."""

        def read(reply: list[Any]) -> list[Slice]:
            now, *rows = reply
            latest, found = now // step - back, defaultdict[int, list[Any]](list)
            for at, *pairs in rows:
                found[at].append(pairs)
            span = range(latest - number + 1, latest + 1)
            return [sliced(at * step, by[0], _series(found[at])) for at in span]

        return self._ask("breakdown", [int(step == HOUR), number, back, by[0]], read)

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


def _series(rows: Sequence[Sequence[bytes]]) -> dict[str, Counts]:
    """The series of a bucket; an hour may come in two rows, which add up."""
    found: dict[str, Counts] = {}
    for row in rows:
        for raw_name, raw in zip(row[::2], row[1::2], strict=True):
            name, counts = raw_name.decode(), _counts(raw)
            found[name] = Counter(found[name]) + Counter(counts) if name in found else counts
    return found


def _group(fingerprint: bytes, raw: bytes) -> ErrorGroup:
    fields = msgspec.json.decode(raw)
    fields["minutes"] = [(int(minute) * MINUTE, int(number)) for minute, number in fields["minutes"]]
    for name in ("count", "first_at", "last_at", "muted_until"):
        fields[name] = int(fields[name])
    return msgspec.convert({**fields, "fingerprint": fingerprint.decode()}, ErrorGroup)
