"""The errors of Procession, as a tree. Each inherits the fitting builtin, carries data, and says what to do next.

ProcessionError
├── ConfigError (ValueError)          a setting, a registration or an impossible promise
│   ├── ReservedQueue                 enqueuing to processed, failed or cancelled
│   └── FilterError                   a filter that cannot be read; .token, .position
├── EnqueueError                      .stored: "no" or "unknown"
│   ├── NotEncodable (TypeError)      an argument that would not make the round trip; .path
│   ├── BadArguments (TypeError)      arguments that do not fit the signature
│   ├── TooLarge (ValueError)         over a documented limit
│   ├── DuplicateJob                  another job holds its unique key; .jid
│   └── Refused                       the store takes no new work now (full, read-only …), or not with this durability
├── UnknownJob (LookupError)          no job function or worker class has this name
├── Sealed (ValueError)               a value that the codec chain here cannot open
├── UnknownSchedule (LookupError)     no schedule has this name
├── UnknownWorker (LookupError)       no queue worker of this name is alive
├── NoAnswer (TimeoutError)           a queue worker has not answered in time
├── JobError                          .jid
│   ├── JobNotFound (LookupError)
│   ├── JobFailed                     .job: final state failed
│   ├── JobCancelled                  .job: final state cancelled
│   ├── JobTimeout (TimeoutError)     an attempt ran longer than its timeout
│   ├── LeaseLost                     another worker owns this job now
│   └── ResultPending (TimeoutError)  waited long enough; the job is not finished
└── DatabaseError (ConnectionError)
    ├── StoreRefused                  answered "not now": full, read-only, loading; nothing changed
    ├── Unavailable                   no answer in time; .asked says whether the question may have run
    └── WrongVersion                  the server or the stored format is too old or too new

Control: Snooze · RetryLater · Discard · Fail   raised by a job to choose its own fate; not errors of ours
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Literal
from uuid import UUID

if TYPE_CHECKING:
    from procession.job import Job


class ProcessionError(Exception):
    """The base of every error that this library raises."""


class ConfigError(ProcessionError, ValueError):
    """A setting, a name or a registration cannot be used; the message says what to change."""


class ReservedQueue(ConfigError):
    """This queue name belongs to the library: it is the name of a final state."""


class FilterError(ConfigError):
    """A filter cannot be read. `token` is what offends, `position` where it begins, counted from 0."""

    def __init__(self, problem: str, *, token: str, position: int) -> None:
        super().__init__(f"filter, at {token!r} (character {position + 1}): {problem}")
        self.token = token
        self.position = position


class EnqueueError(ProcessionError):
    """A job could not be enqueued. `stored` says whether it may exist all the same: "no" or "unknown"."""

    def __init__(self, message: str, *, stored: Literal["no", "unknown"] = "no", jids: tuple[UUID, ...] = ()) -> None:
        super().__init__(message)
        self.stored = stored
        self.jids = jids


class NotEncodable(EnqueueError, TypeError):
    """A value would not come back as it went in; `path` names it, such as `args.user.born`."""

    def __init__(self, message: str, *, path: str = "") -> None:
        super().__init__(message)
        self.path = path


class BadArguments(EnqueueError, TypeError):
    """The arguments do not fit the signature of the job."""


class TooLarge(EnqueueError, ValueError):
    """Something is over a documented limit."""


class DuplicateJob(EnqueueError):
    """Another job holds the unique key, and `conflict="raise"` was asked for; `jid` is that job's. Of several calls
    made together the others are stored."""

    def __init__(self, message: str, *, jid: UUID) -> None:
        super().__init__(message, jids=(jid,))
        self.jid = jid


class Refused(EnqueueError):
    """The store answered, and takes no new work now, or cannot keep it as durably as was asked."""


class UnknownJob(ProcessionError, LookupError):
    """No job function or worker class is registered under this name."""


class Sealed(ProcessionError, ValueError):
    """A stored value cannot be opened here: another key sealed it, a link of the codec chain is missing, or it was
    changed. The message says which; give this process the chain and all keys of whoever enqueued the job."""


class UnknownSchedule(ProcessionError, LookupError):
    """No schedule is stored under this name."""


class UnknownWorker(ProcessionError, LookupError):
    """No queue worker of this name is alive."""


class NoAnswer(ProcessionError, TimeoutError):
    """A queue worker has not answered in time. It may answer later."""


class JobError(ProcessionError):
    """Something about one job."""

    def __init__(self, message: str, *, jid: UUID | None = None, job: Job | None = None) -> None:
        super().__init__(message)
        self.job = job
        self.jid = job.jid if job is not None else jid


class JobNotFound(JobError, LookupError):
    """No job with this id: never enqueued, removed, or its retention is over."""


class JobFailed(JobError):
    """The job ended in `failed`; the message carries its last error, `job` all of them."""


class JobCancelled(JobError):
    """The job ended in `cancelled`."""


class JobTimeout(JobError, TimeoutError):
    """An attempt ran longer than its timeout."""


class LeaseLost(JobError):
    """This worker no longer owns the job: its lease ended and the job was recovered. What it writes is refused."""


class ResultPending(JobError, TimeoutError):
    """The job is not finished yet, and the time to wait is over."""


class DatabaseError(ProcessionError, ConnectionError):
    """The store could not be used."""


class Unavailable(DatabaseError):
    """The store gave no answer in time, or did not confirm in time that it keeps what was written. `asked` is True
    when the question may have run."""

    def __init__(self, message: str, *, asked: bool = False) -> None:
        super().__init__(message)
        self.asked = asked


class StoreRefused(DatabaseError):
    """The store answered that it cannot do this now: out of memory, read-only, loading, or that it does not let us in.
    Nothing was changed. What each answer means is a table in docs/connecting.md."""


class WrongVersion(DatabaseError):
    """The server, or the format of what it stores, is too old or too new for this release."""


class Control(Exception):
    """Raised inside a job to choose the fate of this attempt."""


class Snooze(Control):
    """Run again after this time; the attempt is not charged."""

    def __init__(self, after: float | str | timedelta) -> None:
        super().__init__(f"snooze for {after}")
        self.after = after


class RetryLater(Control):
    """Count this attempt as failed and run again after this time, if an attempt is left."""

    def __init__(self, after: float | str | timedelta, reason: str = "") -> None:
        super().__init__(reason or f"retry after {after}")
        self.after = after


class Discard(Control):
    """Give the job up: it ends in `cancelled` with this reason."""

    def __init__(self, reason: str = "discarded") -> None:
        super().__init__(reason)
        self.reason = reason


class Fail(Control):
    """Give the job up: it ends in `failed` with this reason, and no retry follows."""

    def __init__(self, reason: str = "failed") -> None:
        super().__init__(reason)
        self.reason = reason
