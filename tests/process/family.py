"""Worker families for the tests: a supervisor and its processes, started as a user starts them, killed as fate does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

SHOP = '''
import asyncio, ctypes, gc, multiprocessing, os, re, signal, subprocess, sys, threading, time
from procession import Encrypted, Procession
from procession.runtime.queue_worker import QueueWorker
app = Procession(codec=[Encrypted([os.environ["SHOP_KEY"]])] if "SHOP_KEY" in os.environ else [])
HOME = os.path.dirname(__file__)
VERSION = "old"

def ran(mark):
    """One line for each run, whatever becomes of it."""
    with open(os.path.join(HOME, "runs"), "a") as file:
        file.write(f"{mark} {os.getpid()}\\n")

def first_time(path):
    if os.path.exists(path):
        return False
    open(path, "w").close()
    return True

def the_guilty_function():
    ctypes.string_at(0)

@app.job(name="die_once", queue="q")
def die_once(path: str, how: str = "SIGKILL") -> str:
    if first_time(path):
        if how == "SIGSEGV":
            the_guilty_function()
        elif how.startswith("exit"):
            os._exit(int(how[4:] or 7))
        os.kill(os.getpid(), getattr(signal, how))
        time.sleep(60)
    return "survived"

@app.job(name="return_and_die_once", queue="q")
async def return_and_die_once(path: str) -> str:
    ran("return_and_die_once")
    if first_time(path):  # after this function has returned, before anybody can have said so to the store
        await asyncio.sleep(0.1)  # until the worker only waits: a trip under way could take the word along
        asyncio.get_running_loop().call_soon(os.kill, os.getpid(), signal.SIGKILL)
    return "returned"

@app.job(name="stick", queue="q")
async def stick(path: str) -> str:
    if first_time(path):  # the claim loop asks, and never gets an answer
        worker = next(it for it in gc.get_objects() if isinstance(it, QueueWorker))
        worker._patient.ask = lambda *operations: asyncio.Event().wait()
    return "unstuck"

@app.job(name="version", queue="q")
async def version() -> str:
    return VERSION

@app.job(name="killer", queue="q", retry=False, on_exhausted=lambda failure: ran(f"given-up:{failure.type}"))
async def killer() -> None:
    os.kill(os.getpid(), signal.SIGKILL)

@app.job(name="exit_in_a_task", queue="q", retry=False)
async def exit_in_a_task() -> None:
    async def exits() -> None:
        sys.exit(1)
    async with asyncio.TaskGroup() as group:
        group.create_task(exits())
        await asyncio.sleep(60)

@app.job(name="hoard", queue="q")
async def hoard(megabytes: int, kept: list = []) -> str:
    kept.append(b"x" * (megabytes << 20))
    return "kept"

@app.job(name="take_descriptors", queue="q", retry=False)
async def take_descriptors(kept: list = []) -> None:
    while True:
        kept.append(os.open(os.devnull, os.O_RDONLY))

@app.job(name="nap", queue="q")
async def nap(seconds: float, mark: str) -> str:
    ran(mark)
    await asyncio.sleep(seconds)
    return "rested"

@app.job(name="doze", queue="q")
def doze(seconds: float, mark: str) -> str:
    ran(mark)
    time.sleep(seconds)
    return "rested"

@app.job(name="apart", queue="q", executor="process")
def apart(seconds: float, mark: str) -> str:
    ran(mark)
    time.sleep(seconds)
    return "rested"

@app.job(name="fork", queue="q", timeout="15s")
def fork() -> list:
    forked = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
    forked.start()
    time.sleep(0.2)  # it sleeps by now
    forked.terminate()
    forked.join()
    return [os.getpid(), forked.exitcode]

@app.job(name="fork_apart", queue="q", executor="process", timeout="15s")
def fork_apart() -> list:
    return fork()

@app.job(name="say", queue="q")
def say(text: str) -> str:
    print(text)
    return "said"

@app.job(name="say_apart", queue="q", executor="process")
def say_apart(text: str) -> str:
    return say(text)

@app.job(name="read", queue="q", timeout="15s", retry=False)
def read() -> list:
    return [sys.stdin.read(), subprocess.run(["cat"], capture_output=True, check=True, text=True).stdout]

@app.job(name="leave_behind", queue="q", timeout=0.3, retry=False)
async def leave_behind() -> None:
    await asyncio.to_thread(time.sleep, 3600)

@app.job(name="break_the_worker", queue="q")
async def break_the_worker(path: str) -> str:
    if first_time(path):
        threading.Thread(target=time.sleep, args=(3600,)).start()
        worker = next(it for it in gc.get_objects() if isinstance(it, QueueWorker))
        worker._wind_down = worker._places = lambda *_: 1 / 0
        await asyncio.sleep(60)
    return "mended"

@app.job(name="hog", queue="q")
async def hog(seconds: float, how: str) -> str:
    ran(how)
    began = time.monotonic()
    if how == "sleep":
        time.sleep(seconds)
    elif how == "regex":  # each match keeps the interpreter's lock
        while time.monotonic() - began < seconds:
            re.match(r"(a+)+$", "a" * 24 + "b")
    else:  # each call is C code that keeps the lock for about a second, however busy the machine is in between
        while time.monotonic() - began < seconds:
            sum(range(60_000_000))
    return "done"
'''

TELLING = """
import sys
from procession.runtime.seat import Seat

