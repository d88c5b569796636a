"""Bulk on a filter: preview, steps by form and by program, who may, and what is logged."""

from __future__ import annotations

import logging
import re
from html import unescape

import pytest

from procession import Procession
from procession.bulk import Bulk
from procession.web import Access, Dashboard, Role
from procession.web import bulk as page
from tests.web.conftest import OURS, Client, enqueue, perform


def form_of(shown: str) -> dict[str, str]:
    """The hidden fields of the form that goes on."""
    form = shown.split("data-bulk")[1].split("</form>")[0]
    return {name: unescape(value) for name, value in re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', form)}


def test_all_that_match_are_previewed_and_changed_and_no_others(app: Procession, client: Client) -> None:
    enqueue(app, "fail <b>", "fail hard", "good")
    perform(app)
    enqueue(app, "waits")
    listed = client.get("/jobs?state=failed&q=error:ValueError").text
    assert 'form="all" name="do" value="retry"' in listed
    assert '<form id="all" action="/bulk"><input type="hidden" name="state" value="failed">' in listed
    preview = client.get("/bulk?do=retry&state=failed&q=error:ValueError").text
    assert "<b>2</b> jobs would be queued again" in preview
    assert "shop.deliver" in preview
    assert "fail &lt;b&gt;" in preview
    assert "data-live" not in preview
    assert app.stats().failed == 2, "a preview changes nothing"
    shown = client.post("/bulk", data=form_of(preview), headers=OURS).text
    assert "Done: 2 jobs queued again." in shown
    assert app.stats().queued == 3
    again = client.post("/bulk", data=form_of(shown), headers=OURS).text
    assert "Done: 2 jobs queued again." in again, "a form that is sent twice changes nothing more"
    assert app.stats().queued == 3


def test_a_bulk_goes_on_form_by_form_from_where_it_stands(
    app: Procession, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "SECONDS", 0)
    jids = enqueue(app, *(["a"] * 1_200))
    twin = client.get("/bulk.json?do=cancel&state=queued").json()
    preview = twin["preview"]
    assert (preview["count"], preview["exact"], twin["of"], len(preview["samples"])) == (1_000, False, 1_200, 5)
    later = enqueue(app, "later")
    form = {"do": "cancel", "state": "queued", "place": twin["place"], "of": "1200"}
    seen = []
    for _ in range(10):
        told = client.post("/bulk", data=form, headers={**OURS, "Accept": "application/json"}).json()
        seen.append(told["changed"])
        form["place"] = told["place"]
        if told["done"]:
            break
    assert seen[0] == 500
    assert seen[-1] == 1_200
    assert seen == sorted(seen)
    assert len(seen) > 3
    assert told["says"] == "Done: 1,200 jobs cancelled."
    assert app.find_job(jids[0]).state == "cancelled"  # type: ignore[union-attr]
    assert app.find_job(later[0]).state == "queued", "it came after the preview"  # type: ignore[union-attr]


def test_without_a_script_each_form_says_how_far_it_is_and_how_to_stop(
    app: Procession, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "SECONDS", 0)
    enqueue(app, *(["a"] * 600))
    shown = client.post("/bulk", data=form_of(client.get("/bulk?do=cancel&state=queued").text), headers=OURS).text
    assert "500 jobs cancelled so far; 500 were looked at." in shown
    assert re.search(r'<progress [^>]*max="600" value="500"', shown)
    assert "Go on</button>" in shown
    assert "Stop here, back to the jobs" in shown
    assert app.stats().queued == 100


def test_a_preview_looks_at_a_thousand_and_says_how_many_there_are_where_the_store_counts_them(
    app: Procession, client: Client
) -> None:
    enqueue(app, *(["a"] * 1_001))
    one_state = client.get("/bulk?do=cancel&q=state:queued,delayed").text
    assert "<b>1,001</b> jobs would be cancelled" in one_state
    assert "Of the first 1,000:" in one_state
    assert "Cancel 1,001 jobs</button>" in one_state
    assert "<b>0</b> jobs would be queued again" in client.get("/bulk?do=retry&q=state:queued").text
    assert "<b>1,001</b> jobs would be cancelled" in client.get("/bulk?do=cancel&q=state:scheduled,queued").text
    assert "<b>at least 1,000</b> jobs" in client.get("/bulk?do=cancel&q=state:queued,retrying").text
    filtered = client.get("/bulk?do=cancel&q=queue:mail").text
    assert "<b>at least 1,000</b> jobs would be cancelled" in filtered
    assert "Cancel at least 1,000 jobs</button>" in filtered


def test_what_a_preview_did_not_come_to_can_be_changed_all_the_same(app: Procession, client: Client) -> None:
    enqueue(app, *(["straw"] * 1_001), "needle")
    shown = client.get("/bulk?do=cancel&q=needle").text
    assert "None of the first that were looked at; there are more to look at." in shown
    assert "Cancel those that match</button>" in shown
    assert "Done: 1 job cancelled." in client.post("/bulk", data=form_of(shown), headers=OURS).text


def test_where_nothing_matches_there_is_nothing_to_confirm(client: Client) -> None:
    shown = client.get("/bulk?do=retry&q=queue:nowhere").text
    assert "<b>0</b> jobs would be queued again" in shown
    assert "data-go" not in shown


def test_roles_bound_what_a_bulk_does(app: Procession) -> None:
    enqueue(app, "a")
    cases = ((Role.VIEWER, "cancel", 403), (Role.OPERATOR, "remove", 403), (Role.OPERATOR, "cancel", 200))
    for role, verb, status in cases:
        client = Client(Dashboard(app, auth=lambda _, role=role: Access("ann", role)), app)
        form = {"do": verb, "state": "queued"}
        assert client.post("/bulk", data=form, headers=OURS).status_code == status
        shown = client.get(f"/bulk?do={verb}&state=queued").text
        assert ("one must be" in shown) is (status == 403)
    assert client.post("/bulk", data=form, headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403


def test_what_cannot_be_asked_is_refused_in_words(client: Client) -> None:
    assert client.get("/bulk?do=explode").status_code == 400
    assert client.get("/bulk?do=retry&state=nowhere").status_code == 400
    wrong = client.get("/bulk?do=retry&q=sta:failed")
    assert (wrong.status_code, "<mark>" in wrong.text) == (400, True)
    unseen = client.get("/bulk", params={"do": "retry", "q": "queue:mail \u202e"})
    assert (unseen.status_code, "characters that are not seen" in unseen.text) == (400, True)
    assert "\u202e" not in unseen.text
    assert "Retry all" not in client.get("/jobs", params={"q": "queue:mail \u202e"}).text
    form = {"do": "retry", "state": "failed", "place": "rubbish"}
    answer = client.post("/bulk", data=form, headers=OURS)
    assert (answer.status_code, "begin it anew" in answer.text) == (400, True)


def test_each_step_is_logged_with_its_filter(app: Procession, caplog: pytest.LogCaptureFixture) -> None:
    enqueue(app, "a", "b")
    client = Client(Dashboard(app, auth=lambda _: Access("ann", Role.OPERATOR)), app)
    with caplog.at_level(logging.INFO, "procession.web"):
        client.post("/bulk", data={"do": "cancel", "q": "queue:mail"}, headers=OURS)
    assert "ann: cancel changed 2 of " in caplog.text
    assert "all that match queue:mail" in caplog.text


def test_a_bulk_goes_on_in_another_process_where_it_stood(app: Procession) -> None:
    enqueue(app, *(["a"] * 700))
    first: Bulk = app.bulk("cancel", "state:queued")
    assert first.step().changed == 500
    second = app.bulk("cancel", "state:queued", place=first.place)
    assert (second.as_of, second.progress) == (first.as_of, first.progress)
    for _ in second:
        pass
    assert second.progress.changed == 700
    assert app.bulk("cancel", "state:queued", place=second.place).step() == second.progress, "it is done"
