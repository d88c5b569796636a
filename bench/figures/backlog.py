"""Does a long queue cost more? Every verb is asked over a short queue and over a long one of the same server, in turns.

Ours only: peers have no common words for these. A number near 1 means that the backlog does not matter.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from statistics import median
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
PAIRS = 8
CALLS = 200
"""Each verb is asked so often over the short queue and over the long one, in turns, and the ratio taken of each pair: a
machine that becomes slower for a while does so for both. In turns of 20 calls the caches, cold at each, were what was
measured: 1.3 to 1.4 for what touches a job anywhere in the queue."""


def measure(contestant: ModuleType, short: int, long: int) -> dict[str, float]:
    """Medians of ratios, and of microseconds a call over the long queue."""
    client = store()
    near, far = (contestant.verbs(waiting, (PAIRS + 1) * CALLS) for waiting in (short, long))
    taken, worst = {}, 0.0
    for verb in VERBS:
        pairs = []
        for turn in range(PAIRS + 1):
            order = [near, far] if turn % 2 else [far, near]
            costs = [_cost(verbs[verb], client) for verbs in order]
            pairs.append(costs if turn % 2 else costs[::-1])
        taken[f"{verb}_ratio"] = median(there / here for here, there in pairs[1:])
        taken[f"{verb}_us"] = median(there for _, there in pairs[1:])
        worst = max(worst, taken[f"{verb}_ratio"])
    return {"worst": worst, **taken}


def _cost(verb: Callable[[], object], client: object) -> float:
    """Microseconds a call, server and client together."""
    script, own = script_seconds(client), _own_seconds()
    began = time.perf_counter()
    for _ in range(CALLS):
        verb()
    took = time.perf_counter() - began
    return min(script_seconds(client) - script + _own_seconds() - own, took) / CALLS * 1e6


def _own_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime
