"""The rules of a new job, packed as `lua/lib/unique.lua` and `limits.lua` read them. Called by `records.py`."""

from __future__ import annotations

import struct
from uuid import UUID

from procession.job import NewJob, Stored

ASKED = struct.Struct(">16sBBQQQ")
"""The unique key, what frees it, whether it replaces its holder; window, at most, deadline in milliseconds."""
SLOT = struct.Struct(">16sI")
"""Behind it, for a job under a limit: which, and how many slots that has by the word of this job."""
FREES = {None: 0, "start": 1, "processed": 2, "done": 3}
"""The move that frees a key, as a number; 0 for none: the window alone, or no key."""


def rules_of(job: NewJob) -> bytes:
    """What is asked beside the plan."""
    it = job.unique
    slot = b"" if job.slot is None else SLOT.pack(job.slot.limit, job.slot.most)
    if it is None:
        return ASKED.pack(bytes(16), 0, 0, 0, 0, job.deadline) + slot
    return ASKED.pack(it.key, FREES[it.until], it.conflict == "replace", it.window, it.at_most, job.deadline) + slot


def stored(job: NewJob, answer: int | bytes) -> Stored:
    """What `enqueue.lua` answers of one job: 1 stored, 0 known, or the jid that holds its key."""
    if isinstance(answer, bytes):
        return Stored(UUID(bytes=answer), False)
    return Stored(job.jid, bool(answer))
