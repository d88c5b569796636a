"""Which queue a worker's next claim serves first. Pure; asked before each claim, told what it brought.

Stride scheduling (Waldspurger and Weihl, 1995): each job moves its queue on by a stride that is the smaller the larger
the queue's share, and the queue that is least far comes first. So while all have work, the jobs of each are counted in
proportion to the shares, exact to within one claim, and none waits longer than the others need for their part. A queue
that had nothing saves up nothing. Each worker keeps count for itself, and begins anew when it starts.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

from procession.serving import QueueOrder


class Turns:
    """The queues of one worker, in the order that `order()` says for the next claim.

    Args:
        shares: queues and their shares, in the order given; among equals the first comes first.
        order: "strict" is the order given, always.
    """

    def __init__(self, shares: Mapping[str, int], order: QueueOrder = "shares") -> None:
        self._strict = order == "strict"
        whole = math.lcm(*shares.values())
        self._stride = {queue: whole // share for queue, share in shares.items()}
        self._passed = dict.fromkeys(shares, 0)

    def order(self) -> list[str]:
        """The queues for the next claim, the one to be emptied first in front."""
        return [*self._passed] if self._strict else sorted(self._passed, key=self._passed.__getitem__)

    def claimed(self, order: Sequence[str], queues: Sequence[str], limit: int) -> None:
        """A claim of at most `limit` jobs in this order brought jobs of these queues, one word for each job."""
        if len(queues) < limit:  # nothing was left in any of them
            self._passed = dict.fromkeys(self._passed, 0)
            return
        last = max((order.index(queue) for queue in {*queues}), default=0)
        reached = self._passed[order[last]]
        for queue in order[:last]:  # emptied on the way, and not to come back with what it did not use
            self._passed[queue] = reached
        for queue, number in Counter(queues).items():
            self._passed[queue] += number * self._stride[queue]
