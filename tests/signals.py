"""Signals as a terminal hands them down. `nohup`, and a shell that puts a command into the background, leave some
ignored; every process inherits that, and a supervisor keeps to it: then no SIGHUP renews anything."""

from __future__ import annotations

import signal


def as_usual() -> None:
    """Heed again what was ignored when we came."""
    for number, usual in ((signal.SIGHUP, signal.SIG_DFL), (signal.SIGINT, signal.default_int_handler)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, usual)
