"""A server that writes down what it acknowledges, to be killed and started again on the same files."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.conftest import answering


class Durable:
    """One server of its own in `folder`; every write is in its append-only file before it is answered.

    A kill takes the process and not the machine, so nothing has to reach the disk.
    """

    def __init__(self, binary: str, folder: Path) -> None:
        self._command = [binary, "--port", "0", "--unixsocket", str(folder / "s"), "--dir", str(folder)]
        self._command += ["--save", "", "--appendonly", "yes", "--appendfsync", "no"]
        self._path = str(folder / "s")
        self.url = f"unix://{self._path}"
        self.start()

    def start(self) -> None:
        """Start it and wait until it answers."""
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)
        answering(self._path, self._process)

    def kill(self) -> None:
        """End it without a warning."""
        self._process.kill()
        self._process.wait(timeout=10)
