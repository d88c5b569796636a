"""Edit and retry over the client: `app.retry(jid, args=…)`, in memory. What the store does is in the contract."""

from __future__ import annotations

from datetime import date
from typing import Any
from uuid import UUID

import pytest
from msgspec import Raw

from procession import BadArguments, Limit, Procession
from procession.codec import encode_spec
from procession.errors import ConfigError, NotEncodable, Sealed
from procession.job import Job, Spec, SpecOptions, State, new_jid
from procession.registry import Registry
from procession.revising import revision
from procession.sealing import Zlib


@pytest.fixture
def app(namespace: str) -> Any:
    app = Procession(f"memory://{namespace}", namespace=namespace)
    yield app
    app.flush(confirm=namespace)

def cancelled(app: Procession, call: Any) -> UUID:
    jid: UUID = app.enqueue(call).jid
    assert app.cancel(jid)
    return jid

def test_arguments_are_checked_and_stored_as_those_of_an_enqueue(app: Procession) -> None:
    @app.job(name="report")
    def report(day: date, copies: int = 1) -> None: ...

    jid = cancelled(app, report.using(tags=["a"], attempts=7).bind(date(2026, 1, 1)))
    with pytest.raises(BadArguments, match=r"these arguments do not fit .*report.*args.copies"):
        app.retry(jid, args={"day": "2026-01-02", "copies": "many"})
    with pytest.raises(BadArguments, match="'day' is missing"):
        app.retry(jid, args={})
    with pytest.raises(BadArguments, match="unknown"):
        app.retry(jid, args={"day": "2026-01-02", "colour": 1})
    assert app.retry(jid, args={"day": date(2026, 1, 2)})
    assert not app.retry(jid, args={"day": date(2026, 1, 3)}), "it is not finished any more"
    job = app.find_job(jid)
    assert job is not None
    assert (job.state, job.args, job.tags, job.attempts) == ("queued", {"day": "2026-01-02"}, ("a",), 7)

def test_an_app_that_does_not_know_the_job_takes_any_object(app: Procession, namespace: str) -> None:
    @app.job(name="report")
    def report(day: str) -> None: ...

    jid = cancelled(app, report.bind("x"))
    looking = Procession(app.settings.url, namespace=namespace)
    with pytest.raises(BadArguments, match="an object of names"):
        looking.retry(jid, args=["x"])  # type: ignore[arg-type]
    assert looking.retry(jid, args={"other": 1})

def test_a_number_that_json_has_no_form_for_is_refused_as_at_an_enqueue(app: Procession, namespace: str) -> None:
    @app.job(name="weigh")
    def weigh(what: Any) -> None: ...

    jid = cancelled(app, weigh.bind(1))
    for asker in (app, Procession(app.settings.url, namespace=namespace)):
        with pytest.raises(NotEncodable, match=r"args\.what\.kg\[1\]"):
            asker.retry(jid, args={"what": {"kg": [1.5, float("inf")]}})
    assert app.find_job(jid).args == {"what": 1}  # type: ignore[union-attr]

def test_a_key_made_of_the_arguments_is_made_anew_and_one_that_was_given_stays(app: Procession, namespace: str
) -> None:
    @app.job(name="sync", unique=("user",))
    def sync(user: int) -> None: ...

    jid, given = cancelled(app, sync.bind(1)), cancelled(app, sync.using(unique="mine").bind(1))
    looking = Procession(app.settings.url, namespace=namespace)
    with pytest.raises(ConfigError, match="unique key"):
        looking.retry(jid, args={"user": 2})
    assert app.retry(jid, args={"user": 2})
    assert sync.enqueue(2).jid == jid
    assert not sync.enqueue(1).duplicate
    assert app.retry(given, args={"user": 2})
    assert app.find_job(given).unique == "mine"  # type: ignore[union-attr]
    assert app.find_job(jid).unique == '{"user":2}'  # type: ignore[union-attr]

def test_a_limit_made_of_the_arguments_is_made_anew(app: Procession) -> None:
    @app.job(name="charge", limit=Limit(1, by="account"))
    def charge(account: int) -> None: ...

    first, second = charge.enqueue(1), cancelled(app, charge.bind(2))
    third = charge.enqueue(2)
    assert app.retry(second, args={"account": 1})
    job = app.find_job(second)
    assert job is not None
    assert (job.state, job.limit) == ("blocked", "charge/1")
    first.cancel()
    assert app.find_job(second).state == "queued"  # type: ignore[union-attr]
    assert third.job().state == "queued"


def test_sealed_arguments_are_replaced_only_where_they_can_be_opened(namespace: str) -> None:
    url = f"memory://{namespace}"
    app = Procession(url, namespace=namespace, codec=[Zlib(threshold=0)])

    @app.job(name="report")
    def report(text: str) -> None: ...

    jid = cancelled(app, report.bind("x" * 2_000))
    with pytest.raises(Sealed, match="no codec= that opens them"):
        Procession(url, namespace=namespace).retry(jid, args={"text": "y"})
    assert app.retry(jid, args={"text": "y" * 2_000})
    assert app.find_job(jid).args == {"text": "y" * 2_000}  # type: ignore[union-attr]
    (stored,) = app.ask(app.database.find([jid]))
    assert stored is not None
    assert "$sealed" in stored.args

def test_all_that_was_asked_but_the_arguments_is_asked_again() -> None:
    values: dict[str, Any] = {"int": 3, "str": "x", "tuple": ("t",), "dict": {"h": "x"}}
    kinds = {"attempts": "int", "timeout": "int", "tags": "tuple", "headers": "dict", "limit": "str"}
    asked = {name: values[kind] for name, kind in kinds.items()}
    job = Job(jid=new_jid(), name="x", args={"n": 1}, queue="q", state=State.FAILED, **asked)
    wanted = Spec("x", Raw(b'{"n":2}'), SpecOptions(**asked))
    assert revision(job, Registry(), {"n": 2}).spec == encode_spec(wanted)
    assert {*SpecOptions.__struct_fields__} == {*kinds, "unique"}, "a new field belongs in revision()"
