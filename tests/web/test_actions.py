"""What may be done, by whom and from where."""

from __future__ import annotations

import logging
import socket

import pytest
from starlette.responses import RedirectResponse
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from procession import Procession
from procession.web import Access, Dashboard, Role
from tests.web.conftest import OURS, Client, enqueue, perform, served


def test_finished_jobs_are_retried_and_removed_many_at_once(app: Procession, client: Client) -> None:
    jids = enqueue(app, "fail", "fail", "a")
    perform(app)
    (waiting,) = enqueue(app, "b")
    form = {"do": "retry", "jid": [*jids, waiting], "back": "/jobs?state=failed&done=retry&n=9&of=9"}
    done = client.post("/jobs/act", data=form, headers=OURS)
    assert (done.status_code, done.headers["location"]) == (303, "/jobs?state=failed&done=retry&n=3&of=4")
    assert "3 jobs queued again; 1 left as it is" in client.get(done.headers["location"]).text
    assert app.stats().queued == 4
    client.post("/jobs/act", data={"do": "cancel", "jid": jids[0], "back": "/"}, headers=OURS)
    client.post("/jobs/act", data={"do": "remove", "jid": jids[1], "back": "/"}, headers=OURS)
    assert [job and job.state for job in map(app.find_job, jids)] == ["cancelled", None, "queued"]


def test_a_queue_is_paused_with_a_reason_and_resumed(app: Procession, client: Client) -> None:
    enqueue(app, "a")
    client.post("/queues/act", data={"do": "pause", "queue": "mail", "reason": "too <hot>"}, headers=OURS)
    assert app.queues()[0].reason == "too <hot>"
    assert "too &lt;hot&gt;" in client.get("/queues").text
    client.post("/queues/act", data={"do": "resume", "queue": "mail"}, headers=OURS)
    assert not app.queues()[0].paused


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site", "Origin": "http://127.0.0.1"},
    ],
)
def test_an_action_that_did_not_come_from_our_own_page_is_refused(
    app: Procession, client: Client, headers: dict[str, str]
) -> None:
    (jid,) = enqueue(app, "a")
    for path, form in (("/jobs/act", {"do": "cancel", "jid": jid}), ("/queues/act", {"do": "pause", "queue": "mail"})):
        assert client.post(path, data=form, headers=headers).status_code == 403
    assert app.stats().queued == 1
    assert not app.queues()[0].paused


def test_an_action_is_taken_with_our_own_origin_where_the_browser_says_no_more(app: Procession, client: Client) -> None:
    (jid,) = enqueue(app, "a")
    answer = client.post(
        "/jobs/act",
        data={"do": "cancel", "jid": jid},
        headers={"Origin": "http://127.0.0.1", "Accept": "application/json"},
    )
    assert answer.json() == {"changed": 1, "asked": 1}


def test_roles_bound_what_is_done_and_not_only_what_is_offered(app: Procession) -> None:
    (jid,) = enqueue(app, "a")
    viewer = Client(Dashboard(app, auth=lambda _: Access("eve")), app)
    operator = Client(Dashboard(app, auth=lambda _: Access("ann", Role.OPERATOR)), app)
    reading = Client(Dashboard(app, read_only=True), app)
    for client, verb in ((viewer, "cancel"), (reading, "cancel"), (reading, "remove"), (operator, "remove")):
        assert client.post("/jobs/act", data={"do": verb, "jid": jid}, headers=OURS).status_code == 403
    assert operator.post("/jobs/act", data={"do": "cancel", "jid": jid}, headers=OURS).status_code == 303


