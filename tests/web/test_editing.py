"""Edit and retry on the page of a job, in memory: the form, what is checked, and what it does."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from html import unescape

import pytest

from procession import Procession
from procession.sealing import Zlib
from procession.web import Access, Dashboard, Role
from tests.web.conftest import HOSTILE, OURS, Client, enqueue, made, perform


@pytest.fixture
def app(namespace: str) -> Iterator[Procession]:
    app = made(f"memory://{namespace}", namespace)
    yield app
    app.flush(confirm=namespace)
    app.close()


def failed(app: Procession, what: str = "fail") -> str:
    (jid,) = enqueue(app, what)
    perform(app)
    return jid


def form_of(shown: str) -> dict[str, str]:
    fields = dict(re.findall(r'type="hidden" name="(jid|finish_at)" value="([^"]*)"', shown))
    area = re.search(r'<textarea id="args"[^>]*>\n(.*?)</textarea>', shown, re.DOTALL)
    assert area is not None
    return {**fields, "args": unescape(area[1])}


def test_a_finished_job_is_edited_and_retried(app: Procession, client: Client) -> None:
    jid = failed(app)
    assert f'href="/edit?jid={jid}"' in client.get(f"/jobs/{jid}").text
    shown = client.get(f"/edit?jid={jid}").text
    assert "deliver(what: &#39;str&#39;) -&gt; &#39;str&#39;" in shown
    form = form_of(shown)
    assert json.loads(form["args"]) == {"what": "fail"}
    done = client.post("/edit", data={**form, "args": '{"what": "fine"}'}, headers=OURS)
    assert (done.status_code, done.headers["location"]) == (303, f"/jobs/{jid}?done=edit&n=1&of=1")
    assert "1 job queued again with these arguments." in client.get(done.headers["location"]).text
    perform(app)
    job = app.find_job(jid)
    assert job is not None
    assert (job.state, job.args, len(job.failures)) == ("processed", {"what": "fine"}, 1)
    late = client.post("/edit", data=form, headers=OURS)
    assert late.headers["location"].endswith("done=edit&n=0&of=1"), "it was finished anew since the form was made"


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        ('{"what": 5}', "these arguments do not fit"),
        ('{"who": "x"}', "these arguments do not fit"),
        ("{}", "is missing"),
        ('["x"]', "no JSON object"),
        ("<b>", "no JSON object"),
    ],
)
def test_what_does_not_fit_is_said_beside_what_was_typed(
    app: Procession, client: Client, typed: str, says: str
) -> None:
    jid = failed(app)
    form = {**form_of(client.get(f"/edit?jid={jid}").text), "args": typed}
    answer = client.post("/edit", data=form, headers=OURS)
    assert answer.status_code == 400
    assert says in answer.text
    assert form_of(answer.text)["args"] == typed
    assert "<b>" not in answer.text.split("<textarea")[1].split("</textarea>")[0]
    assert says in client.post("/edit", data=form, headers={**OURS, "Accept": "application/json"}).json()["error"]
    assert app.stats().failed == 1


def test_what_is_unseen_makes_the_round_trip_through_the_form(app: Procession, client: Client) -> None:
    jid = failed(app, f"fail\r\n{HOSTILE}")
    form = form_of(client.get(f"/edit?jid={jid}").text)
    assert "\u202e" not in form["args"]
    client.post("/edit", data={**form, "args": form["args"].replace("\n", "\r\n")}, headers=OURS)
    assert app.find_job(jid).args == {"what": f"fail\r\n{HOSTILE}"}  # type: ignore[union-attr]


def test_an_app_that_does_not_know_the_job_checks_nothing_and_says_so(app: Procession, namespace: str) -> None:
    jid = failed(app)
    looking = Procession(app.settings.url, namespace=namespace)
    client = Client(Dashboard(looking), looking)
    shown = client.get(f"/edit?jid={jid}").text
    assert "is not checked before it runs" in shown
    client.post("/edit", data={**form_of(shown), "args": '{"other": 1}'}, headers=OURS)
    assert app.find_job(jid).args == {"other": 1}  # type: ignore[union-attr]


def test_what_cannot_be_edited_is_said_so_and_has_no_form(app: Procession, client: Client, namespace: str) -> None:
    (waiting,) = enqueue(app, "a")
    assert "It is queued now" in client.get(f"/edit?jid={waiting}").text
    assert "no such job" in client.get("/edit?jid=019a0000-0000-7000-8000-000000000000").text
    assert client.get("/edit?jid=rubbish").status_code == 400
    sealing = Procession(app.settings.url, namespace=namespace, codec=[Zlib(threshold=0)])

    @sealing.job(name="shop.deliver", queue="mail", retry=False)
    def deliver(what: str) -> None: ...

    jid = str(deliver.enqueue("x" * 2_000).jid)
    app.cancel(jid)
    shown = client.get(f"/edit?jid={jid}").text
    assert "Its arguments are sealed" in shown
    assert "<textarea" not in shown
    answer = client.post("/edit", data={"jid": jid, "args": "{}"}, headers=OURS)
    assert (answer.status_code, "sealed" in answer.text) == (400, True)
    opening = Client(Dashboard(sealing), sealing)
    form = form_of(opening.get(f"/edit?jid={jid}").text)
    opening.post("/edit", data={**form, "args": '{"what": "y"}'}, headers=OURS)
    assert sealing.find_job(jid).args == {"what": "y"}  # type: ignore[union-attr]


def test_a_viewer_edits_nothing(app: Procession) -> None:
    jid = failed(app)
    eve = Client(Dashboard(app, auth=lambda _: Access("eve", Role.VIEWER)), app)
    assert "/edit?jid" not in eve.get(f"/jobs/{jid}").text
    assert "<textarea" not in eve.get(f"/edit?jid={jid}").text
    assert eve.post("/edit", data={"jid": jid, "args": "{}"}, headers=OURS).status_code == 403
