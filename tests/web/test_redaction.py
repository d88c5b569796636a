"""What is redacted is seen nowhere: on no page, in no twin, no API, no live update, no search."""

from __future__ import annotations

import json
from typing import Any

import pytest
from websockets.sync.client import connect

from procession import Limit, Procession, current_job
from procession.errors import ConfigError
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
    paths += [f"/schedule{twin}?schedule=nightly" for twin in ("", ".json")] + ["/live?view=schedule&schedule=nightly"]
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


def test_what_is_made_of_a_hidden_argument_is_hidden_too(valkey_url: str, namespace: str) -> None:
    app = Procession(valkey_url, namespace=namespace)

    @app.job(name="call", limit=Limit(1, by="token"), unique="{user}/{token}")
    async def call(user: str, token: str) -> None: ...

    first = call.using(headers={"X-Token": SECRET, "lang": "fr"}).enqueue("ada", SECRET)
    second = call.using(unique=f"token={SECRET}", tags=["call", SECRET]).enqueue("eve", SECRET)
    client = Client(Dashboard(app), app)
    jids = [str(it.jid) for it in (first, second)]
    assert [path for path, text in everything(client, jids).items() if SECRET in text] == []
    there = [client.get(f"/api/jobs/{jid}").json() for jid in jids]
    assert [(it["unique"], it["limit"], it["tags"]) for it in there] == [
        (HIDDEN, HIDDEN, []), (f"token={HIDDEN}", HIDDEN, ["call", HIDDEN]),
    ]  # fmt: skip
    assert there[0]["headers"] == {"X-Token": HIDDEN, "lang": "fr"}
    assert f"the limit {HIDDEN}, taken by job {jids[0]}" in client.get(f"/api/jobs/{jids[1]}/why").json()["text"]
    app.flush(confirm=namespace)
    app.close()


def test_a_callback_is_told_what_it_looks_at_and_of_which_job(shop: Any) -> None:
    app, jids = shop

    def mine(kind: str, value: Any, name: str) -> Any:
        if name == "pay" and kind == "args":
            return {**value, "card": "…" + value["card"][-2:]}
        return value

    client = Client(Dashboard(app, redact=[hide_keys("user"), mine]), app)
    assert client.get(f"/api/jobs/{jids[0]}").json()["args"] == {"card": "…11", "api_key": HIDDEN}
    assert client.get(f"/api/jobs/{jids[1]}").json()["args"] == {"user": HIDDEN}


def test_an_error_of_several_jobs_is_hidden_for_each_of_them(valkey_url: str, namespace: str) -> None:
    app = Procession(valkey_url, namespace=namespace)

    async def declined(card: str) -> None:
        raise ValueError("declined for Ada Lovelace")

    @app.job(name="pay", retry=False)
    async def pay(card: str) -> None:
        await declined(card)

    @app.job(name="order", retry=False)
    async def order(card: str) -> None:
        await declined(card)

    for job in (pay, order):
        job.enqueue("4111")
        perform(app)
    assert [it.names for it in app.errors()] == [("pay", "order")]

    def mine(kind: str, value: Any, name: str) -> Any:
        return HIDDEN if (kind, name) == ("error", "pay") else value

    client = Client(Dashboard(app, redact=mine), app)
    assert [it["message"] for it in client.get("/api/errors").json()] == [HIDDEN]
    app.flush(confirm=namespace)
    app.close()


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
        ("that token was bad: try again", "that token was bad: try again"),
        ("{'password': b'hunter2', 'n': 1}", f"{{'password': {HIDDEN}, 'n': 1}}"),
        ("password='it\\'s mine', n=1", f"password={HIDDEN}, n=1"),
        (r"{\"password\": \"hunter2\", \"n\": 1}", rf"{{\"password\": {HIDDEN}, \"n\": 1}}"),
        ("error: accessToken=abc", f"error: accessToken={HIDDEN}"),
        ("api_keys: ['a', 'b']", f"api_keys: {HIDDEN}"),
        ("Key (token)=(abc) already exists", f"Key (token)={HIDDEN}"),
        ("Authorization: Token abcdef\nHost: x", f"Authorization: Token {HIDDEN}\nHost: x"),
        ("Cookie: theme=dark; sid=abc\nHost: x", f"Cookie: {HIDDEN}\nHost: x"),
    ],
)
def test_text_is_searched_for_telling_names(text: str, seen: str) -> None:
    assert hide_keys()("error", text, "") == seen


