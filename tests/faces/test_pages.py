"""The examples of the pages run as they stand, and the jobs that they enqueue are performed."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest

from procession import State
from procession.runtime.queue_worker import QueueWorker

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("page", ["executors", "limits", "order", "retries", "middleware", "waiting", "sealed"])
def test_the_examples_of_a_page_run(page: str) -> None:
    text = (DOCS / f"{page}.md").read_text("utf-8")
    examples: dict[str, Any] = {"__name__": "shop.jobs"}
    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(compile(block, f"{page}.md", "exec"), examples)
    app = examples["app"]
    if not app.stats().scheduled:  # it shows how jobs are defined, and enqueues none
        return

    async def main() -> None:
        await QueueWorker(app, burst=True).run()
        await app.close_async()

    asyncio.run(main())
    assert app.stats().failed == 0
    assert app.stats().scheduled == 0
    assert not app.jobs(State.FAILED).jobs
    app.ask(app.database.flush())
