"""How far behind the queues are, in numbers that something may scale workers by. Pure; served by the dashboard and by
`procession worker --health`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from msgspec import Struct

from procession.database import QueueInfo


class Behind(Struct, frozen=True, kw_only=True):
    """How far behind one queue is."""

    latency: float
    """Seconds that its first job has waited; 0 when it is empty or paused, for more workers would not help."""
    queued: int


class Scaling(Struct, frozen=True, kw_only=True):
    """How far behind all queues are, or those that were asked for."""

    latency: float
    """The longest of any queue."""
    queued: int
    queues: dict[str, Behind]


def scaling(queues: Sequence[QueueInfo], now: int, only: Collection[str] = ()) -> Scaling:
    """The numbers at an instant in milliseconds; `only` names queues, and one that was never used counts as empty."""
    found = {it.name: _behind(it, now) for it in queues if not only or it.name in only}
    found |= {name: Behind(latency=0.0, queued=0) for name in only if name not in found}
    return Scaling(
        latency=max((it.latency for it in found.values()), default=0.0),
        queued=sum(it.queued for it in found.values()),
        queues=found,
    )


def _behind(queue: QueueInfo, now: int) -> Behind:
    waited = 0 if queue.paused or not queue.oldest else max(now - queue.oldest, 0)
    return Behind(latency=waited / 1_000, queued=queue.queued)
