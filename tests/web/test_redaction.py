"""What is redacted is seen nowhere: on no page, in no twin, no API, no live update, no search."""

from __future__ import annotations

import json
from typing import Any

import pytest
from websockets.sync.client import connect

from procession import Procession, current_job
from procession.sealing import Encrypted
from procession.web import HIDDEN, Dashboard, hide_keys
from procession.web.redaction import kept
from tests.web.conftest import OURS, Client, perform, served

SECRET = "s3cr3t-value"


@pytest.fixture(params=["plain", "sealed"])
def shop(request: pytest.FixtureRequest, valkey_url: str, namespace: str) -> Any:
    """An app that spills its secret in every way there is, and the jid of the job that did."""
    codec = [] if request.param == "plain" else [Encrypted([b"k" * 32])]
    app = Procession(valkey_url, namespace=namespace, codec=codec)

    @app.job(name="pay", queue="q", retry=False)
    async def pay(card: str, api_key: str) -> None:
        current_job().progress(0.5, f"token={api_key}")
        current_job().log.warning("connecting to redis://me:%s@host/0", api_key)
        raise ValueError(f"password: {api_key}")

    @app.job(name="login", queue="q")
    async def login(user: str) -> dict[str, Any]:
        return {"user": user, "accessToken": SECRET, "headers": [["Authorization", f"Bearer {SECRET}"]]}

    bad = pay.using(unique=f"secret={SECRET}").enqueue("4111", SECRET)
    good = login.enqueue("ada")
    perform(app)
    waiting = pay.using(delay="1h").enqueue("4111", SECRET)
    app.schedules.upsert("nightly", pay.bind("4111", SECRET), cron="0 3 * * *")
    yield app, [str(it.jid) for it in (bad, good, waiting)]
    app.flush(confirm=namespace)
    app.close()


def everything(client: Client, jids: list[str]) -> dict[str, str]:
    """Whatever a reader can read."""
    states = [f"?state={it}" for it in ("delayed", "processed", "failed")]
    paths = ["/", "/overview.json", "/errors", "/errors.json", "/schedules.json", "/queues.json", "/workers.json"]
    paths += [f"/jobs{twin}{query}" for twin in ("", ".json") for query in states]
    paths += [f"/jobs/{jid}{twin}" for jid in jids for twin in ("", ".json")]
    paths += [f"/live?view={view}" for view in ("overview", "errors")] + [f"/live?view=job&jid={jid}" for jid in jids]
    paths += [f"/api/jobs/{jid}{part}" for jid in jids for part in ("", "/log", "/why")]
    paths += ["/api/jobs", "/api/errors", "/api/schedules", "/api/bulk/preview?verb=retry&filter="]
    return {path: client.get(path, headers=OURS).text for path in paths}


def test_values_of_telling_keys_are_hidden_everywhere(shop: Any) -> None:
    app, jids = shop
    seen = everything(Client(Dashboard(app), app), jids)
    assert [path for path, text in seen.items() if SECRET in text] == []
    job = json.loads(seen[f"/api/jobs/{jids[0]}"])
    assert job["args"] == {"card": "4111", "api_key": HIDDEN}
    assert job["failures"][0]["message"] == f"password: {HIDDEN}"
    assert "redis://me:" in seen[f"/api/jobs/{jids[0]}/log"]
    assert json.loads(seen[f"/api/jobs/{jids[1]}"])["result"] == {
        "user": "ada", "accessToken": HIDDEN, "headers": [["Authorization", HIDDEN]],
    }  # fmt: skip
    found = app.find_job(jids[0])
    assert found is not None
    assert found.args["api_key"] == SECRET  # who asks the app itself is shown all


def test_nothing_is_hidden_from_whoever_says_so(shop: Any) -> None:
    app, jids = shop
    assert SECRET in Client(Dashboard(app, redact=None), app).get(f"/jobs/{jids[0]}").text


def test_a_callback_is_told_what_it_looks_at_and_of_which_job(shop: Any) -> None:
    app, jids = shop

    def mine(kind: str, value: Any, name: str) -> Any:
        if name == "pay" and kind == "args":
            return {**value, "card": "…" + value["card"][-2:]}
        return value

    client = Client(Dashboard(app, redact=[hide_keys("user"), mine]), app)
    assert client.get(f"/api/jobs/{jids[0]}").json()["args"] == {"card": "…11", "api_key": HIDDEN}
    assert client.get(f"/api/jobs/{jids[1]}").json()["args"] == {"user": HIDDEN}


def test_what_a_callback_raises_on_is_hidden_altogether(shop: Any) -> None:
    app, jids = shop

    def broken(kind: str, value: Any, name: str) -> Any:
        raise LookupError(name)

    job = Client(Dashboard(app, redact=broken), app).get(f"/api/jobs/{jids[0]}").json()
    assert (job["args"], job["failures"][0]["traceback"], job["progress"]["text"]) == ({HIDDEN: HIDDEN}, HIDDEN, HIDDEN)


def test_a_hidden_value_cannot_be_guessed_by_searching_nor_changed_on_by_a_bulk(shop: Any) -> None:
    app, _ = shop
    client = Client(Dashboard(app), app)
    assert client.get("/api/jobs", params={"filter": f"args.api_key:{SECRET}"}).json()["jobs"] == []
    assert client.get("/jobs.json", params={"q": f'"{SECRET}"'}).json()["jobs"] == []
    did = client.post("/api/bulk/retry", json={"filter": f"args.api_key:{SECRET}"}, headers=OURS).json()
    assert (did["changed"], did["done"]) == (0, True)
    found = client.get("/api/jobs", params={"filter": "args.card:4111"}).json()["jobs"]
    assert len(found) == (0 if app.registry.policies.sealing else 2)


def test_a_live_update_is_redacted_too(shop: Any) -> None:
    app, jids = shop
    with served(Dashboard(app)) as address:
        socket = f"{address.replace('http', 'ws')}/live?view=job&jid={jids[0]}"
        with connect(socket, origin=address, proxy=None) as line:  # type: ignore[arg-type]
            said = line.recv(timeout=10)
    assert "ValueError" in said
    assert SECRET not in said


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("max_tokens=5, tokens: 7", "max_tokens=5, tokens: 7"),
        ("Authorization: Bearer abc.def", f"Authorization: Bearer {HIDDEN}"),
        ('{"db_password": "a b", "x": 1}', f'{{"db_password": {HIDDEN}, "x": 1}}'),
        ("X-Api-Key=abc&y=2", f"X-Api-Key={HIDDEN}&y=2"),
        ("amqp://u:p@ss@h and http://h:80/a", f"amqp://u:{HIDDEN}@ss@h and http://h:80/a"),
        ("the password is wrong", "the password is wrong"),
    ],
)
def test_text_is_searched_for_telling_names(text: str, seen: str) -> None:
    assert hide_keys()("error", text, "") == seen


def test_what_was_hidden_from_an_editor_stays_what_it_was() -> None:
    original = {"user": "ada", "password": "x", "more": [{"token": "t"}, 1]}
    edited = {"user": "eve", "password": HIDDEN, "more": [{"token": HIDDEN}, 2, 3]}
    assert kept(edited, original) == {"user": "eve", "password": "x", "more": [{"token": "t"}, 2, 3]}
