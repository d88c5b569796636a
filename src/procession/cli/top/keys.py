"""The keyboard of `procession top`: what a key means for what is on the screen, and the terminal that tells keys.

`pressed` is pure: a state and a key in, the next state and perhaps an action out. `Keyboard` puts a terminal into a
mode in which each key is told at once, and back into the one it had.
"""

from __future__ import annotations

import os
import select
import sys
import termios
import tty
from typing import Literal, Self

from msgspec import Struct
from msgspec.structs import replace

from procession.cli.top.facts import Facts
from procession.job import FINAL

Pane = Literal["queues", "jobs"]
Do = Literal["pause", "resume", "cancel", "retry", "why", "quit"]
FILTERS = {"1": "state:running", "2": "state:queued", "3": "state:delayed", "4": "state:failed", "5": "state:processed"}
"""What the number keys let through."""


class Action(Struct, frozen=True):
    """What is to be done, and with what: a queue's name, or a jid."""

    do: Do
    what: str = ""

    @property
    def question(self) -> str:
        """What to ask before; empty where it can be undone, or changes nothing."""
        return f"{self.do} {self.what}? y/n" if self.do in ("cancel", "retry", "pause") else ""


class Screen(Struct, frozen=True, kw_only=True):
    """What the person has chosen to see."""

    pane: Pane = "jobs"
    row: int = 0
    filter: str = FILTERS["1"]
    typed: str | None = None
    """The filter while it is typed; None when it is not."""
    asked: Action | None = None
    """Waits for y or n."""
    says: str = ""
    """What came of the last key, in words."""


def pressed(screen: Screen, key: str, facts: Facts) -> tuple[Screen, Action | None]:
    """What a key does."""
    if screen.typed is not None:
        return _typing(screen, key), None
    if screen.asked is not None:
        rest = replace(screen, asked=None, says="" if key == "y" else "nothing was done")
        return rest, screen.asked if key == "y" else None
    screen = replace(screen, says="")
    rows = facts.queues if screen.pane == "queues" else facts.jobs
    if key in ("q", "\x03"):
        return screen, Action("quit")
    if key in ("j", "down", "k", "up"):
        step = 1 if key in ("j", "down") else -1
        return replace(screen, row=max(0, min(len(rows) - 1, screen.row + step))), None
    if key == "\t":
        return replace(screen, pane="jobs" if screen.pane == "queues" else "queues", row=0), None
    if key in FILTERS:
        return replace(screen, pane="jobs", row=0, filter=FILTERS[key]), None
    if key == "/":
        return replace(screen, typed=screen.filter), None
    return _acted(screen, key, facts)


def _typing(screen: Screen, key: str) -> Screen:
    typed = screen.typed or ""
    if key in ("\r", "\n"):
        return replace(screen, typed=None, filter=typed, row=0, pane="jobs")
    if key in ("escape", "\x03"):
        return replace(screen, typed=None)
    if key in ("\x7f", "\b"):
        return replace(screen, typed=typed[:-1])
    if key == "\x15":  # Ctrl-U
        return replace(screen, typed="")
    return replace(screen, typed=typed + key) if len(key) == 1 and key.isprintable() else screen


def _acted(screen: Screen, key: str, facts: Facts) -> tuple[Screen, Action | None]:
    action: Action | None = None
    if key == "p" and screen.pane == "queues" and screen.row < len(facts.queues):
        queue = facts.queues[screen.row]
        action = Action("resume" if queue.paused else "pause", queue.name)
    elif key in ("c", "r", "w") and screen.pane == "jobs" and screen.row < len(facts.jobs):
        job = facts.jobs[screen.row]
        if key == "r" and job.state not in FINAL:
            return replace(screen, says=f"it is {job.state}: only a finished job can be retried"), None
        if key == "c" and job.state in FINAL:
            return replace(screen, says=f"it is {job.state} already"), None
        do: Do = "cancel" if key == "c" else "retry" if key == "r" else "why"
        action = Action(do, str(job.jid))
    elif key == "p":
        return replace(screen, says="Tab goes to the queues, where p pauses and resumes one"), None
    if action is not None and action.question:
        return replace(screen, asked=action), None
    return screen, action


class Keyboard:
    """The terminal on stdin, key by key. A context: the mode it had comes back, whatever happens inside."""

    def __enter__(self) -> Self:
        self._fd = sys.stdin.fileno()
        self._before = termios.tcgetattr(self._fd)
        tty.setcbreak(self._fd)
        return self

    def __exit__(self, *_: object) -> None:
        termios.tcsetattr(self._fd, termios.TCSADRAIN, self._before)

    def keys(self, seconds: float) -> list[str]:
        """The keys that are pressed within so many seconds; returns with the first. Raises EOFError when the terminal
        is gone."""
        if not select.select([self._fd], [], [], seconds)[0]:
            return []
        typed = os.read(self._fd, 1_024)
        if not typed:
            raise EOFError
        return split(typed.decode(errors="ignore"))


def split(typed: str) -> list[str]:
    """What a terminal sends, as keys: the arrows as words, everything else as it is."""
    named = {"\x1b[A": "up", "\x1b[B": "down", "\x1bOA": "up", "\x1bOB": "down"}
    keys = []
    while typed:
        if typed[:3] in named:
            keys.append(named[typed[:3]])
            typed = typed[3:]
        elif typed[0] == "\x1b":
            keys.append("escape")
            typed = "" if typed[1:2] in ("[", "O") else typed[1:]
        else:
            keys.append(typed[0])
            typed = typed[1:]
    return keys
