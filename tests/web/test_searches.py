"""What a live page costs when nothing moves: no second search, no row drawn anew."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from procession import Procession
from procession.clock import wall
from procession.database import Counts
from procession.query import parse
from procession.web.onejob import load_job
from procession.web.searches import STILL, Searches
from procession.web.views import Source
from tests.web.conftest import enqueue, made, perform


@pytest.fixture
def app(namespace: str) -> Iterator[Procession]:
    app = made(f"memory://{namespace}", namespace)
    yield app
    app.flush(confirm=namespace)
    app.close()


async def searched(searches: Searches, app: Procession, text: str, counts: Counts) -> tuple[str, ...]:
    found = await searches.found(app, parse(text), None, 50, counts)
    return tuple(job.args["what"] for job in found.jobs)


def test_a_live_search_is_repeated_when_a_counter_moved_and_seldom_otherwise(
    app: Procession, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]

    def passing() -> float:
        clock[0] += 0.05  # so that each search takes 0.05 s, and is not repeated for a second
        return clock[0]

    async def looks() -> None:
        searches = Searches()
        assert await searched(searches, app, "queue:mail", Counts(queued=1)) == ("a",)
        enqueue(app, "b")
        assert await searched(searches, app, "queue:mail", Counts(queued=2)) == ("a",), "it was made a moment ago"
        assert await searched(searches, app, "queue:other", Counts(queued=2)) == ()
        clock[0] += 1
        assert await searched(searches, app, "queue:mail", Counts(queued=1)) == ("a",), "no counter moved"
        assert await searched(searches, app, "queue:mail", Counts(queued=2)) == ("a", "b")
        enqueue(app, "c")
        clock[0] += STILL
        assert await searched(searches, app, "queue:mail", Counts(queued=2)) == ("a", "b", "c"), "now and then anyway"

    monkeypatch.setattr("procession.web.searches.monotonic", passing)

    enqueue(app, "a")
    asyncio.run(looks())


def test_a_page_that_is_loaded_searches_for_itself_and_a_live_one_is_shared(app: Procession) -> None:
    source = Source(app)
    live = source.kept_live()
    assert source.searches is None
    assert live.searches is not None
    assert live.memory is source.memory


def test_nothing_of_a_finished_job_changes_from_look_to_look(app: Procession, monkeypatch: pytest.MonkeyPatch) -> None:
    (jid,) = enqueue(app, "fail")
    perform(app)

    async def look() -> str:
        model = await load_job(Source(app), {"jid": jid})
        await app.close_async()
        return model.parts[0].why

    first = asyncio.run(look())
    assert "It failed at" in first
    monkeypatch.setattr("procession.web.onejob.wall", lambda: wall() + 3_600_000)
    assert asyncio.run(look()) == first
