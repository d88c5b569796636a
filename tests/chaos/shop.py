"""The jobs that the fleet performs. Each run tells the journal when it began and how it ended.

`tests.chaos.shop:app` is what `procession worker` is given; the harness enqueues the same functions.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from procession import Procession, Retry, current_job
from procession.retry import constant
from tests.chaos import crashpoint
from tests.chaos.journal import write

QUEUES = ("red", "green", "blue")
"""Every job may be enqueued to any of them; the default is the first."""


class Refusal(Exception):
    """What a job raises that is meant to fail."""


@contextmanager
def told() -> Iterator[None]:
    write("start")
    try:
        yield
    except Exception:
        write("raise")
        raise
    except BaseException:
        write("stop")
        raise
    write("end")


class Shop:
    """The job functions of one app. The next release renames `former` to `novel`; who enqueues knows both names."""

    def __init__(self, app: Procession, *, release: str = "both") -> None:
        @app.job(name="note", queue=QUEUES[0])
        async def note(seconds: float = 0.0) -> None:
            with told():
                await asyncio.sleep(seconds)

        @app.job(name="work", queue=QUEUES[0])
        def work(seconds: float = 0.0) -> None:
            with told():
                end = time.monotonic() + seconds
                while (left := end - time.monotonic()) > 0:
                    time.sleep(min(left, 0.05))
                    current_job().check_cancelled()

        @app.job(name="refuse", queue=QUEUES[0], retry=False)
        async def refuse(text: str = "no") -> None:
            with told():
                raise Refusal(text)

        @app.job(name="flaky", queue=QUEUES[0], retry=Retry(attempts=3, backoff=constant(0.2)))
        async def flaky(fails: int) -> None:
            with told():
                if current_job().attempt <= fails:
                    raise Refusal("not yet")

        @app.job(name="fatal", queue=QUEUES[0], retry=False)
        async def fatal(times: int = 1_000_000) -> None:
            with told():
                if current_job().attempt <= times:
                    os.kill(os.getpid(), signal.SIGKILL)

        @app.job(name="block", queue=QUEUES[0])
        async def block(seconds: float) -> None:
            with told():
                time.sleep(seconds)  # noqa: ASYNC251 - that is the fault

        @app.job(name="fat", queue=QUEUES[0])
        async def fat(text: str) -> None:
            with told():
                pass

        @app.job(name="sow", queue=QUEUES[0])
        async def sow(child: UUID) -> None:
            with told():
                await note.using(jid=child).enqueue_async()

        async def renamed() -> None:
            with told():
                pass

        async def not_renamed() -> None:
            await renamed()

        if release != "this":
            self.novel = app.job(name="novel", queue=QUEUES[0], aliases=["former"] * (release == "next"))(renamed)
        if release != "next":
            self.former = app.job(name="former", queue=QUEUES[0])(not_renamed)
        self.note, self.work, self.block, self.fat, self.sow = note, work, block, fat, sow
        self.refuse, self.flaky, self.fatal = refuse, flaky, fatal


app = Procession()
shop = Shop(app, release="next" if os.environ.get("CHAOS_NOVEL") else "this")
for queue in QUEUES[1:]:  # a worker without -q serves every queue that its jobs name

    @app.job(name=f"served-{queue}", queue=queue)
    async def served() -> None: ...


crashpoint.install(app)
