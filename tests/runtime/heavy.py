"""An app whose jobs run in job processes: imported by the tests, and by each job process."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import logging
import os
import signal
import subprocess
import sys
import time
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from procession import Discard, Fail, Failure, Procession, Retry, Snooze, Worker, constant, current_job

app = Procession("memory://heavy", namespace="heavy", lease=2.0, heartbeat=0.2, grace=5.0, job_processes=2)


@app.job(executor="process")
def where() -> tuple[int, int, int]:
    return os.getpid(), os.getppid(), os.getsid(0)


@app.job(executor="process")
async def where_async() -> tuple[int, int, int]:
    await asyncio.sleep(0)
    return os.getpid(), os.getppid(), os.getsid(0)


@app.worker(executor="process")
class Sync(Worker):
    def perform(self, a: int, b: int = 2) -> int:
        return a + b


@app.worker(executor="process")
class Coroutine(Worker):
    async def perform(self, a: int, b: int = 2) -> int:
        return a + b


@app.job(executor="process", timeout=60)
def about_itself() -> dict[str, Any]:
    job = current_job()
    assert job.remaining is not None
    return {
        "jid": str(job.jid), "attempt": job.attempt, "fence": job.fence, "queue": job.queue, "name": job.name,
        "remaining": job.remaining, "cancelled": job.cancelled,
    }  # fmt: skip


TENANT: ContextVar[str] = ContextVar("TENANT", default="nobody")


@app.job(executor="process")
def leaves_a_tenant(name: str) -> str:
    before = TENANT.get()
    TENANT.set(name)
    return before


@app.job(executor="process")
async def leaves_a_tenant_async(name: str) -> str:
    before = TENANT.get()
    TENANT.set(name)
    return before


class Awkward(Exception):
    def __init__(self, one: int, two: int, three: int) -> None:
        self.unpicklable = lambda: None

    def __str__(self) -> str:
        raise RuntimeError("no text")


def chain(depth: int) -> BaseException:
    error: BaseException = ValueError(0)
    for number in range(1, depth):
        error, error.__cause__ = ValueError(number), error
    return error


class Slow:
    """Takes its time to be told, as a line that a handler writes to a slow disk."""

    def __str__(self) -> str:
        time.sleep(30)
        return "told"


@app.job(executor="process", timeout=0.3, hard_timeout=20, retry=False)
def logs_slowly() -> None:
    logging.getLogger("heavy").info("%s", Slow())


RAISED = {
    "exit": lambda: SystemExit(3),
    "interrupt": KeyboardInterrupt,
    "generator": lambda: GeneratorExit(),
    "cancelled": asyncio.CancelledError,
    "timeout": TimeoutError,
    "group": lambda: BaseExceptionGroup("several", [SystemExit(), ValueError("one of them")]),
    "awkward": lambda: Awkward(1, 2, 3),
    "huge": lambda: ValueError("x" * 50_000_000),
    "deep": lambda: chain(10_000),
    "discard": lambda: Discard("gone"),
    "fail": lambda: Fail("given up"),
}


@app.job(executor="process", retry=False)
def raises(what: str) -> None:
    error = RAISED[what]()
    raise error


@app.job(executor="process", retry=False)
async def raises_async(what: str) -> None:
    error = RAISED[what]()
    raise error


@app.job(executor="process", retry=Retry(attempts=2, backoff=constant(0.01)))
def fails() -> None:
    raise ValueError(f"attempt {current_job().attempt}")


@app.job(executor="process", retry=False)
def snoozes(path: str) -> int:
    if not Path(path).exists():
        Path(path).touch()
        raise Snooze(0.01)
    return current_job().attempt


@app.job(executor="process", retry=False)
def returns_too_much() -> str:
    return "x" * 1_000_000


def note(path: str, text: str) -> None:
    """Write it down whole: who is told to end while it writes leaves what was there before."""
    beside = Path(f"{path}.part")
    beside.write_text(text)
    beside.replace(path)


def hang(path: str, how: str) -> None:
    """Hang until something is raised, and write down what."""
    note(path, "begun")
    try:
        if how == "swallow":
            while True:
                try:
                    time.sleep(60)
                except Exception as error:
                    note(path, f"swallowed {type(error).__name__}")
        while how == "c code":
            sum(range(10**12))
        time.sleep(60)
    except BaseException as error:
        note(path, type(error).__name__)
        raise


@app.job(executor="process", retry=False, timeout=0.3, hard_timeout=60)
def soft(path: str, how: str = "") -> None:
    hang(path, how)


@app.job(executor="process", retry=False, timeout=0.3)
async def soft_async(path: str) -> None:
    note(path, "begun")
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        note(path, str(current_job().stop_reason))
        raise


@app.job(executor="process", retry=False, timeout=0.3, hard_timeout=0.6)
def hard(path: str, how: str) -> None:
    hang(path, how)


@app.job(executor="process", retry=False, hard_timeout=1.5)
def hard_only(path: str) -> None:
    hang(path, "c code")


@app.job(executor="process", retry=False, timeout=0.3, hard_timeout=0.6)
async def hard_async(path: str) -> None:
    while True:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            note(path, "swallowed")


@app.job(executor="process", retry=False, timeout=0.3, hard_timeout=0.6)
def starts_another(path: str) -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    Path(path).write_text(str(child.pid))
    while True:
        sum(range(10**12))


@app.job(executor="process")
def long(path: str, how: str = "") -> None:
    hang(path, how)


@app.job(executor="process", retry=False, max_memory="256MB")
def eats(megabytes: int) -> int:
    eaten = [bytearray(1_000_000) for _ in range(megabytes)]
    return len(eaten)


@app.job(executor="process", retry=False, max_memory="256MB")
async def eats_async(megabytes: int) -> int:
    eaten = [bytearray(1_000_000) for _ in range(megabytes)]
    return len(eaten)


@app.job(executor="process", retry=False)
def dies(how: str) -> None:
    current_job().log.warning("about to die of %s", how)
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif how == "segfault":
        ctypes.string_at(0)
    elif how == "exit":
        os._exit(7)
    elif how == "line":
        os.closerange(3, 1_000)  # as programs do that turn themselves into a daemon


@app.job(executor="process", retry=False, name="名" * 200)
def dies_under_a_long_name() -> None:
    os._exit(7)


@app.job(executor="process")
def nap(seconds: float, path: str) -> str:
    Path(path).touch()
    time.sleep(seconds)
    return "rested"


given_up: list[tuple[int, str, str]] = []
"""Which process was told of whose last failure."""


def give_up(failure: Failure) -> None:
    given_up.append((os.getpid(), current_job().name, failure.type))


@app.job(executor="process", timeout=0.1, hard_timeout=0.3, retry=False, on_exhausted=give_up)
def endures() -> None:
    while True:
        try:
            time.sleep(60)
        except BaseException:
            continue


def give_up_in_a_file(failure: Failure) -> None:
    note(f"{current_job().arguments['path']}.given-up", failure.type)


@app.job(executor="process", timeout=0.1, hard_timeout=0.3, retry=False, on_exhausted=give_up_in_a_file)
async def endures_async(path: str) -> None:
    while True:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(60)


@app.job(executor="process", retry=False, on_exhausted=give_up_in_a_file)
async def exits_in_a_task(path: str) -> None:
    async def exits() -> None:
        sys.exit(1)

    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(exits())
            await asyncio.sleep(60)
    finally:
        note(path, "tidied")


@app.job(executor="process", retry=False)
async def leaves_an_exit() -> int:
    asyncio.get_running_loop().call_soon(sys.exit, 1)
    return os.getpid()


@app.job(executor="process", retry=False)
def says(wait: bool = True) -> None:
    logging.getLogger("shop").info("begins")
    current_job().progress(0.5, "half")
    try:
        time.sleep(20 if wait else 0)
    finally:
        logging.getLogger("shop").info("ends")


@app.job(executor="process", retry=False)
async def says_async() -> None:
    logging.getLogger("shop").info("begins")
    current_job().progress(0.5, "half")
    try:
        await asyncio.sleep(20)
    finally:
        logging.getLogger("shop").info("ends")


def forked(how: str) -> int | str:
    """The exit code of a child whose code ends as the job's own may end."""
    pid = os.fork()
    if pid == 0:
        if how == "exits":
            sys.exit(7)
        if how == "raises":
            raise ValueError("in the child")
        return "from the child"
    for _ in range(500):
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return "it went on"


@app.job(executor="process", retry=False)
def forks(how: str) -> int | str:
    return forked(how)


@app.job(executor="process", retry=False)
async def forks_async(how: str) -> int | str:
    return forked(how)
