"""The Errors page, in memory: what is shown, what is muted, by whom."""

from __future__ import annotations

import html
from collections.abc import Iterator

import pytest

from procession import Encrypted, Procession
from procession.sealing import CLOSED
from procession.web import Access, Dashboard, Role
from tests.web.conftest import HOSTILE, OURS, Client, enqueue, made, perform


@pytest.fixture
def app(namespace: str) -> Iterator[Procession]:
    app = made(f"memory://{namespace}", namespace)
    yield app
    app.flush(confirm=namespace)
    app.close()


class TestHTML:
    def test_an_error_is_shown_once_with_count_place_and_a_job(self, app: Procession, client: Client) -> None:
        enqueue(app, "fail of 1", "fail of 2", "a")
        perform(app)
        shown = client.get("/errors").text
        (row,) = client.get("/errors.json").json()["errors"]
        assert (row["group"]["type"], row["group"]["count"]) == ("ValueError", 2)
        assert "<b>2</b>" in shown
        assert row["group"]["where"].endswith("deliver")
        assert html.escape(row["group"]["where"]) in shown
        assert f'href="/jobs/{row["group"]["samples"][-1]}"' in shown
        assert "state%3Afailed+error%3AValueError+job%3Ashop.deliver+of" in shown
        assert "2 × in" in client.get("/").text
        assert [*client.get("/live?view=errors").json()["regions"]["errors"]["set"]] == [f"errors-{row['key']}"]

    def test_a_muted_error_is_out_of_sight_until_it_is_unmuted(self, app: Procession, client: Client) -> None:
        enqueue(app, "fail")
        perform(app)
        (group,) = app.errors()
        form = {"do": "mute", "fingerprint": group.fingerprint, "back": "/errors"}
        done = client.post("/errors/act", data=form, headers=OURS)
        shown = client.get(done.headers["location"]).text
        assert "The error is muted for a day" in shown
        assert "ValueError" not in shown
        assert ">1 muted</a>" in shown
        assert "ValueError" not in client.get("/").text.split("Newest failures")[0]
        assert "ValueError" in client.get("/errors?muted=1").text
        client.post("/errors/act", data={**form, "do": "unmute"}, headers=OURS)
        assert "ValueError" in client.get("/errors").text

    def test_the_filter_of_an_error_finds_its_jobs_and_not_those_of_another(
        self, app: Procession, client: Client
    ) -> None:
        whats = "fail card 1 declined by 'x'", "fail card 2 declined by 'y'", 'fail no route (to "z")', "fail 17"
        jids = enqueue(app, *whats)
        perform(app)
        found = [
            {it["jid"] for it in client.get("/api/jobs", params={"filter": row["filter"]}).json()["jobs"]}
            for row in client.get("/errors.json").json()["errors"]
        ]
        assert {*jids[:2]} in found
        assert {jids[2]} in found

    def test_the_filter_of_a_sealed_error_finds_its_jobs(self, namespace: str) -> None:
        app = made(f"memory://{namespace}", namespace, codec=[Encrypted([Encrypted.new_key()])])
        jids = enqueue(app, "fail card 1 declined")
        perform(app)
        (group,) = app.errors()
        assert group.message == CLOSED
        client = Client(Dashboard(app), app)
        (row,) = client.get("/errors.json").json()["errors"]
        found = client.get("/api/jobs", params={"filter": row["filter"]}).json()["jobs"]
        assert [it["jid"] for it in found] == jids
        app.close()

    def test_a_viewer_mutes_nothing_and_nobody_does_from_elsewhere(self, app: Procession) -> None:
        enqueue(app, "fail")
        perform(app)
        (group,) = app.errors()
        form = {"do": "mute", "fingerprint": group.fingerprint}
        client = Client(Dashboard(app, auth=lambda _: Access("eve", Role.VIEWER)), app)
        assert "/errors/act" not in client.get("/errors").text
        assert client.post("/errors/act", data=form, headers=OURS).status_code == 403
        assert client.post("/errors/act", data=form).status_code == 403
        assert app.errors()[0].muted_until == 0

    def test_a_message_of_strangers_is_text(self, app: Procession, client: Client) -> None:
        enqueue(app, f"fail{HOSTILE}")
        perform(app)
        shown = client.get("/errors").text
        assert "<script>alert" not in shown
        assert "<img" not in shown
        assert "&lt;script&gt;alert" in shown
