"""The page of one job, in memory: why it waits, how far it is, what it said."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from procession import Procession, Retry, constant, current_job
from tests.web.conftest import HOSTILE, Client, enqueue, made, perform


@pytest.fixture
def app(namespace: str) -> Iterator[Procession]:
    app = made(f"memory://{namespace}", namespace)

    @app.job(name="shop.try", retry=Retry(attempts=2, backoff=constant("1h")))
    async def try_() -> None:
        raise ValueError

    @app.job(name="shop.talk", retry=False)
    async def talk(words: str) -> None:
        current_job().progress(0.425, f"half {words}")
        current_job().log.warning("said %s", words)
        if current_job().attempt == 1:
            raise ValueError(words)

    yield app
    app.flush(confirm=namespace)
    app.close()


def talk(app: Procession, words: str) -> str:
    registered = app.registry.get("shop.talk")
    assert registered is not None
    return str(app.caller(registered.source).enqueue(words).jid)


class TestHTML:
    def test_a_job_that_waits_says_why(self, app: Procession, client: Client) -> None:
        (jid,) = enqueue(app, "a")
        assert "Why it is here: " in client.get(f"/jobs/{jid}").text
        assert "no worker serves" in client.get(f"/jobs/{jid}.json").json()["parts"][0]["why"].lower()
        app.pause("mail", "too <hot>")
        assert "too &lt;hot&gt;" in client.get(f"/jobs/{jid}").text

    def test_progress_is_a_bar_a_number_and_words(self, app: Procession, client: Client) -> None:
        jid = talk(app, "way")
        perform(app)
        shown = client.get(f"/jobs/{jid}").text
        assert re.search(r'<rect class="b-busy" width="42.5" height="8"/></svg><b>42 %</b> <bdi>half way</bdi>', shown)

    def test_log_lines_stand_below_their_attempt_and_come_live(self, app: Procession, client: Client) -> None:
        jid = talk(app, "once")
        perform(app)
        lines = client.get(f"/live?view=job&jid={jid}").json()["regions"]["log"]
        assert lines["order"] == ["log-1"]
        assert re.search(r"attempt 1</b>.*WARNING</span> <bdi class=\"said\">said once</bdi>", lines["set"]["log-1"])
        assert client.get(f"/jobs/{jid}.json").json()["lines"][0]["line"]["text"] == "said once"

    def test_what_a_job_says_of_itself_is_text(self, app: Procession, client: Client) -> None:
        jid = talk(app, HOSTILE)
        perform(app)
        shown = client.get(f"/jobs/{jid}").text
        assert shown.count("said &lt;script&gt;") == 1
        assert "<script>alert" not in shown
        assert not set(shown) & {"\u202e", "\x00"}

    def test_what_is_cancelled_before_its_next_attempt_has_not_run_until_then(
        self, app: Procession, client: Client
    ) -> None:
        registered = app.registry.get("shop.try")
        assert registered is not None
        jid = app.caller(registered.source).enqueue().jid
        perform(app)
        app.cancel(jid)
        course = client.get(f"/jobs/{jid}.json").json()["parts"][0]["timeline"]
        assert course["events"][-1]["says"] == "cancelled"
        assert not [it for it in course["stretches"] if "ran" in it["says"]]

    def test_a_job_that_is_gone_has_neither_reason_nor_log(self, client: Client) -> None:
        shown = client.get("/jobs/019a0000-0000-7000-8000-000000000000").text
        assert "Why it is here" not in shown
        assert "<h2>Log</h2>" not in shown
