"""Processes that a job forks: they have signals of their own, and never come back into the worker's code."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Iterable
from contextlib import suppress


class Lineage:
    """How many forks lie between this process and the first that loaded this module."""

    def __init__(self) -> None:
        self.forks = 0
        os.register_at_fork(after_in_child=self._forked)

    def _forked(self) -> None:
        self.forks += 1


LINEAGE = Lineage()
"""The one of this process."""


def leave(error: BaseException | None) -> None:
    """End this process, which a job has forked, as Python would at the end of the program, where the job's code has
    returned in it, too, or raised: it would go on as a second worker, with the lines and locks of the first."""
    code = 0
    if isinstance(error, SystemExit) and (error.code is None or isinstance(error.code, int)):
        code = error.code or 0
    elif error is not None:
        code = 1
        with suppress(Exception):
            traceback.print_exception(error)
    with suppress(Exception):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code & 0xFF)


def signals_are_their_own(handled: Iterable[signal.Signals]) -> None:
    """Whoever is forked from here ends by these signals as any program does. Our handlers do not: the loop's would tell
    us, over a descriptor that both have, to stop, and those of a job process ignore what is meant for the family."""

    def forked() -> None:
        signal.set_wakeup_fd(-1)
        for number in handled:
            signal.signal(number, signal.SIG_DFL)

    os.register_at_fork(after_in_child=forked)
