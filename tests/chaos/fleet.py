"""Worker families as users start them: `procession worker`, a supervisor and its children, under real signals."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from tests.chaos.journal import JOURNAL

ROOT = Path(__file__).parents[2]
TIED = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
"""Before a command: it ends with the thread that started it, so a harness that is killed leaves no family behind."""
MARK = "CHAOS_FAMILY"
"""A variable that a family's processes inherit: so they are found even when a dead parent left them to init."""


def members(mark: str) -> set[int]:
    """The living processes whose environment carries this mark."""
    found = set()
    wanted = f"{MARK}={mark}".encode()
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with suppress(OSError):
                if wanted in (folder / "environ").read_bytes().split(b"\0") and state_of(int(folder.name)) != "Z":
                    found.add(int(folder.name))
    return found


def state_of(pid: int) -> str:
    """The letter of the kernel: R, S, T (stopped), Z (dead, not yet fetched) …; X when it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "X"


def resident(pid: int) -> int:
    """Resident memory in bytes."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Family:
    """One `procession worker` with all its processes. Its log is kept in a file."""

    def __init__(self, process: subprocess.Popen[bytes], mark: str, log: Path) -> None:
        self.process = process
        self.mark = mark
        self.log = log
        self.stopped = False

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    @property
    def pids(self) -> set[int]:
        return members(self.mark)

    @property
    def children(self) -> set[int]:
        """The processes below the supervisor."""
        return self.pids - {self.process.pid}

    def vanish(self) -> set[int]:
        """The machine is gone: SIGKILL to all, the supervisor frozen first so that it can tell nobody."""
        with suppress(ProcessLookupError):
            os.kill(self.process.pid, signal.SIGSTOP)
        killed: set[int] = set()
        while alive := self.pids:
            killed |= alive
            send(alive, signal.SIGKILL)
            self.process.poll()
            time.sleep(0.005)
        self.process.wait()
        return killed

    def stop(self) -> set[int]:
        """SIGSTOP to all of them: a machine that is suspended."""
        self.stopped = True
        pids = self.pids
        send(pids, signal.SIGSTOP)
        return pids

    def go_on(self) -> set[int]:
        """SIGCONT to all of them."""
        self.stopped = False
        pids = self.pids
        send(pids, signal.SIGCONT)
        return pids

    def lines(self, pattern: str, *, after: int = 0) -> list[str]:
        """The lines of its log that match, each with some that follow it."""
        lines = self.log.read_text(errors="replace").splitlines()
        return ["\n".join(lines[i : i + 1 + after]) for i, line in enumerate(lines) if re.search(pattern, line)]


def send(pids: set[int], number: signal.Signals) -> None:
    """One signal to many."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


class Fleet:
    """Starts families, knows all of them, and leaves none behind."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._folder = folder
        path = ":".join(filter(None, [os.environ.get("PYTHONPATH"), str(ROOT)]))
        self._environment = {**os.environ, "PYTHONPATH": path, **environment}
        self.families: list[Family] = []

    @property
    def alive(self) -> list[Family]:
        return [family for family in self.families if family.alive]

    @property
    def serving(self) -> list[Family]:
        """Alive, and not stopped by us."""
        return [family for family in self.alive if not family.stopped]

    def start(self, *options: str, environment: Mapping[str, str] | None = None) -> Family:
        """One more family."""
        mark = uuid4().hex
        log = self._folder / f"worker-{len(self.families)}.log"
        command = [*TIED, sys.executable, "-m", "procession", "worker", "tests.chaos.shop:app", *options]
        with log.open("ab") as file:
            process = subprocess.Popen(
                command,
                cwd=self._folder,
                env={**self._environment, **(environment or {}), MARK: mark},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
            )
        family = Family(process, mark, log)
        self.families.append(family)
        return family

    def retire(self, families: Sequence[Family], seconds: float = 60) -> list[int]:
        """SIGTERM, and the exit codes: a worker that has nothing to do goes at once, with 0."""
        for family in families:
            family.process.terminate()
        return [family.process.wait(seconds) for family in families]

    def close(self) -> None:
        """Kill whatever is left."""
        for family in self.families:
            family.vanish()


def journal_at(path: Path) -> dict[str, str]:
    """What tells job bodies where the journal is."""
    return {JOURNAL: str(path)}
