"""What a queue worker and its job processes say to each other: a few messages, each as a length and MessagePack.

Arguments and results travel inside as the JSON that the store holds; they are decoded and encoded where the job runs.
"""

from __future__ import annotations

import asyncio
import socket
from struct import Struct as Layout

import msgspec
from msgspec import Struct

from procession.context import Why
from procession.job import Claimed
from procession.notebook import Page
from procession.runtime.executor import Verdict

LENGTH = Layout(">I")


class Begin(Struct, frozen=True, tag=True):
    """To a job process: perform this job, on behalf of this queue worker."""

    claimed: Claimed
    worker: str


class Stop(Struct, frozen=True, tag=True):
    """To a job process: the run of this claim is not to go on."""

    token: bytes
    why: Why


class Ready(Struct, frozen=True, tag=True):
    """From a job process: the app is imported; it knows these names."""

    names: list[str]


class Unable(Struct, frozen=True, tag=True):
    """From a job process: the app cannot be imported."""

    why: str


class Noted(Struct, frozen=True, tag=True):
    """From a job process: the run of this claim has said something."""

    token: bytes
    page: Page


class Ended(Struct, frozen=True, tag=True):
    """From a job process: the run came to a verdict."""

    verdict: Verdict
    worn: bool
    """The process should make way for a fresh one."""


ToJob = Begin | Stop
FromJob = Ready | Unable | Noted | Ended

_to_job: msgspec.msgpack.Decoder[ToJob] = msgspec.msgpack.Decoder(ToJob)
_from_job: msgspec.msgpack.Decoder[FromJob] = msgspec.msgpack.Decoder(FromJob)


def frame(message: ToJob | FromJob) -> bytes:
    """A message as it travels."""
    body = msgspec.msgpack.encode(message)
    return LENGTH.pack(len(body)) + body


def heard(line: socket.socket) -> ToJob | None:
    """In a job process: the next message, waited for. None when the queue worker is gone."""
    head = _exactly(line, LENGTH.size)
    body = None if head is None else _exactly(line, LENGTH.unpack(head)[0])
    return None if body is None else _to_job.decode(body)


async def heard_async(line: asyncio.StreamReader) -> FromJob | None:
    """In a queue worker: the next message, waited for. None when the job process has closed its end."""
    try:
        length = LENGTH.unpack(await line.readexactly(LENGTH.size))[0]
        return _from_job.decode(await line.readexactly(length))
    except (asyncio.IncompleteReadError, OSError, msgspec.MsgspecError):
        return None


def _exactly(line: socket.socket, length: int) -> bytes | None:
    parts = bytearray()
    while len(parts) < length:
        try:
            part = line.recv(length - len(parts))
        except OSError:
            return None
        if not part:
            return None
        parts += part
    return bytes(parts)
