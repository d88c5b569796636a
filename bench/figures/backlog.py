"""Does a long queue cost more? Every verb is asked over a short queue and over a long one of the same store.

Ours only: peers have no common words for these. A number near 1 means that the backlog does not matter.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from types import ModuleType

from observe import script_seconds, store

from figures import Row

VERBS = ("enqueue", "claim", "find", "remove", "cancel", "stats")
ROWS = [
    Row(
        "backlog",
        "cost at 1,000,000 waiting ÷ cost at 10,000, the worst verb",
        "×",
        "worst",
        {"short": 10_000, "long": 1_000_000},
        {"long": 100_000},
        ("verbs",),
        tuple(f"{verb}_ratio" for verb in VERBS),
        higher=False,
        only=("procession",),
    )
]
ASKED = 300


def measure(contestant: ModuleType, short: int, long: int) -> dict[str, float]:
    """Server microseconds a call at both lengths, and their ratios."""
    client = store()
    contestant.enqueue_bulk(short)
    near = _costs(contestant.verbs(ASKED), client)
    contestant.enqueue_bulk(long - short)
    far = _costs(contestant.verbs(ASKED), client)
    taken = {f"{verb}_us": far[verb] for verb in VERBS}
    ratios = {f"{verb}_ratio": far[verb] / near[verb] for verb in VERBS}
    return {"worst": max(ratios.values()), **ratios, **taken}


def _costs(verbs: dict[str, Callable[[], object]], client: object) -> dict[str, float]:
    """The cheaper of two goes, server and client together."""
    costs: dict[str, float] = {}
    for verb in VERBS:
        goes = []
        for _ in range(2):
            script, own = script_seconds(client), _own_seconds()
            began = time.perf_counter()
            for _ in range(ASKED // 2):
                verbs[verb]()
            spent = script_seconds(client) - script + _own_seconds() - own
            goes.append(min(spent, time.perf_counter() - began) / (ASKED // 2) * 1e6)
        costs[verb] = min(goes)
    return costs


def _own_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime
