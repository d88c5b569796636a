"""Procession: background jobs on Redis or Valkey that are leased, fenced, typed, and seen live. The front door; no
logic.

The functions here work on a default app, made on first use from the environment, pyproject.toml and the defaults.
"""

from __future__ import annotations

from functools import cache
from typing import Any
from uuid import UUID

from procession.client import Procession
from procession.context import CurrentJob, current_job, track
from procession.depends import Depends
from procession.enqueuer import Call
from procession.errors import (
    BadArguments,
    ConfigError,
    DatabaseError,
    Discard,
    DuplicateJob,
    EnqueueError,
    Fail,
    JobCancelled,
    JobError,
    JobFailed,
    JobNotFound,
    JobTimeout,
    LeaseLost,
    NoAnswer,
    NotEncodable,
    ProcessionError,
    Refused,
    ReservedQueue,
    ResultPending,
    RetryLater,
    Sealed,
    Snooze,
    TooLarge,
    Unavailable,
    UnknownSchedule,
    UnknownWorker,
)
from procession.events import Event
from procession.handle import JobHandle
from procession.job import Failure, Job, State
from procession.limits import Limit
from procession.middleware import Middleware
from procession.names import is_reserved_queue
from procession.notes import LogLine, Progress
from procession.retry import Retry, constant, exponential, linear, steps
from procession.sealing import Encrypted, Zlib
from procession.stats import Stats
from procession.waiting import as_completed, as_completed_async, wait_all, wait_all_async
from procession.worker import JobFunction, Worker

__version__ = "0.1.0"

__all__ = [
    "BadArguments",
    "Call",
    "ConfigError",
    "CurrentJob",
    "DatabaseError",
    "Depends",
    "Discard",
    "DuplicateJob",
    "Encrypted",
    "EnqueueError",
    "Event",
    "Fail",
    "Failure",
    "Job",
    "JobCancelled",
    "JobError",
    "JobFailed",
    "JobFunction",
    "JobHandle",
    "JobNotFound",
    "JobTimeout",
    "LeaseLost",
    "Limit",
    "LogLine",
    "Middleware",
    "NoAnswer",
    "NotEncodable",
    "Procession",
    "ProcessionError",
    "Progress",
    "Refused",
    "ReservedQueue",
    "ResultPending",
    "Retry",
    "RetryLater",
    "Sealed",
    "Snooze",
    "State",
    "Stats",
    "TooLarge",
    "Unavailable",
    "UnknownSchedule",
    "UnknownWorker",
    "Worker",
    "Zlib",
    "__version__",
    "as_completed",
    "as_completed_async",
    "constant",
    "current_job",
    "default_app",
    "enqueue",
    "exponential",
    "find_job",
    "is_reserved_queue",
    "linear",
    "remove",
    "stats",
    "steps",
    "track",
    "wait_all",
    "wait_all_async",
]


@cache
def default_app() -> Procession:
    """The app behind the functions of this module."""
    return Procession()


def enqueue(*words: Any, **kwargs: Any) -> JobHandle[Any]:
    """See `Procession.enqueue`."""
    return default_app().enqueue(*words, **kwargs)


def find_job(jid: str | UUID) -> Job | None:
    """See `Procession.find_job`."""
    return default_app().find_job(jid)


def remove(jid: str | UUID) -> bool:
    """See `Procession.remove`."""
    return default_app().remove(jid)


def stats() -> Stats:
    """See `Procession.stats`."""
    return default_app().stats()
