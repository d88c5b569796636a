"""Jobs that wait for a slot: a place of their own in the strip while there are any, and their page says what for."""

from __future__ import annotations

import re

from procession import Limit, Procession
from tests.web.conftest import Client, enqueue


def test_the_strip_has_a_place_for_blocked_jobs_while_there_are_any(app: Procession, client: Client) -> None:
    jids = enqueue(app, "a", "b", "c", limit=Limit(1, name="<one>"))
    shown = client.get("/").text
    counts = re.findall(r'id="flow-(?!title)(\w+)".*?data-flash="(\d+)"', shown, re.DOTALL)
    assert counts[:3] == [("delayed", "0"), ("blocked", "2"), ("queued", "1")]
    assert re.search(r"<b>3</b> scheduled", shown)
    blocked = client.get("/jobs?state=blocked").text
    assert re.findall(r'name="jid" value="([^"]+)"', blocked) == jids[1:]


def test_the_page_of_a_blocked_job_says_which_limit_it_waits_for_and_who_has_it(
    app: Procession, client: Client
) -> None:
    first, _, third = enqueue(app, "a", "b", "c", limit=Limit(1, name="<one>"))
    shown = client.get(f"/jobs/{third}").text
    assert "<dt>Limit</dt><dd><bdi>&lt;one&gt;</bdi>" in shown
    assert f"the one slot of the limit &lt;one&gt;, taken by job {first}, which is queued in mail" in shown
    assert "1 blocked job goes first" in shown
    app.remove(first)
    assert client.get("/jobs.json?state=blocked").json()["jobs"][0]["job"]["jid"] == third
