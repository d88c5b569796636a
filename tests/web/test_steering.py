"""Orders given on the pages, and the trail of what people did there."""

from __future__ import annotations

import re

import pytest

from procession import Procession
from procession.trail import deed
from procession.web import Access, Dashboard, Role, orders, views
from tests.web.conftest import OURS, Client, enqueue


def a_worker(app: Procession, name: str = "host:1:abc", info: bytes = b'{"queues": ["mail"], "concurrency": 4}') -> str:
    app.ask(app.database.heartbeat(name, lease=60_000, info=info))
    return name


def test_a_worker_is_told_from_the_page_and_the_page_says_what_was_not_heard_yet(
    app: Procession, client: Client
) -> None:
    name = a_worker(app)
    enqueue(app, "a")
    (job,) = app.ask(app.database.claim(["mail"], name, b"t" * 16, limit=1, lease=60_000)).jobs
    page = client.get("/workers").text
    assert ">Quiet<" in page
    assert f'href="/workers/{name.replace(":", "%3A")}"' in page
    told = client.post("/workers/act", data={"do": "quiet", "worker": name, "back": "/workers"}, headers=OURS)
    assert told.headers["location"] == "/workers?done=quiet&n=1&of=1"
    assert "told to be quiet" in client.get(told.headers["location"]).text
    assert 'told to quiet</span> <span class="dim">not heard yet' in client.get(f"/workers/{name}").text
    back = f"/workers/{name}"
    client.post("/workers/act", data={"do": "stack", "worker": name, "jid": job.jid, "back": back}, headers=OURS)
    quiet, stack = app.ask(app.database.orders([name]))[0]
    assert (quiet.verb, stack.jid) == ("quiet", job.jid)
    app.ask(app.database.obeyed(name, stack.id, "in <f> line 1"))
    a_worker(app, info=b'{"queues": ["mail"], "quiet_at": 1800000000000, "quiet_by": "<ann>"}')
    enqueue(app, "b")
    assert "Only quiet workers serve “mail”, 1 queued" in client.get("/").text
    page = client.get(back).text
    assert "in &lt;f&gt; line 1" in page
    assert "by <bdi>&lt;ann&gt;</bdi>" in page
    assert ">Resume<" in page
    twin = client.get(f"{back}.json").json()
    assert (twin["parts"][0]["stack"]["text"], len(twin["jobs"])) == ("in <f> line 1", 1)
    assert client.get("/workers/nobody").status_code == client.get("/workers/").status_code == 404
    gone = client.post("/workers/act", data={"do": "quiet", "worker": "nobody"}, headers=OURS)
    assert (gone.status_code, "no worker nobody is alive" in gone.text) == (404, True)


def test_what_a_worker_runs_beyond_what_is_looked_at_is_said(
    app: Procession, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = a_worker(app, info=b'{"queues": ["mail"], "concurrency": 4, "running": 3}')
    shown = client.get("/workers").text + client.get(f"/workers/{name}").text
    assert ("more" in shown.split("<main")[1], "Nothing runs here." in shown) == (False, True)
    enqueue(app, "a", "b", "c")
    app.ask(app.database.claim(["mail"], name, b"t" * 16, limit=3, lease=60_000))
    monkeypatch.setattr(orders, "RUNNING", 2)
    monkeypatch.setattr(views, "RUNNING", 2)
    monkeypatch.setattr(views, "SHOWN", 1)
    assert ">and 2 more<" in client.get("/workers").text
    shown = client.get(f"/workers/{name}").text
    assert ("And 1 more, beyond the running jobs" in shown, "Nothing runs here." in shown) == (True, False)


def test_only_an_admin_stops_a_worker(app: Procession) -> None:
    name = a_worker(app)
    operator = Client(Dashboard(app, auth=lambda _: Access("ann", Role.OPERATOR)), app)
    viewer = Client(Dashboard(app, auth=lambda _: Access("eve")), app)
    assert ">Stop<" not in operator.get("/workers").text
    assert ">Quiet<" not in viewer.get("/workers").text
    for client, verb in ((operator, "stop-worker"), (viewer, "quiet"), (viewer, "stack")):
        assert client.post("/workers/act", data={"do": verb, "worker": name}, headers=OURS).status_code == 403
    assert app.ask(app.database.orders([name])) == [()]
    admin = Client(Dashboard(app, auth=lambda _: Access("zoe", Role.ADMIN)), app)
    assert ">Stop<" in admin.get("/workers").text
    admin.post("/workers/act", data={"do": "stop-worker", "worker": name}, headers=OURS)
    assert [(it.verb, it.by) for it in app.ask(app.database.orders([name]))[0]] == [("stop", "zoe")]


def test_the_trail_shows_admins_who_did_what(app: Procession) -> None:
    (jid,) = enqueue(app, "a")
    operator = Client(Dashboard(app, auth=lambda _: Access("<ann>", Role.OPERATOR)), app)
    operator.post("/jobs/act", data={"do": "cancel", "jid": jid}, headers=OURS)
    operator.post("/queues/act", data={"do": "pause", "queue": "mail", "by": "somebody else"}, headers=OURS)
    assert app.queues()[0].paused_by == "<ann>"
    for path in ("/trail", "/trail.json", "/live?view=trail"):
        assert operator.get(path).status_code == 403
    assert 'href="/trail"' not in operator.get("/").text
    admin = Client(Dashboard(app), app)
    assert 'href="/trail"' in admin.get("/").text
    newest, first = (it["deed"] for it in admin.get("/trail.json").json()["deeds"])
    assert (newest["what"], newest["on"], newest["via"]) == ("pause", "mail", "dashboard")
    assert (first["who"], first["what"], first["on"]) == ("<ann>", "cancel", jid)
    assert "&lt;ann&gt;" in admin.get("/trail").text
    app.write_trail(*(deed("ann", "mute", str(at)) for at in range(100)))
    further = re.search(r'rel="next" href="([^"]+)"', admin.get("/trail").text)
    assert further is not None
    assert "cancel" in admin.get(further[1]).text
    assert admin.get("/trail?before=x").status_code == 400
