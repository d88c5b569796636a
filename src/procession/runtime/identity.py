"""Who a queue worker is: its name in the store, and what it says of itself with each heartbeat."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

import msgspec

from procession.runtime.wear import resident


def new_worker_id() -> str:
    """Host, process and chance: unique per start."""
    return f"{socket.gethostname()[:60]}:{os.getpid()}:{uuid4().hex[:12]}"


def described(queues: Sequence[str], *, age: float, **said: Any) -> bytes:
    """What the store keeps of a worker as JSON, see `WorkerInfo`; `age` in seconds, by a clock that counts sleep."""
    here = {"host": socket.gethostname(), "pid": os.getpid(), "memory": resident()}
    return msgspec.json.encode({**here, "queues": queues, "age": round(age * 1_000), **said})
