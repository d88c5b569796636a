"""An app asks after jobs as the contract does, for sync and for async callers."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from procession import Procession


def test_the_app_asks_as_the_tests_do(namespace: str) -> None:
    app = Procession(f"memory://{namespace}", namespace=namespace)

    @app.job(name="shop.send")
    def send(to: str) -> None: ...

    handle = send.enqueue("ada")
    assert [job.jid for job in app.search("args.to:ada").jobs] == [handle.jid]
    assert app.why(handle.jid).kind == "no_worker"
    assert str(app.why(str(handle.jid))).startswith("No worker serves the queue default")
    app.pause("default", "too hot", by="ada")
    assert app.queues()[0].paused_by == "ada"
    assert app.bulk("remove", "args.to:ada", as_of=datetime(2020, 1, 1, tzinfo=UTC)).preview().count == 0
    bulk = app.bulk("remove", "args.to:ada")
    assert [*bulk][-1].changed == 1


async def _by_the_loop(app: Any, jid: UUID) -> tuple[int, str, int, int]:
    found = await app.search_async("args.to:ada")
    bulk = app.bulk("cancel", "args.to:ada")
    previewed = await bulk.preview_async()
    kind = (await app.why_async(jid)).kind
    while not (await bulk.step_async()).done:
        pass
    await app.close_async()
    return len(found.jobs), kind, previewed.count, bulk.progress.changed


def test_async_callers_get_the_same_answers(namespace: str) -> None:
    app = Procession(f"memory://{namespace}", namespace=namespace)

    @app.job(name="shop.send")
    def send(to: str) -> None: ...

    jid = send.enqueue("ada").jid
    assert asyncio.run(_by_the_loop(app, jid)) == (1, "no_worker", 1, 1)
