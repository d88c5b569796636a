"""The store's own history, read from its append-only file: every final outcome that a script accepted, in order.

The file holds the writes of each script, so a second accepted outcome of one job is there whatever the counters say.
That makes it a witness that shares no code with the library.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

from procession import State

NAMES = {state.encode() for state in State if state.final}


def commands(path: Path) -> Iterator[list[bytes]]:
    """The commands of one append-only file; a torn end is left out, as the server does."""
    text = path.read_bytes()
    at = 0
    while at < len(text):
        end = text.find(b"\r\n", at)
        if end < 0:
            return
        head, at = text[at:end], end + 2
        if not head.startswith(b"*"):
            continue  # an annotation
        words = []
        for _ in range(int(head[1:])):
            end = text.find(b"\r\n", at)
            if end < 0:
                return
            size = int(text[at + 1 : end])
            words.append(text[end + 2 : end + 2 + size])
            at = end + 2 + size + 2
            if at > len(text):
                return
        yield words


def accepted(folder: Path, tag: str) -> dict[UUID, list[State]]:
    """The final outcomes that were accepted for each job of a namespace, from the files in a server's folder."""
    prefix = f"{tag}:".encode()
    found: defaultdict[UUID, list[State]] = defaultdict(list)
    for path in sorted(folder.glob("appendonlydir/*.incr.aof")):
        for words in commands(path):
            if words[0].upper() == b"RPUSH" and words[1].startswith(prefix) and words[1][len(prefix) :] in NAMES:
                for entry in words[2:]:  # two bytes follow the jid that say where it was filed
                    found[UUID(bytes=entry[:16])].append(State(words[1][len(prefix) :].decode()))
    return found


def stored(folder: Path, tag: str) -> set[UUID]:
    """Every job that was ever stored in a namespace, from the files in a server's folder; up to its death all that the
    server had acknowledged, since it writes before it answers."""
    key = f"{tag}:jobs".encode()
    return {
        UUID(bytes=jid)
        for path in folder.glob("appendonlydir/*.incr.aof")
        for words in commands(path)
        if words[0].upper() == b"HSET" and words[1] == key
        for jid in words[2::2]
    }
