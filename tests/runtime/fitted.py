"""An app with everything around its jobs, imported by the tests and by each job process."""

# a call as a default is the very thing under test

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Generator, Iterator
from contextvars import ContextVar
from typing import Any

from procession import CurrentJob, Depends, Encrypted, Failure, Middleware, Procession, Zlib

KEY = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="  # known to all: it guards nothing
app = Procession(
    "memory://fitted", namespace="fitted", lease=2.0, heartbeat=0.2, retry=False, job_processes=1,
    codec=[Zlib(), Encrypted([KEY])],
)  # fmt: skip


class Marked(Middleware):
    def perform(self, job: CurrentJob) -> Generator[None, Any, Any]:
        result = yield
        return [*result, os.getpid()]


app.use(Marked())


REGION: ContextVar[str] = ContextVar("REGION", default="nowhere")


@app.lifespan
async def resources(its: Procession) -> AsyncIterator[dict[str, Any]]:
    before = REGION.set("north")
    yield {"opened_in": os.getpid()}
    REGION.reset(before)


def opened_in(pid: int = Depends("opened_in")) -> Iterator[int]:
    yield pid


def leave_word(failure: Failure) -> None:
    with open(os.environ["FITTED_WORD"], "w") as file:  # noqa: PTH123
        file.write(f"{os.getpid()} {failure.type}: {failure.message}")


@app.job(executor="process")
def sync(n: int, pid: int = Depends(opened_in)) -> list[int]:
    return [n, pid]


@app.job(executor="process")
async def coroutine(n: int, pid: int = Depends(opened_in)) -> list[int]:
    return [n, pid]


async def moves() -> list[Any]:
    region = REGION.get()
    REGION.set("south")
    return [region]


@app.job(executor="process")
def moves_sync() -> list[Any]:
    region = REGION.get()
    REGION.set("south")
    return [region]


on_loop = app.job(name="on_loop")(moves)
in_process = app.job(name="in_process", executor="process")(moves)


@app.job(executor="process", on_exhausted=leave_word)
def failing() -> list[int]:
    raise ValueError("for good")
