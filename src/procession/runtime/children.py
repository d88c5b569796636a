"""One queue worker's process, as its supervisor holds it: started, felt, asked to stop, and reaped.

A child is a fresh interpreter in a session of its own, never a fork, so that neither threads of the parent nor a
terminal's Ctrl-C reach it. It is asked to stop through the pipe that is its stdin: so a service manager that signals
the whole group, beside us, does not make the first request look like the second. Called by the supervisor only.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from typing import Any

from procession.clock import monotonic
from procession.job import Crash
from procession.runtime.blackbox import BlackBox, Ended, ended
from procession.runtime.child import CUT_SHORT
from procession.runtime.identity import new_worker_id
from procession.runtime.pulse import Felt

KILL_AFTER = 10.0
"""Seconds beyond the grace after which a child that does not end is killed."""


class Child:
    """One process, its pulse, its black box, and the name of its queue worker in the store.

    Args:
        asked: what the process is to do, see `procession.runtime.child`.
        grace: seconds that what runs may go on after the first request to stop.
    """

    def __init__(self, asked: Mapping[str, Any], *, grace: float) -> None:
        self.worker_id = new_worker_id()
        self.started = monotonic()
        self.because = ""
        """Why we killed it, if we did."""
        self._grace = grace
        self._renewed = False
        self._asked_to_stop = 0
        self._kill_at = 0.0
        with ExitStack() as unless_it_starts, ExitStack() as then:
            self.pulse = Felt()
            unless_it_starts.callback(self.pulse.close)
            then.callback(self.pulse.child_started)
            self.box = BlackBox()
            unless_it_starts.callback(self.box.close)
            told = {**asked, "worker_id": self.worker_id, "pulse": self.pulse.writer, "box": self.box.descriptors}
            self.process = subprocess.Popen(
                [sys.executable, "-m", "procession.runtime.child", json.dumps(told)],
                stdin=subprocess.PIPE,
                start_new_session=True,
                pass_fds=[self.pulse.writer, *self.box.descriptors],
            )
            unless_it_starts.pop_all()

    def look(self, now: float) -> Ended | None:
        """Feel its pulse; kill it when its time to stop is over; how it ended, or None while it lives."""
        if self._kill_at and now > self._kill_at and not self.because:
            self.kill(f"it did not end within {now - self._kill_at + KILL_AFTER + self._grace:.0f} s")
        how = ended(self.process)
        self.pulse.feel()  # after that, so that its last word is heard
        return how

    @property
    def worn(self) -> bool:
        """It serves, and should make way for a fresh one: it said so, or we do."""
        return self.pulse.begun and (self.pulse.worn or self._renewed)

    def renew(self) -> None:
        """It is to make way for a fresh one; at once where it does not serve yet, since it may never do."""
        self._renewed = True
        self.pulse.feel()
        if not self.pulse.begun:
            self.stop()

    @property
    def stopping(self) -> bool:
        """It was asked to stop."""
        return self._asked_to_stop > 0

    def stop(self, level: int = 1) -> None:
        """Ask it to finish what runs (1), or to give it back now (2)."""
        if level <= self._asked_to_stop:
            return
        self._asked_to_stop = level
        self._kill_at = monotonic() + KILL_AFTER + (self._grace if level == 1 else 0.0)
        assert self.process.stdin is not None
        with suppress(OSError):
            self.process.stdin.write(bytes([level]))
            self.process.stdin.flush()
        if not self.pulse.begun:
            self.process.send_signal(signal.SIGTERM)  # it does not read yet; what has not begun ends by this

    def kill(self, because: str) -> None:
        """End it by SIGKILL; `because` goes into the dossier."""
        self.because = because
        self.process.kill()

    def ended_well(self, how: Ended) -> bool:
        """It did as it was asked: it finished, or was told to stop before it had begun. A job may end its process with
        any exit code."""
        unbegun = self.stopping and not self.pulse.begun and how.code == -signal.SIGTERM
        return unbegun or (self.pulse.left and how.code in (0, CUT_SHORT))

    def dossier(self, how: Ended) -> Crash:
        """What is known of its death."""
        named = how if not self.because else how._replace(reason=self.because)
        return self.box.crash(named, pid=self.process.pid)

    def close(self) -> None:
        """Kill it if it lives, wait for it, give back what it took."""
        if self.process.returncode is None:
            self.process.kill()
            self.process.wait()
        with suppress(OSError):  # a byte that nobody read
            assert self.process.stdin is not None
            self.process.stdin.close()
        self.pulse.close()
        self.box.close()
