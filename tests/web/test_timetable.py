"""The Schedules page, in memory: what is due, and what operators do about it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from procession import Procession
from procession.web import Access, Dashboard, Role
from tests.web.conftest import OURS, Client, made

NAME = "nightly <b>report</b>"


@pytest.fixture
def app(namespace: str) -> Iterator[Procession]:
    app = made(f"memory://{namespace}", namespace)
    registered = app.registry.get("shop.deliver")
    assert registered is not None
    app.schedules.upsert(NAME, app.caller(registered.source).bind("x"), cron="30 3 * * *", tz="Europe/Paris")
    yield app
    app.flush(confirm=namespace)
    app.close()


def act(client: Client, verb: str, **more: str) -> str:
    form = {"do": verb, "schedule": NAME, "back": "/schedules", **more}
    done = client.post("/schedules/act", data=form, headers=OURS)
    assert done.status_code == 303, done.text
    return client.get(done.headers["location"]).text


class TestHTML:
    def test_a_schedule_is_shown_with_its_rule_and_what_is_due_next(self, app: Procession, client: Client) -> None:
        shown = client.get("/schedules").text
        assert "nightly &lt;b&gt;report&lt;/b&gt;" in shown
        assert "shop.deliver" in shown
        (row,) = client.get("/schedules.json").json()["schedules"]
        info = app.schedules.find(NAME)
        assert info is not None
        first, second, third = row["next"]
        assert first == info.next_at < second < third
        assert f'data-at="{third}"' in shown
        assert row["rule"] == info.schedule.describe()
        rows = client.get("/live?view=schedules").json()["regions"]["schedules"]
        assert rows["order"] == [f"schedules-{row['key']}"]

    def test_it_is_paused_with_a_reason_and_resumed(self, app: Procession, client: Client) -> None:
        shown = act(client, "pause-schedule", reason="too <hot>")
        assert "The schedule is paused." in shown
        assert "too &lt;hot&gt;" in shown
        assert client.get("/schedules.json").json()["schedules"][0]["next"] == []
        assert "is due again" in act(client, "resume-schedule")
        info = app.schedules.find(NAME)
        assert info is not None
        assert not info.paused

    def test_one_run_more_is_enqueued_and_linked(self, app: Procession, client: Client) -> None:
        shown = act(client, "run-schedule")
        assert "One run more was enqueued." in shown
        (job,) = app.search("state:queued").jobs
        assert f'href="/jobs/{job.jid}"' in shown
        assert "by hand" in shown

    def test_a_viewer_moves_no_schedule_and_one_that_is_not_there_is_said_so(self, app: Procession) -> None:
        eve = Client(Dashboard(app, auth=lambda _: Access("eve", Role.VIEWER)), app)
        assert "/schedules/act" not in eve.get("/schedules").text
        assert eve.post("/schedules/act", data={"do": "run-schedule"}, headers=OURS).status_code == 403
        client = Client(Dashboard(app), app)
        answer = client.post("/schedules/act", data={"do": "run-schedule", "schedule": "none"}, headers=OURS)
        assert answer.status_code in (400, 404)
        assert "there is no schedule" in answer.text

    def test_no_schedule_at_all_is_said_with_what_to_do(self, app: Procession, client: Client) -> None:
        app.schedules.remove(NAME)
        assert "There is no schedule." in client.get("/schedules").text