@pytest.mark.parametrize(
    "key",
    [
        "sessionid", "session-id", "privateKey", "accesskey", "secretkey", "api_keys", "passwords", "oauth2_token",
        "date_of_birth", "dateOfBirth", "пароль", "ПарольБазы",
    ],
)  # fmt: skip
def test_keys_and_text_agree_on_what_is_hidden(key: str) -> None:
    redact = hide_keys("date of birth", "пароль")
    assert redact("args", {key: "x"}, "") == {key: HIDDEN}
    assert redact("error", f"bad {key}=x", "") == f"bad {key}={HIDDEN}"


def test_counts_and_times_are_shown() -> None:
    args = {"max_tokens": 5, "tokens": 7, "monkeys": 2, "key": "k", "date": 1, "session": "s", "compass": "n"}
    assert hide_keys("date of birth")("args", args, "") == args


def test_a_word_that_names_no_key_is_refused() -> None:
    with pytest.raises(ConfigError, match="needs a letter or a digit"):
        hide_keys("iban", "–")


def test_what_was_hidden_from_an_editor_stays_what_it_was() -> None:
    original = {"dsn": "redis://:s3cret@h", "user": "ada", "n": 1, "more": [{"token": "t", "id": 1}, 1], "on": [1, 2]}
    shown = hide_keys()("args", original, "")
    edited = {**shown, "user": "eve", "n": True, "more": [{"token": HIDDEN, "id": 2}, 2], "on": [2]}
    assert kept(shown, original, shown) == original
    assert kept(edited, original, shown) == {
        "dsn": "redis://:s3cret@h", "user": "eve", "n": True, "more": [{"token": "t", "id": 2}, 2], "on": [2],
    }  # fmt: skip
    edited["more"][0]["token"] = edited["dsn"] = "new"
    assert kept(edited, original, shown)["more"][0]["token"] == "new"


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        ({"dsn": f"redis://:{HIDDEN}@other"}, "write out what is hidden"),
        ({"renamed": HIDDEN}, "write out what is hidden"),
        ({"more": [{"token": HIDDEN, "id": 2}]}, "longer or shorter"),
        ({"more": [{"token": HIDDEN, "id": 2}, {"token": HIDDEN, "id": 1}]}, "reordered"),
    ],
)
def test_what_an_editor_does_to_hidden_values_is_refused_where_it_is_not_clear(edit: Any, says: str) -> None:
    original = {"dsn": "redis://:s3cret@h", "more": [{"token": "a", "id": 1}, {"token": "b", "id": 2}]}
    shown = hide_keys()("args", original, "")
    with pytest.raises(ConfigError, match=says):
        kept({**shown, **edit}, original, shown)


def test_a_form_stores_no_value_that_it_hid_in_part(valkey_url: str, namespace: str) -> None:
    app = Procession(valkey_url, namespace=namespace)

    @app.job(name="connect", retry=False)
    async def connect(dsn: str, tries: int) -> None:
        raise ValueError

    jid = str(connect.enqueue("redis://:s3cret@h", 1).jid)
    app.schedules.upsert("nightly", connect.bind("redis://:s3cret@h", 1), every="1h")
    perform(app)
    client = Client(Dashboard(app), app)
    as_shown, changed = (json.dumps({"dsn": f"redis://:{HIDDEN}@{host}", "tries": 2}) for host in ("h", "other"))
    was = client.get("/schedule.json?schedule=nightly").json()["fields"]
    for path, form in (("/edit", {"jid": jid}), ("/schedule/save", was)):
        assert client.post(path, data={**form, "args": changed}, headers=OURS).status_code == 400
        assert client.post(path, data={**form, "args": as_shown}, headers=OURS).status_code == 303
    wanted = {"dsn": "redis://:s3cret@h", "tries": 2}
    assert app.find_job(jid).args == wanted  # type: ignore[union-attr]
    assert json.loads(bytes(app.schedules.find("nightly").schedule.args)) == wanted  # type: ignore[union-attr]
    app.flush(confirm=namespace)
    app.close()
