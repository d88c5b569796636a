"""`procession check`: an old app filled the store, a new one is asked whether it fits; on a real server."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.fernet import Fernet

from procession import ConfigError, Encrypted, Procession
from procession import check as checking
from procession.check import Checked
from procession.runtime.queue_worker import QueueWorker
from tests.runtime.working import until, working

OLD = """
from procession import Procession
app = Procession()

@app.job(name="send", queue="mail")
def send(to: str, count: int = 1, cc: str = ""): ...

@app.job(name="shop.tidy_up", retry=False)
def tidy_up():
    raise OSError("full")

@app.job(name="kept")
def kept(n: int): ...
"""
NEW = """
from procession import Procession
app = Procession()

@app.job(name="send", queue="post")
def send(to: str, subject: str, count: str = "1"): ...

@app.job(name="shop.tidying_up")
def tidying_up(): ...

@app.job(name="keeping", aliases=["kept"])
def keeping(n: int, more: int = 0): ...
"""
Pair = Callable[..., tuple[Any, Any]]


def loaded(text: str, url: str, namespace: str, **settings: Any) -> Any:
    """A module made of its text, with its app at this store."""
    names: dict[str, Any] = {"__name__": "shop"}
    made = text.replace("Procession()", "Procession(*WHERE, **SETTINGS)")
    names |= {"WHERE": (url,), "SETTINGS": {"namespace": namespace, **settings}}
    exec(compile(made, "shop.py", "exec", dont_inherit=True), names)
    return names


@pytest.fixture
def pair(valkey_url: str, namespace: str) -> Iterator[Pair]:
    apps: list[Procession] = []

    def make(**settings: Any) -> tuple[Any, Any]:
        found = tuple(loaded(text, valkey_url, namespace, **settings) for text in (OLD, NEW))
        apps.extend(it["app"] for it in found)
        return found

    yield make
    apps[0].flush(confirm=namespace)
    for app in apps:
        app.close()


def summary(checked: Checked) -> list[tuple[str, str, str, int]]:
    return sorted((it.kind, it.name, it.grade, it.count) for it in checked.findings)


def test_the_code_that_filled_the_store_fits_it(pair: Pair) -> None:
    old, _ = pair()
    old["send"].enqueue("ada", cc="bob")
    old["tidy_up"].using(delay="1h").enqueue()
    checked = old["app"].check()
    assert (checked.fits, checked.complete, checked.findings) == (True, True, ())
    assert {name: number for name, number in checked.looked_at.items() if number} == {"queued": 1, "delayed": 1}


def test_everything_that_no_longer_fits_is_said_at_once_each_with_what_to_do(pair: Pair) -> None:
    old, new = pair()
    old["send"].enqueue("ada", 2, cc="bob")
    first = old["send"].using(delay="1h").enqueue("eve")
    old["tidy_up"].enqueue()
    old["kept"].enqueue(1)
    checked = new["app"].check()
    assert summary(checked) == [
        ("extra", "send", "problem", 1),
        ("missing", "send", "problem", 2),
        ("name", "shop.tidy_up", "problem", 1),
        ("queue", "mail", "problem", 2),
        ("value", "send", "problem", 1),
    ]
    said = {it.kind: (it.says, it.do) for it in checked.findings}
    assert said["missing"][0].startswith("`subject` is needed by send(to: str, subject: str")
    assert said["extra"][0].startswith("`cc` is no parameter of")
    assert "Expected `str`, got `int`" in said["value"][0]
    assert said["name"][0].endswith("shop.tidying_up is there")
    assert "aliases=['shop.tidy_up']" in said["name"][1]
    missing = next(it for it in checked.findings if it.kind == "missing")
    assert missing.states == {"queued": 1, "delayed": 1}
    assert str(first.jid) in missing.samples
    assert [it.count for it in checked.findings] == sorted((it.count for it in checked.findings), reverse=True)


def test_what_has_failed_already_is_a_warning(pair: Pair) -> None:
    old, new = pair()
    handle = old["tidy_up"].enqueue()
    assert summary(new["app"].check()) == [("name", "shop.tidy_up", "problem", 1)]
    asyncio.run(QueueWorker(old["app"], burst=True).run())
    assert handle.job().state == "failed"
    checked = new["app"].check()
    assert summary(checked) == [("name", "shop.tidy_up", "warning", 1)]
    assert checked.fits


def test_schedules_are_compared_too(pair: Pair) -> None:
    old, new = pair()
    old["app"].schedules.upsert("nightly", old["tidy_up"], cron="0 3 * * *")
    old["app"].schedules.upsert("mails", old["send"].bind("ada", 2), every="1h")
    old["app"].schedules.upsert("keep", old["kept"].bind(1), every="1h")
    checked = new["app"].check(queues=["mail", "default"])
    assert {(it.kind, it.name) for it in checked.findings} == {("schedule", "nightly"), ("schedule", "mails")}
    assert any("procession schedules remove nightly" in it.do for it in checked.findings)
    assert any("`subject` is needed" in it.says for it in checked.findings)


async def declared(app: Procession, number: int) -> None:
    """A worker begins, stores what stands in code, and ends."""
    async with working(app, queues=["other"]):
        await until(lambda: len(app.schedules.list()) == number)


def test_a_schedule_that_stands_in_code_is_stored_anew_or_rests(pair: Pair) -> None:
    old, new = pair()
    for name in ("nightly", "weekly"):
        old["app"].cron("0 3 * * *", name=name)(old["tidy_up"])
    asyncio.run(declared(old["app"], 2))
    new["app"].cron("0 4 * * *", name="nightly")(new["tidying_up"])
    checked = new["app"].check(queues=["default"])
    assert summary(checked) == [("schedule", "weekly", "warning", 1)]
    assert checked.fits
    assert checked.findings[0].do.startswith("leave it: it rests")
    assert summary(new["app"].check(queues=["mail"])) == [
        ("queue", "default", "problem", 1),
        ("queue", "default", "warning", 1),
        ("schedule", "weekly", "warning", 1),
    ]


def test_queues_are_said_as_to_a_worker_or_by_the_settings(pair: Pair) -> None:
    old, new = pair(queues="mail:3, default")
    old["send"].using(delay="1h").enqueue("ada")
    old["kept"].enqueue(1)
    assert "queue" not in {it.kind for it in new["app"].check().findings}
    assert "queue" not in {it.kind for it in new["app"].check(queues=["default:2", "mail"]).findings}
    (other,) = (it for it in new["app"].check(queues=["mail:2"]).findings if it.kind == "queue")
    assert other.says == "neither workers of this code nor any that is alive serve the queue default"
    with pytest.raises(ConfigError, match="queue name 'a b'"):
        new["app"].check(queues=["a b"])


RATES = {"EUR": 1.0}


@dataclass
class Price:
    currency: str

    def __post_init__(self) -> None:
        self.rate = RATES[self.currency]


def test_what_a_type_of_the_app_raises_is_a_finding(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = pair()

    def pay(price: Price) -> None: ...

    old["app"].job(name="pay")(pay).enqueue(Price("EUR"))
    new["app"].job(name="pay")(pay)
    monkeypatch.delitem(RATES, "EUR")
    found = [(it.kind, it.name, it.says) for it in new["app"].check().findings]
    assert found == [("value", "pay", "a stored `price` is none any more: KeyError: 'EUR'")]


def test_sealed_arguments_are_opened_or_said_to_be_closed(pair: Pair, valkey_url: str, namespace: str) -> None:
    key = Fernet.generate_key().decode()
    old, new = pair(codec=[Encrypted([key])])
    old["send"].enqueue("ada", 2)
    assert ("value", "send", "problem", 1) in summary(new["app"].check())
    other = loaded(OLD, valkey_url, namespace)["app"]
    assert summary(other.check()) == [("sealed", "send", "problem", 1)]
    other.close()


def test_it_looks_at_a_page_at_a_time_and_at_no_more_than_asked(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checking, "TRIP", 10)
    old, new = pair()
    old["app"].enqueue_many(old["tidy_up"].bind() for _ in range(45))
    for limit, seen in ((None, 45), (45, 45), (25, 25)):
        checked = new["app"].check(limit=limit)
        assert (checked.looked_at["queued"], checked.findings[0].count, checked.complete) == (seen, seen, seen == 45)
    assert len(checked.findings[0].samples) == 3
    with pytest.raises(ConfigError, match="must be at least 1"):
        new["app"].check(limit=0)


def test_findings_are_bounded(pair: Pair) -> None:
    old, new = pair()
    strange = [loaded(OLD.replace("shop.tidy_up", f"gone.{n}"), "memory://", "x")["tidy_up"] for n in range(205)]
    for tidy_up in strange:
        old["app"].enqueue(tidy_up.bind())
    checked = new["app"].check()
    assert (len(checked.findings), checked.left_out) == (200, 5)


def test_the_command_tells_people_and_machines_and_ends_with_a_code(
    tmp_path: Path, valkey_url: str, namespace: str
) -> None:
    (tmp_path / "old.py").write_text(OLD)
    (tmp_path / "new.py").write_text(NEW)
    environment = {**os.environ, "PROCESSION_URL": valkey_url, "PROCESSION_NAMESPACE": namespace}

    def run(*words: str, code: int) -> str:
        command = [sys.executable, "-m", "procession", *words]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=50, check=False
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    app = loaded(OLD, valkey_url, namespace)
    jid = app["kept"].enqueue(1).jid
    said = run("check", "new:app", code=0)
    assert said == f"the code fits what is in the store ({valkey_url}, namespace {namespace}); looked at 1 queued\n"
    app["send"].enqueue("ada")
    said = run("check", "new:app", "-q", "mail", code=1)
    assert "PROBLEM  send: `subject` is needed by" in said
    assert "→ give `subject` a default" in said
    found = msgspec.json.decode(run("check", "new:app", "--json", code=1))
    assert found["fits"] is False
    assert {it["kind"] for it in found["findings"]} == {"missing", "queue"}
    assert "cannot import" in run("check", "newer:app", code=2)
    app["app"].cancel(jid)
    app["app"].flush(confirm=namespace)
    app["app"].close()
