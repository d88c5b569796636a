"""What systemd wants to know of a service (`Type=notify`): when it is ready, how it is, that it stops, that it lives.

A datagram to the socket that `NOTIFY_SOCKET` names, as sd_notify(3) writes them; no library is needed. Told by the
supervisor (`procession worker` arranges it); sends, and waits for nothing.
"""

from __future__ import annotations

import os
import socket
from collections.abc import MutableMapping

from procession.clock import monotonic
from procession.runtime.condition import Condition


class Notify:
    """Notifies a service manager of a supervisor's condition.

    Args:
        address: of its socket; one that begins with @ is abstract.
        watchdog: seconds without a sign of life after which it ends us; 0 for never.
    """

    def __init__(self, address: str, *, watchdog: float = 0.0) -> None:
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._every = watchdog / 2
        self._petted = -watchdog
        self._ready = self._stopping = False
        self._serving = -1

    @classmethod
    def of(cls, environment: MutableMapping[str, str]) -> list[Notify]:
        """The one that the environment asks for, if any. Its words are taken out: they are for this process and not for
        those that it starts."""
        address = environment.pop("NOTIFY_SOCKET", "")
        microseconds, pid = environment.pop("WATCHDOG_USEC", ""), environment.pop("WATCHDOG_PID", "")
        if not address:
            return []
        ours = microseconds.isdecimal() and pid in ("", str(os.getpid()))
        return [cls(address, watchdog=int(microseconds) / 1e6 if ours else 0.0)]

    def __call__(self, condition: Condition) -> None:
        """Say what is new, or was not taken the last time."""
        words = []
        serving, ready, stopping, petted = self._serving, self._ready, self._stopping, self._petted
        if condition.serving != serving and not condition.stopping:
            serving = condition.serving
            words.append(f"STATUS={condition.serving} of {condition.places} queue workers serve")
        if not ready and not condition.stopping and condition.serving == condition.places:
            ready = True
            words.append("READY=1")
        if not stopping and condition.stopping:
            stopping = True
            words += ["STOPPING=1", "STATUS=finishing what runs"]
        now = monotonic()
        if self._every and now - petted >= self._every:
            petted = now
            words.append("WATCHDOG=1")
        if words and self._sent("\n".join(words)):
            self._serving, self._ready, self._stopping, self._petted = serving, ready, stopping, petted

    def _sent(self, words: str) -> bool:
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
                line.setblocking(False)  # nobody listens, or its buffer is full: a service goes on without its manager
                line.sendto(words.encode(), self._address)
        except OSError:
            return False
        return True
