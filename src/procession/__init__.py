"""Procession: background jobs on Redis or Valkey that are leased, fenced, typed, and seen live. The front door; no
logic.

The functions here work on a default app, made on first use from the environment, pyproject.toml and the defaults.
"""

from __future__ import annotations

from functools import cache
from typing import Any
from uuid import UUID

from procession.client import Procession
from procession.context import CurrentJob, current_job
from procession.enqueuer import Call
from procession.errors import (
    BadArguments,
    ConfigError,
    DatabaseError,
    Discard,
    EnqueueError,
    Fail,
    JobCancelled,
    JobError,
    JobFailed,
    JobNotFound,
    JobTimeout,
    LeaseLost,
    NotEncodable,
    ProcessionError,
    Refused,
    ReservedQueue,
    ResultPending,
    RetryLater,
    Snooze,
    TooLarge,
    Unavailable,
    UnknownSchedule,
)
from procession.handle import JobHandle
from procession.job import Failure, Job, State
from procession.names import is_reserved_queue
from procession.retry import Retry, constant, exponential
from procession.stats import Stats
from procession.worker import JobFunction, Worker

__version__ = "0.1.0"

__all__ = [
    "BadArguments",
    "Call",
    "ConfigError",
    "CurrentJob",
    "DatabaseError",
    "Discard",
    "EnqueueError",
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
    "NotEncodable",
    "Procession",
    "ProcessionError",
    "Refused",
    "ReservedQueue",
    "ResultPending",
    "Retry",
    "RetryLater",
    "Snooze",
    "State",
    "Stats",
    "TooLarge",
    "Unavailable",
    "UnknownSchedule",
    "Worker",
    "__version__",
    "constant",
    "current_job",
    "default_app",
    "enqueue",
    "exponential",
    "find_job",
    "is_reserved_queue",
    "remove",
    "stats",
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
