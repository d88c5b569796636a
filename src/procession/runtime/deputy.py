"""What a supervisor answers for a child whose event loop does not turn, and which therefore hears no order.

While a child is silent, the envoy extends its lease and asks on the way what waits for it. A stack is read from the
child's black box: the signal handler writes it, so also while C code keeps the interpreter's lock. A stop is passed on
through the pipe, where the grace ends what does not. Called by the supervisor; it never waits.
"""

from __future__ import annotations

from collections.abc import Sequence

from procession.orders import Order
from procession.runtime.blackbox import WRITTEN
from procession.runtime.children import Child
from procession.runtime.envoy import Envoy
from procession.runtime.seat import Seat


class Deputy:
    """Of one supervisor."""

    def __init__(self, envoy: Envoy) -> None:
        self._envoy = envoy
        self._asked: dict[Child, tuple[Order, float]] = {}

    def look(self, seats: Sequence[Seat], now: float) -> None:
        """Take what the envoy has heard, and answer what can be answered by now."""
        living = {child.worker_id: (seat, child) for seat in seats for child in seat.members()}
        for worker, order in self._envoy.heard():
            if worker not in living:
                continue
            seat, child = living[worker]
            if order.verb == "stack" and child not in self._asked:
                child.box.ask_for_stacks(child.process)
                self._asked[child] = order, now
            elif order.verb == "stop":
                seat.dismiss(child)
        for child, (order, asked) in [*self._asked.items()]:
            if child.worker_id not in living:
                del self._asked[child]
            elif now - asked >= WRITTEN:
                del self._asked[child]
                self._envoy.answer(child.worker_id, order.id, _told(child, now))


def _told(child: Child, now: float) -> str:
    silent = now - child.pulse.loop
    where = child.box.seen_in(child.pulse.loop)
    head = f"the event loop has not turned for {silent:.0f} s{f', in {where}' if where else ''}; all threads:"
    return f"{head}\n\n{child.box.stacks()}"
