"""The Overview's past: throughput and latency from the store's history, in memory."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from procession import Procession
from procession.database.measures import HOUR, MINUTE, RUN, WAIT, Bucket
from procession.web import Dashboard
from procession.web.past import CHOICES, drawn
from tests.web.conftest import Client, enqueue, made, perform


@pytest.fixture
def app(namespace: str) -> Iterator[Procession]:
    app = made(f"memory://{namespace}", namespace)
    yield app
    app.flush(confirm=namespace)
    app.close()


class TestHTML:
    def test_a_dashboard_that_just_began_shows_what_happened_before_it(self, app: Procession) -> None:
        enqueue(app, "a", "b", "fail")
        perform(app)
        client = Client(Dashboard(app), app)
        seen = client.get("/overview.json").json()
        assert [sum(line["values"]) for line in seen["charts"][0]["lines"]] == [2, 1, 0]
        assert [(it["key"], it["count"]) for it in seen["latency"]] == [("wait", 3), ("run", 3)]
        shown = client.get("/").text
        assert re.search(r'id="latency-run".*3 measured.*\d ms</td>', shown)

    @pytest.mark.parametrize(("span", "points"), [("15m", 15), ("1h", 60), ("24h", 145), ("7d", 168)])
    def test_a_span_is_chosen_by_address(self, client: Client, span: str, points: int) -> None:
        shown = client.get(f"/?span={span}").text
        assert f'href="/?span={span}" aria-current="true"' in shown
        assert f'data-live="/live?view=overview&amp;span={span}"' in shown
        assert f'href="/overview.json?span={span}"' in shown
        at = client.get(f"/overview.json?span={span}").json()["charts"][0]["at"]
        assert points - 1 <= len(at) <= points

    def test_a_span_that_there_is_not_is_refused_in_words(self, client: Client) -> None:
        answer = client.get("/?span=1y")
        assert (answer.status_code, "span must be one of 15m, 1h, 24h, 7d" in answer.text) == (400, True)


def test_percentiles_are_those_of_the_whole_span() -> None:
    buckets = [Bucket(at * MINUTE, {1: 1}, {RUN: 98, WAIT + 20: 1}) for at in range(60)]
    buckets.append(Bucket(HOUR, {}, {RUN + 40: 120}))
    wait, run = drawn(CHOICES["1h"], buckets).latency
    assert wait.p50 == wait.p99 == pytest.approx(861, rel=0.01)
    assert (run.count, run.p50) == (98 * 60 + 120, 1)
    assert run.p99 == pytest.approx(881_743, rel=0.01)
