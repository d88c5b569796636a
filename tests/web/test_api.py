"""The API: documented as it is served, by the rules of the pages, and what is done through it is written down."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from procession import Procession
from procession.web import Access, Dashboard, Role
from procession.web.api import ENDPOINTS
from tests.web.conftest import OURS, Client, enqueue, perform


@pytest.fixture
def here(namespace: str) -> Any:
    from tests.web.conftest import made

    app = made(f"memory://{namespace}", namespace)
    yield app
    app.flush(confirm=namespace)


def test_the_document_is_valid_and_names_every_endpoint_and_its_role(here: Procession) -> None:
    document = Client(Dashboard(here), here).get("/api/openapi.json").json()
    OpenAPIV31SpecValidator(document).validate()
    said = {(method.upper(), path) for path, its in document["paths"].items() for method in its}
    assert said == {(it.method, it.path.replace(":path", "")) for it in ENDPOINTS}
    names = [its["operationId"] for path in document["paths"].values() for its in path.values()]
    assert len(names) == len(set(names))
    assert document["paths"]["/api/jobs/remove"]["post"]["description"] == "Role: admin."


def schema_of(document: Any, method: str, path: str) -> Any:
    operation = document["paths"][path][method.lower()]
    schema = operation["responses"]["200"]["content"]["application/json"]["schema"]
    return {**schema, "components": document["components"]}


def test_what_is_answered_is_what_the_document_says(app: Procession, client: Client) -> None:
    good, bad = enqueue(app, "a", "fail because")
    perform(app)
    (waiting,) = enqueue(app, "b")
    app.pause("mail", "too hot")
    client.post("/api/queues/mail/resume", json={}, headers=OURS)
    app.ask(app.database.heartbeat("w", lease=60_000, info=b'{"host": "h", "queues": ["mail"]}'))
    document = client.get("/api/openapi.json").json()
    asked = {
        "/api/stats": {}, "/api/history": {"since": "5m"}, "/api/jobs": {"filter": "queue:mail", "state": "failed"},
        "/api/queues": {}, "/api/workers": {}, "/api/schedules": {}, "/api/errors": {"limit": "10"}, "/api/trail": {},
        "/api/bulk/preview": {"verb": "retry", "filter": "state:failed"},
    }  # fmt: skip
    for path, params in asked.items():
        answer = client.get(path, params=params)
        assert answer.status_code == 200, answer.text
        Draft202012Validator(schema_of(document, "GET", path)).validate(answer.json())
    for jid in (good, bad, waiting):
        for part in ("", "/log", "/why"):
            answer = client.get(f"/api/jobs/{jid}{part}").json()
            Draft202012Validator(schema_of(document, "GET", f"/api/jobs/{{jid}}{part}")).validate(answer)
    assert client.get("/api/jobs", params={"state": "failed,processed", "limit": 1}).json()["cursor"]
    assert {path for path in document["paths"] if "get" in document["paths"][path]} == {
        *asked, "/api/jobs/{jid}", "/api/jobs/{jid}/log", "/api/jobs/{jid}/why",
    }  # fmt: skip


def test_everything_can_be_done_and_is_written_down_with_the_name_of_who_did_it(here: Procession) -> None:
    bad, other = enqueue(here, "fail 1", "fail 2")
    perform(here)
    here.ask(here.database.heartbeat("w", lease=60_000, info=b"{}"))
    client = Client(Dashboard(here, auth=lambda _: Access("ann", Role.ADMIN)), here)

    def post(path: str, body: Any = None) -> Any:
        answer = client.post(path, json=body or {}, headers=OURS)
        assert answer.status_code == 200, answer.text
        return answer.json()

    assert post("/api/jobs/retry", {"jids": [bad]}) == {"changed": 1, "asked": 1}
    assert post("/api/bulk/retry", {"filter": "state:failed"})["changed"] == 1
    assert post("/api/jobs/cancel", {"jids": [bad, other]})["changed"] == 2
    assert post("/api/jobs/remove", {"jids": [bad]})["changed"] == 1
    assert post("/api/bulk/remove", {"filter": "state:cancelled"})["changed"] == 1
    post("/api/queues/mail/pause", {"reason": "too hot"})
    assert here.queues()[0].paused_by == "ann"
    post("/api/queues/mail/resume")
    for verb in ("quiet", "resume", "stop"):
        post(f"/api/workers/w/{verb}")
    assert here.ask(here.database.orders(["w"]))[0][0].verb == "stop"
    fingerprint = here.errors()[0].fingerprint
    post(f"/api/errors/{fingerprint}/mute", {"for": "2h"})
    deeds = [(it.what, it.changed, it.on) for it in reversed(here.trail())]
    assert deeds == [
        ("retry", 1, bad), ("retry", 1, "state:failed"), ("cancel", 2, f"{bad} {other}"), ("remove", 1, bad),
        ("remove", 1, "state:cancelled"), ("pause", 1, "mail"), ("resume", 1, "mail"), ("quiet", 1, "w"),
        ("resume-worker", 1, "w"), ("stop-worker", 1, "w"), ("mute", 1, fingerprint),
    ]  # fmt: skip
    assert {(it.who, it.via) for it in here.trail()} == {("ann", "api")}


def test_a_bulk_that_needs_many_requests_goes_on_where_the_last_one_was(
    here: Procession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("procession.web.api.STEPS", 0.0)  # one step of at most 500 jobs for each request
    enqueue(here, *["a"] * 1_100, *["b"] * 3)
    client = Client(Dashboard(here), here)
    asked: dict[str, Any] = {"filter": "args.what:a"}
    changed = requests = 0
    while True:
        answer = client.post("/api/bulk/cancel", json=asked, headers=OURS).json()
        changed, requests = changed + answer["changed"], requests + 1
        if answer["done"]:
            break
        asked |= {"place": answer["place"]}
    assert (changed, here.counts().cancelled, requests > 2) == (1_100, 1_100, True)
    too_late = {"filter": "args.what:b", "as_of": 10**18}
    assert client.post("/api/bulk/cancel", json=too_late, headers=OURS).status_code == 400


def test_what_cannot_be_done_is_answered_in_json_that_says_what_to_do(here: Procession) -> None:
    client = Client(Dashboard(here), here)
    nobody = "019a0000-0000-7000-8000-000000000000"
    for method, path, body, status, says in (
        ("GET", f"/api/jobs/{nobody}", None, 404, "no job"),
        ("GET", "/api/jobs?filter=(", None, 400, "filter"),
        ("GET", "/api/jobs?limit=a", None, 400, "must be a number"),
        ("GET", f"/api/trail?before={'0' * 19}{'9' * 5_000}", None, 400, "must be a number"),
        ("GET", "/api/nowhere", None, 404, "openapi.json"),
        ("POST", "/api/stats", {}, 405, "openapi.json"),
        ("POST", "/api/jobs/retry", {"ids": []}, 400, "openapi.json"),
        ("POST", "/api/jobs/retry", {"jids": ["x"]}, 400, "not a UUID"),
        ("POST", "/api/jobs/retry", {"jids": [nobody] * 1_001}, 400, "/api/bulk"),
        ("POST", "/api/jobs/retry", {"jids": ["x" * 70_000]}, 400, "longer than"),
        ("POST", "/api/workers/w/quiet", {}, 404, "procession workers"),
        ("POST", "/api/schedules/s/pause", {}, 404, "schedule"),
    ):
        answer = client.get(path) if method == "GET" else client.post(path, json=body, headers=OURS)
        assert (answer.status_code, says in answer.json()["error"]) == (status, True), answer.text


def test_roles_and_origins_bound_it_as_they_bound_the_pages(here: Procession) -> None:
    (jid,) = enqueue(here, "a")
    viewer = Client(Dashboard(here, auth=lambda _: Access("eve")), here)
    operator = Client(Dashboard(here, auth=lambda _: Access("ann", Role.OPERATOR)), here)
    nobody = Client(Dashboard(here, auth=lambda _: None), here)
    for client, path, role in (
        (viewer, "/api/jobs/cancel", "operator"), (operator, "/api/jobs/remove", "admin"),
        (operator, "/api/workers/w/stop", "admin"), (viewer, "/api/workers/w/stack", "operator"),
    ):  # fmt: skip
        answer = client.post(path, json={"jids": [jid]}, headers=OURS)
        assert (answer.status_code, role in answer.json()["error"]) == (403, True)
    assert operator.get("/api/trail").status_code == 403
    assert nobody.get("/api/stats").json() == {"error": "Refused: not for you."}
    for headers in ({}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "http://evil.example"}):
        refused = operator.post("/api/jobs/cancel", json={"jids": [jid]}, headers=headers)
        assert (refused.status_code, "did not come from a page" in refused.json()["error"]) == (403, True)
    assert here.stats().queued == 1
    assert here.trail() == []


def test_every_path_of_the_document_tells_its_parameters() -> None:
    for it in ENDPOINTS:
        named = re.findall(r"{(\w+)", it.path)
        assert len(named) == len(set(named))
        msgspec.json.schema(it.answer)
