"""Job names, the page of one queue, and sparklines: what the tallies of the store come to, in memory."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from procession import Procession
from procession.database.measures import MINUTE, RUN, WAIT, Bucket, Slice
from procession.web.jobnames import binned, name_rows
from procession.web.onequeue import queue_past
from procession.web.past import CHOICES
from procession.web.spark import Spark, carried
from tests.web.conftest import Client, enqueue, made, perform


@pytest.fixture
def app(namespace: str) -> Iterator[Procession]:
    app = made(f"memory://{namespace}", namespace)
    yield app
    app.flush(confirm=namespace)
    app.close()


class TestHTML:
    def test_each_job_name_is_told_with_its_runs_and_linked_to_its_jobs_and_errors(
        self, app: Procession, client: Client
    ) -> None:
        enqueue(app, "a", "b", "c", "fail")
        perform(app)
        (row,) = client.get("/names.json").json()["names"]
        assert (row["name"], row["runs"], row["ok"], row["failures"]) == ("shop.deliver", 4, 75, 1)
        assert (row["wait"]["count"], row["run"]["count"], sum(row["spark"]["values"])) == (4, 4, 4)
        shown = client.get("/names?span=24h").text
        assert 'href="/jobs?q=job%3Ashop.deliver"' in shown
        assert "75.0 %" in shown
        assert "runs in the last 24 hours: 0 to 4, 4 at last" in shown
        errors = re.search(r'href="(/errors\?name=[^"]+)"', shown)
        assert errors is not None
        assert "ValueError" in client.get(errors[1]).text
        assert "ValueError" not in client.get("/errors?name=other").text
        rows = client.get("/live?view=names").json()["regions"]["names"]
        assert rows["order"] == [f"names-{row['key']}"]

    def test_the_page_of_a_queue_charts_its_depth_and_its_waits(self, app: Procession, client: Client) -> None:
        enqueue(app, "a", "b", "fail <i>")
        twin = client.get("/queue.json?queue=mail&span=1h").json()
        assert [it["key"] for it in twin["charts"]] == ["depth", "waits", "throughput"]
        assert twin["charts"][0]["lines"][0]["values"][-1] == 3
        assert [it["job"]["args"]["what"] for it in twin["next"]] == ["a", "b", "fail <i>"]
        shown = client.get("/queue?queue=mail").text
        assert "3 queued" in shown
        assert "no workers serve it" in shown
        assert "fail &lt;i&gt;" in shown
        assert 'data-live="/live?view=queue&amp;queue=mail"' in shown
        assert client.get("/live?view=queue&queue=mail").json()["regions"]["charts"]["order"]

    def test_a_queue_whose_head_is_not_looked_at_is_not_said_to_be_empty(
        self, app: Procession, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("procession.web.views.QUEUES", 1)
        enqueue(app, "a", queue="a")
        enqueue(app, "b", queue="b")
        enqueue(app, "c", queue="c", delay="1h")
        assert [it["heads"] and len(it["heads"]) for it in client.get("/queues.json").json()["queues"]] == [1, None, []]
        shown = client.get("/queues").text
        assert (shown.count(">not looked at here<"), shown.count(">empty<")) == (1, 1)

    def test_a_queue_that_there_is_not_is_said_so(self, client: Client) -> None:
        assert client.get("/queue?queue=nowhere").status_code == 404
        assert client.get("/queue?queue=a%20b").status_code == 400
        assert client.get("/queue?queue=mail&span=1y").status_code == 400
        assert client.get("/names?span=1y").status_code == 400

    def test_queues_and_errors_have_sparklines(self, app: Procession, client: Client) -> None:
        enqueue(app, "fail")
        perform(app)
        enqueue(app, "a", "b")
        assert "attempts in the last hour: 0 to 1, 1 at last" in client.get("/errors").text
        overview = client.get("/").text
        assert "queued in the last 30 minutes: 1 to 1, 1 at last" in overview, "as the minute began"
        assert 'href="/queue?queue=mail"' in overview


def test_a_sparkline_says_what_it_draws() -> None:
    spark = Spark("queued", (None, 0, 5, 10))
    assert spark.says == "queued: 0 to 10, 10 at last"
    assert spark.path.count("M") == 2
    assert "v-18.0" in spark.path
    assert Spark("queued", (None, None)).says == "queued: not known"
    assert Spark("queued", ()).path == Spark("queued", (0, 0)).path == ""


def test_a_gap_in_what_is_known_is_filled_by_what_was_known_last() -> None:
    assert carried([None, 3, None, None, 0, None]) == (None, 3, 3, 3, 0, 0)


def test_many_points_are_added_up_to_few_bars() -> None:
    bars = binned([1.0] * 168)
    assert len(bars) <= 45
    assert sum(bars) == 168
    assert bars[-1] == bars[-2], "the newest groups are whole"
    assert binned([1, 2, 3]) == (1, 2, 3)


def test_percentiles_of_a_name_are_those_of_the_whole_span_and_the_busiest_name_is_first() -> None:
    found = [
        Slice(0, {"a": Bucket(0, {1: 98}, {RUN: 98}), "": Bucket(0, {1: 500}, {})}),
        Slice(MINUTE, {"a": Bucket(0, {1: 1, 2: 1, 3: 2, 4: 1}, {RUN + 40: 5, WAIT: 1}), "b": Bucket(0, {2: 200}, {})}),
    ]
    first, second, rest = name_rows(found, "hour")
    assert [it.name for it in (first, second, rest)] == ["b", "a", ""]
    assert (second.runs, second.retries, second.failures, second.spark.values) == (103, 2, 1, (98, 5))
    assert second.run.p50 == 1
    assert second.run.p99 == pytest.approx(881_743, rel=0.01)
    assert (first.ok, first.run.p50, rest.filter) == (0, None, "")


def test_points_of_a_queue_are_joined_as_the_span_says() -> None:
    buckets = [Bucket(at * MINUTE, {1: 1}, {WAIT: 1}, None if at % 10 else at) for at in range(1_440)]
    past = queue_past(CHOICES["24h"], buckets)
    depth, waits, throughput = past.charts
    assert depth.lines[0].values[:3] == (0, 10, 20)
    assert waits.lines[2].values[0] == 1
    assert throughput.lines[0].values[0] == 10
    assert past.latency[0].count == 1_440
