"""Jobs that fork: their children end by themselves, and never go on as a second worker."""

from __future__ import annotations

import asyncio

import pytest

from procession import Procession
from tests.runtime import heavy
from tests.runtime.working import until, working


@pytest.mark.parametrize("where", ["process", "process, async", "thread", "loop"])
@pytest.mark.parametrize(("how", "code"), [("returns", 0), ("raises", 1), ("exits", 7)])
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_child_that_comes_to_the_end_of_its_job_ends_and_the_job_is_its_parents(
    where: str, how: str, code: int, namespace: str
) -> None:
    local = Procession(f"memory://{namespace}", namespace=namespace)

    @local.job(name="thread", retry=False)
    def in_a_thread(how: str) -> int | str:
        return heavy.forked(how)

    @local.job(name="loop", retry=False)
    async def on_the_loop(how: str) -> int | str:
        return heavy.forked(how)

    jobs = {"process": heavy.forks, "process, async": heavy.forks_async, "thread": in_a_thread, "loop": on_the_loop}

    async def main() -> None:
        async with working(heavy.app if "process" in where else local) as worker:
            assert await jobs[where].enqueue(how).result_async(30) == code
            assert await jobs[where].enqueue(how).result_async(30) == code
            await until(lambda: worker._performer.idle)

    asyncio.run(main())
