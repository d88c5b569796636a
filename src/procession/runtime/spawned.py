"""One job process as its queue worker sees it: started, spoken to, ended, and how it ended.

It is a fresh interpreter in a session of its own, so that a Ctrl-C at the terminal is not for it; what its jobs
started in that session ends with it. Called by the process executor; made and called on the worker's loop, in the
thread with which the kernel ends the process.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress

from procession.clock import monotonic
from procession.job import Crash
from procession.runtime.active import Active
from procession.runtime.blackbox import WRITTEN, BlackBox, ended
from procession.runtime.frames import Begin, FromJob, Stop, frame, heard_async
from procession.runtime.job_process import KILL_GRACE

LONGEST_START = 60.0
"""Seconds that the import of an app may take in a job process."""


class Spawned:
    """A job process. `active` is what it performs, None while it is idle or starting."""

    def __init__(self, target: str) -> None:
        self._loop = asyncio.get_running_loop()
        self.active: Active | None = None
        self.started = monotonic()
        self.done = 0
        self.names: frozenset[str] | None = None
        """Which jobs its app knows; None until it is ready."""
        self.unable = ""
        """Why it cannot begin, if it said so."""
        self.seen_in = ""
        """After its end: which job it has begun last."""
        self._ends: list[asyncio.TimerHandle] = []
        self._reaping = threading.Lock()
        with ExitStack() as unless_it_starts:
            self._box = BlackBox()
            unless_it_starts.callback(self._box.close)
            self._ours, theirs = socket.socketpair()
            unless_it_starts.callback(self._ours.close)
            asked = {
                "target": target,
                "line": theirs.fileno(),
                "box": self._box.descriptors,
                "parent": os.getpid(),
                "path": sys.path,
                "log_level": logging.getLogger("procession").getEffectiveLevel(),
            }
            with theirs:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "procession.runtime.job_process", json.dumps(asked)],
                    stdin=subprocess.DEVNULL,
                    start_new_session=True,
                    pass_fds=[theirs.fileno(), *self._box.descriptors],
                )
            unless_it_starts.callback(self._process.wait)
            unless_it_starts.callback(self._process.kill)
            self.pid = self._process.pid
            self._gone: asyncio.Future[Crash] = self._loop.create_future()
            threading.Thread(target=self._reap, name=f"procession-reaper-{self.pid}", daemon=True).start()
            unless_it_starts.pop_all()

    async def live(self, hear: Callable[[FromJob], None]) -> Crash:
        """Hand on what it says until it has ended; returns how."""
        self._reader, self._writer = await asyncio.open_unix_connection(sock=self._ours)
        # what a job has started outside its session may hold the other end open
        self._gone.add_done_callback(lambda _: self._loop.call_later(0.5, self._writer.close))
        self.end_in(LONGEST_START, self.kill)
        while (message := await heard_async(self._reader)) is not None:
            if self.names is None:
                self.stay()
            hear(message)
        self.retire()
        crash = await self._gone
        self.stay()
        with suppress(OSError):
            await self._writer.wait_closed()
        self.seen_in = self._box.seen_in(0.0)
        self._box.close()
        return crash

    # Speaking

    @property
    def alive(self) -> bool:
        """As far as is known yet, it may be spoken to."""
        return not (self._gone.done() or self._reader.at_eof() or self._writer.is_closing())

    def begin(self, active: Active, worker: str) -> None:
        """Have it perform this job; it must be idle."""
        self.active = active
        self._writer.write(frame(Begin(active.run.claimed, worker)))

    def stop(self, active: Active) -> None:
        """Tell it that this run is not to go on, and why."""
        if active.run.stopped is not None and self.alive:
            self._writer.write(frame(Stop(active.run.claimed.token, active.run.stopped)))

    async def stacks(self) -> str:
        """Where its threads are now; it writes this itself, whatever keeps the interpreter's lock."""
        with self._reaping:
            if self._process.returncode is not None:
                return ""
            self._box.ask_for_stacks(self._process)
        await asyncio.sleep(WRITTEN)
        if self._gone.done():
            return ""
        stacks = self._box.stacks()
        self._box.forget_stacks()
        return stacks

    # Ending

    def retire(self) -> None:
        """Let it end, because it is idle or has closed its line; killed if it does not."""
        self._writer.close()
        self.end_in(KILL_GRACE, self.kill)

    def end_in(self, seconds: float, how: Callable[[], None]) -> None:
        """Unless it has ended by then, or `stay` was said, do this."""
        self._ends.append(self._loop.call_later(seconds, how))

    def stay(self) -> None:
        """Forget what was to end it."""
        while self._ends:
            self._ends.pop().cancel()

    def terminate(self) -> None:
        """Have it leave its stacks, then SIGTERM to it and to what its jobs started; SIGKILL after a grace."""
        with self._reaping:
            if self._process.returncode is None:
                self._box.ask_for_stacks(self._process)
        self._signal(signal.SIGTERM)
        self.end_in(KILL_GRACE, self.kill)

    def kill(self) -> None:
        """SIGKILL to it and to what its jobs started."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        with self._reaping, suppress(OSError):
            if self._process.returncode is None:  # afterwards the number may be somebody else's
                os.killpg(self.pid, number)

    def _reap(self) -> None:
        """In a thread: wait for its end, end what its jobs left running, and read its dossier."""
        if sys.platform == "linux":
            os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
            with self._reaping:
                with suppress(OSError):
                    os.killpg(self.pid, signal.SIGKILL)
                end = ended(self._process, wait=True)
        else:
            end = ended(self._process, wait=True)
        assert end is not None
        with suppress(RuntimeError):  # the loop has ended before it
            self._loop.call_soon_threadsafe(self._reaped, self._box.crash(end, pid=self.pid))

    def _reaped(self, crash: Crash) -> None:
        if not self._gone.done():
            self._gone.set_result(crash)
