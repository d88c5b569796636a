"""The black box of a child process: what it leaves behind for its parent, however it ends.

The parent makes one before it starts a child (`BlackBox`: two files without a name, handed over as descriptors), the
child records (`record`): its last log lines, where it was last seen, and the stacks of its threads when a signal ends
it or SIGUSR1 asks for them. The files are memory of the system, not of the process, so they survive SIGKILL, and
nothing needs to be tidied up. Called by the supervisor and its workers, and by whoever keeps job processes. Nothing
here waits, and nothing here decides what a death means.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from struct import Struct
from tempfile import TemporaryFile
from typing import NamedTuple

from procession.clock import monotonic
from procession.job import Crash

LINES = 20
"""How many log lines are kept."""
PLACE = 512
"""Bytes of one line's place in the ring; what is longer is cut."""
LONGEST_STACK = 8_192
"""Bytes of the stacks that a dossier takes in."""
WRITTEN = 0.2
"""Seconds after which stacks that were asked for have been written."""

_HEAD = Struct(">QH")
_ROOM = PLACE - _HEAD.size


class Ended(NamedTuple):
    """How a process ended."""

    code: int
    """Its exit code, or minus the signal's number, as in `subprocess`."""
    memory: int
    """Peak resident memory in bytes, of itself or a child that it waited for; 0 when unknown. The kernel starts the
    count at what the parent had when it started the process, so a small child of a big parent shows the parent."""
    reason: str = ""
    """Why we ended it, if we did."""

    @property
    def how(self) -> str:
        """`signal 9 (SIGKILL)`, `exit code 1`, `signal 9 (SIGKILL): why we killed it`."""
        if self.code >= 0:
            how = f"exit code {self.code}"
        else:
            try:
                how = f"signal {-self.code} ({signal.Signals(-self.code).name})"
            except ValueError:  # a real-time signal has a number only
                how = f"signal {-self.code}"
        return f"{how}: {self.reason}" if self.reason else how


def ended(process: subprocess.Popen[bytes], *, wait: bool = False) -> Ended | None:
    """How the child ended, or None while it lives. In place of `poll` (`wait`), which forget the memory."""
    if process.returncode is not None:
        return Ended(process.returncode, 0)
    try:
        pid, status, usage = os.wait4(process.pid, 0 if wait else os.WNOHANG)
    except ChildProcessError:  # somebody else in this program has waited for it
        return Ended(process.wait(), 0)
    if pid == 0:
        return None
    process.returncode = os.waitstatus_to_exitcode(status)
    return Ended(process.returncode, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1_024))


class BlackBox:
    """The parent's end. Give `descriptors` to the child (`pass_fds`, and their numbers as an argument)."""

    def __init__(self) -> None:
        self._log = _nameless()
        try:
            self._stacks = _nameless()
        except OSError:
            os.close(self._log)
            raise
        self.descriptors = (self._log, self._stacks)

    def log(self) -> tuple[str, ...]:
        """The last lines that the child logged, oldest first."""
        numbered = [self._line(at) for at in range(LINES)]
        return tuple(text for number, text in sorted(numbered) if number)

    def seen_in(self, since: float) -> str:
        """What the child last said of where it is (`Recorder.seen_in`), if that was after `since`; else ""."""
        number, text = self._line(LINES)
        return text if number / 1_000 > since else ""

    def stacks(self) -> str:
        """The stacks that the child has left: the thread at fault first, equal ones told once, at most 8 kB."""
        size = os.fstat(self._stacks).st_size
        return told(os.pread(self._stacks, min(size, 1_000_000), 0).decode("utf-8", "replace"))

    def ask_for_stacks(self, process: subprocess.Popen[bytes]) -> None:
        """Have the child write its stacks now, in place of older ones; they are there some milliseconds later."""
        self.forget_stacks()
        process.send_signal(signal.SIGUSR1)

    def forget_stacks(self) -> None:
        """What was written and reported is not to be taken for the stacks of a later death."""
        os.ftruncate(self._stacks, 0)
        os.lseek(self._stacks, 0, os.SEEK_SET)  # the child writes at the position that it shares with us

    def crash(self, ended: Ended, *, pid: int, beside: int = 0) -> Crash:
        """The dossier of a death."""
        return Crash(
            how=ended.how,
            host=socket.gethostname(),
            pid=pid,
            memory=ended.memory,
            beside=beside,
            log=self.log(),
            stack=self.stacks(),
        )

    def close(self) -> None:
        """Give the memory back."""
        for descriptor in self.descriptors:
            os.close(descriptor)

    def _line(self, place: int) -> tuple[int, str]:
        raw = os.pread(self._log, PLACE, place * PLACE)
        if len(raw) < _HEAD.size:
            return 0, ""
        number, length = _HEAD.unpack_from(raw)
        return number, raw[_HEAD.size : _HEAD.size + length].decode("utf-8", "ignore")


class Recorder(logging.Handler):
    """The child's end: keeps the last log lines of `procession.*` in a ring."""

    def __init__(self, log: int) -> None:
        super().__init__()
        self._log = log
        self._number = 0
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        """Write the first line of a record over the oldest one."""
        try:
            text = self.format(record).partition("\n")[0]
            self._number += 1
            self._write((self._number - 1) % LINES, self._number, text)
        except Exception:  # whatever a message holds: logging never ends a job
            self.handleError(record)

    def seen_in(self, what: str) -> None:
        """Say where the event loop has just been seen, such as `job send_mail 0198…`."""
        self._write(LINES, round(monotonic() * 1_000), what)

    def _write(self, place: int, number: int, text: str) -> None:
        encoded = text.encode("utf-8", "backslashreplace")[:_ROOM]
        os.pwrite(self._log, _HEAD.pack(number, len(encoded)) + encoded, place * PLACE)


def record(descriptors: Sequence[int]) -> Recorder:
    """Begin to record in this process: log lines, and stacks on a fatal signal or on SIGUSR1.

    Stacks are written by the signal handler itself, so also while C code keeps the interpreter's lock.
    """
    log, stacks = descriptors
    for descriptor in descriptors:
        os.set_inheritable(descriptor, False)
    recorder, logger = Recorder(log), logging.getLogger("procession")
    recorder.setLevel(logger.level)  # by itself, since loggers of jobs may let more pass, to be kept
    logger.addHandler(recorder)
    faulthandler.enable(file=stacks, all_threads=True)
    faulthandler.register(signal.SIGUSR1, file=stacks, all_threads=True)
    return recorder


def told(dump: str) -> str:
    """A dump of `faulthandler` for a reader: the thread at fault, then the others, the oldest (the main one) first.

    Threads with equal stacks, such as those of a pool that wait for work, are told once.
    """
    heads: list[str] = []
    current: list[str] = []
    others: dict[str, list[str]] = {}
    for block in dump.strip().split("\n\n"):
        title, _, frames = block.partition("\n")
        if title.startswith("Current thread"):
            current.append(block)
        elif title.startswith("Thread"):
            others.setdefault(frames, []).append(title)
        elif not title.startswith("Extension modules"):
            heads.append(block)
    rest = [
        f"{titles[0]}\n{frames}" + (f"\n  … and {len(titles) - 1} more threads like this" if titles[1:] else "")
        for frames, titles in reversed(others.items())
    ]
    text = "\n\n".join([*heads, *current, *rest])
    return text.encode()[:LONGEST_STACK].decode("utf-8", "ignore")


def _nameless() -> int:
    """A file that lives as long as somebody has it open."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("procession")
    with TemporaryFile() as file:
        return os.dup(file.fileno())