def take_over(seat, untold=Seat.take_over):
    predecessor = untold(seat)
    if predecessor is not None:
        print(predecessor.worker_id, "makes way", file=sys.stderr, flush=True)
    return predecessor

Seat.take_over = take_over
"""
"""A patch of the supervisor: it writes who makes way, as the replacement takes over."""


def until(condition: Callable[[], Any], seconds: float = 20) -> Any:
    """What `condition` returns once it is true."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.02)
    pytest.fail(f"not within {seconds} s")


class Family:
    """One `procession worker` with its processes."""

    def __init__(self, command: list[str], folder: Path, environment: dict[str, str]) -> None:
        self._log = folder / f"log.{time.monotonic_ns()}"
        with self._log.open("w") as log:
            self.process = subprocess.Popen(command, cwd=folder, env=environment, stderr=log, start_new_session=True)

    @property
    def log(self) -> str:
        """What the family has written so far."""
        return self._log.read_text("utf-8", "replace")

    def children(self) -> list[int]:
        """The process ids of its queue workers."""
        found = []
        for task in Path(f"/proc/{self.process.pid}/task").glob("*/children"):  # threads may have children, too
            with suppress(OSError):
                found += [int(pid) for pid in task.read_text().split()]
        return sorted(found)

    def kill(self) -> None:
        """As when the machine vanishes: all of them at once."""
        children = self.children()
        self.process.kill()
        for pid in children:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()

    def stop(self) -> int:
        """SIGTERM, and the exit code."""
        self.process.terminate()
        return self.process.wait(timeout=30)


class Families:
    """Starts families over one shop, and ends what is left of them."""

    def __init__(self, folder: Path, settings: dict[str, str]) -> None:
        self.folder = folder
        self._settings = settings
        self._started: list[Family] = []

    def __call__(self, *options: str, patch: str = "", **settings: str) -> Family:
        """Start one. `patch` is code that runs first in the supervisor, to shorten what nobody can wait for."""
        named = {**self._settings, **settings}
        environment = {**os.environ, **{f"PROCESSION_{name.upper()}": value for name, value in named.items()}}
        program = ["-c", f"{patch}\nfrom procession.cli import main\nmain()"] if patch else ["-m", "procession"]
        family = Family([sys.executable, *program, "worker", "shop:app", *options], self.folder, environment)
        self._started.append(family)
        return family

    def runs(self) -> list[str]:
        """The marks of all runs so far, in the order in which they began."""
        path = self.folder / "runs"
        return [line.split()[0] for line in path.read_text().splitlines()] if path.exists() else []

    def runners(self) -> dict[str, int]:
        """Mark → the process that ran it last."""
        lines = (self.folder / "runs").read_text().splitlines()
        return {mark: int(pid) for mark, pid in map(str.split, lines)}

    def close(self) -> None:
        """Leave no process behind."""
        for family in self._started:
            if family.process.poll() is None:
                family.kill()
