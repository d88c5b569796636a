"""Processes that a job forks: they have signals of their own."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable


def signals_are_their_own(handled: Iterable[signal.Signals]) -> None:
    """Whoever is forked from here ends by these signals as any program does. Our handlers do not: the loop's would tell
    us, over a descriptor that both have, to stop, and those of a job process ignore what is meant for the family."""

    def forked() -> None:
        signal.set_wakeup_fd(-1)
        for number in handled:
            signal.signal(number, signal.SIG_DFL)

    os.register_at_fork(after_in_child=forked)