def test_without_auth_only_this_machine_is_answered(app: Procession) -> None:
    elsewhere = Client(Dashboard(app), app, peer="192.0.2.7")
    assert elsewhere.get("/").status_code == 403
    assert "auth=" in elsewhere.get("/").text
    for answer in (elsewhere.get("/static/nothing"), elsewhere.post("/healthz")):
        assert answer.status_code in (404, 405)
        assert app.settings.namespace not in answer.text
    rebound = Client(Dashboard(app), app, base="http://evil.example")
    assert rebound.get("/").status_code == 403
    behind_a_proxy = Client(Dashboard(app), app)
    for header in ("X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "Via"):
        assert behind_a_proxy.get("/", headers={header: "192.0.2.7"}).status_code == 403
    for name in ("localhost:8686", "127.0.0.1:8686", "[::1]:8686"):
        assert Client(Dashboard(app), app, base=f"http://{name}").get("/").status_code == 200


def test_without_auth_a_proxy_that_says_nothing_of_itself_is_not_this_machine(
    app: Procession, client: Client
) -> None:
    with served(Dashboard(app)) as address:
        port = int(address.rpartition(":")[2])
        for version, answer in (("1.1", b"200 OK"), ("1.0", b"403 Forbidden")):  # nginx: HTTP/1.0, and our own name
            with socket.create_connection(("127.0.0.1", port), timeout=10) as line:
                line.sendall(f"GET /api/stats HTTP/{version}\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
                assert answer in line.recv(1_000)
    form, elsewhere = {"do": "pause", "queue": "mail"}, {**OURS, "Origin": "https://ops.example"}
    assert client.post("/queues/act", data=form, headers=elsewhere).status_code == 403


def test_an_auth_may_be_async_may_refuse_and_may_lead_to_a_login(app: Procession) -> None:
    async def login(request: object) -> RedirectResponse:
        return RedirectResponse("/login", 303)

    assert Client(Dashboard(app, auth=login), app).get("/").headers["location"] == "/login"
    assert Client(Dashboard(app, auth=lambda _: None), app).get("/").status_code == 403


@pytest.mark.parametrize(
    "back",
    [
        "https://evil.example/", "//evil.example/", "/\\evil.example", "javascript:1", "", "////evil.example/x",
        "/\\/\\evil.example", "http://[",
    ],
)  # fmt: skip
def test_an_action_leads_back_to_our_own_pages_only(client: Client, back: str) -> None:
    form = {"do": "pause", "queue": "mail", "back": back}
    assert client.post("/queues/act", data=form, headers=OURS).headers["location"].startswith("/?done=pause")


@pytest.mark.parametrize("headers", [{"Host": "["}, {"Origin": "http://["}, {"Origin": "null", "Host": ""}])
def test_an_address_that_is_none_is_refused(client: Client, headers: dict[str, str]) -> None:
    assert client.post("/queues/act", data={"do": "pause", "queue": "mail"}, headers=headers).status_code == 403


def test_wrong_forms_are_refused_in_words(client: Client) -> None:
    for path, form in (
        ("/jobs/act", {"do": "explode"}),
        ("/jobs/act", {"do": "retry", "jid": "rubbish"}),
        ("/queues/act", {"do": "pause", "queue": "a b"}),
        ("/jobs/act", {"do": "retry", "jid": "x" * 70_000}),
        ("/jobs/act", {"do": "retry", "jid": ["x"] * 2_000}),
    ):
        answer = client.post(path, data=form, headers=OURS)
        assert (answer.status_code, "That did not work" in answer.text) == (400, True)


def test_who_did_what_is_logged(app: Procession, caplog: pytest.LogCaptureFixture) -> None:
    (jid,) = enqueue(app, "a")
    client = Client(Dashboard(app, auth=lambda _: Access("ann", Role.OPERATOR)), app)
    with caplog.at_level(logging.INFO, "procession.web"):
        client.post("/jobs/act", data={"do": "cancel", "jid": jid}, headers=OURS)
    assert f"ann: cancel changed 1 of 1: {jid}" in caplog.text


def test_the_theme_is_kept_in_a_cookie(client: Client) -> None:
    client.post("/theme", data={"theme": "dark", "back": "/queues"}, headers=OURS)
    assert 'data-theme="dark"' in client.get("/queues").text
    client.post("/theme", data={"theme": "auto", "back": "/queues"}, headers=OURS)
    assert "data-theme" not in client.get("/queues").text


def test_a_socket_is_refused_where_it_was_not_opened_by_our_own_page(app: Procession) -> None:
    with served(Dashboard(app)) as address:
        live = address.replace("http", "ws") + "/live?view=overview"
        for origin in (None, "http://evil.example", "null"):
            with pytest.raises(InvalidStatus) as refused:
                connect(live, origin=origin, proxy=None)  # type: ignore[arg-type]
            assert refused.value.response.status_code == 403
        with connect(live, origin=address, proxy=None) as line:  # type: ignore[arg-type]
            assert "flow" in line.recv(timeout=10)
