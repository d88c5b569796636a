"""Edit and retry, sentence by sentence of `Revisions.revise`, and the verb of the client over it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Any
from uuid import UUID

import pytest
from msgspec import Raw

from procession import BadArguments, Procession
from procession.codec import encode_spec
from procession.database import Database, Revision
from procession.errors import ConfigError, Sealed
from procession.job import Job, Spec, State, new_jid
from procession.moves import Move
from procession.registry import Registry
from procession.revising import revision
from procession.sealing import Zlib
from tests.contract.conftest import Clock
from tests.contract.test_queue import FAILURE, claim, find, new, settle
from tests.contract.test_unique import KEY, enqueue
from tests.contract.test_unique import new as unique

Ask = Callable[..., Any]
OTHER = b"o" * 16
EDITED = b'{"name":"app.f","args":{"n":2}}'


def failed(database: Database, ask: Ask, job: Any) -> Job:
    ask(database.enqueue([job]))
    (claimed,) = claim(database, ask).jobs
    assert settle(database, ask, claimed, Move.FAIL, failure=FAILURE)
    found = find(database, ask, job.jid)
    assert found is not None
    return found


def revise(database: Database, ask: Ask, jid: UUID, finish_at: int, spec: bytes = EDITED, key: bytes = b"") -> bool:
    asked = Revision(jid=jid, finish_at=finish_at, spec=spec, key=key)
    changed: bool = ask(database.revise([asked]))[0]
    return changed


@pytest.mark.parametrize("size", [1, 2_000])
def test_a_finished_job_runs_again_as_what_is_asked_now_and_keeps_its_errors(
    database: Database, ask: Ask, clock: Clock, size: int
) -> None:
    before = failed(database, ask, new())
    clock.pass_(1_000)
    spec = b'{"name":"app.f","args":{"text":"%s"}}' % (b"x" * size)
    assert revise(database, ask, before.jid, before.finish_at, spec)
    after = find(database, ask, before.jid)
    assert after is not None
    assert (after.state, after.args, after.attempt) == (State.QUEUED, {"text": "x" * size}, 0)
    assert after.failures == before.failures
    (claimed,) = claim(database, ask).jobs
    assert (claimed.jid, claimed.spec) == (before.jid, spec)
    settle(database, ask, claimed, Move.FAIL)
    again = find(database, ask, before.jid)
    assert again is not None
    assert revise(database, ask, again.jid, again.finish_at)
    assert find(database, ask, before.jid).args == {"n": 2}  # type: ignore[union-attr]


def test_a_job_that_is_not_as_it_was_read_is_left_as_it_is(database: Database, ask: Ask, clock: Clock) -> None:
    job = failed(database, ask, new())
    assert not revise(database, ask, new_jid(), 0)
    assert not revise(database, ask, job.jid, job.finish_at + 1)
    assert revise(database, ask, job.jid, job.finish_at)
    assert not revise(database, ask, job.jid, job.finish_at), "it is queued"
    (claimed,) = claim(database, ask).jobs
    assert not revise(database, ask, job.jid, 0), "it runs"
    clock.pass_(5)
    settle(database, ask, claimed, Move.FAIL)
    assert not revise(database, ask, job.jid, job.finish_at), "it failed anew"


def test_a_job_whose_key_another_job_holds_is_left_as_it_is(database: Database, ask: Ask) -> None:
    first = unique()
    before = failed(database, ask, first)
    second = unique()
    assert enqueue(database, ask, second).new
    assert not revise(database, ask, first.jid, before.finish_at)
    assert find(database, ask, first.jid) == before


def test_under_a_new_key_the_old_one_is_free_and_the_new_one_is_held(database: Database, ask: Ask) -> None:
    first = unique(until="processed")
    before = failed(database, ask, first)
    assert not enqueue(database, ask, unique(until="processed")).new, "a failed job holds it"
    assert revise(database, ask, first.jid, before.finish_at, key=OTHER)
    assert enqueue(database, ask, unique(KEY)).new
    assert enqueue(database, ask, unique(OTHER)).jid == first.jid
    claims = {job.jid: job for job in claim(database, ask, limit=2).jobs}
    settle(database, ask, claims[first.jid], Move.FAIL)
    assert enqueue(database, ask, unique(OTHER)).jid == first.jid, "what frees it stays"


def test_a_new_key_that_another_job_holds_changes_nothing(database: Database, ask: Ask) -> None:
    first = unique(until="processed")
    before = failed(database, ask, first)
    holder = unique(OTHER)
    assert enqueue(database, ask, holder).new
    assert not revise(database, ask, first.jid, before.finish_at, key=OTHER)
    assert find(database, ask, first.jid) == before
    assert enqueue(database, ask, unique()).jid == first.jid


def test_a_job_without_a_key_gets_none(database: Database, ask: Ask) -> None:
    job = failed(database, ask, new())
    assert revise(database, ask, job.jid, job.finish_at, key=OTHER)
    assert enqueue(database, ask, unique(OTHER)).new


class TestOverTheClient:
    """`app.retry(jid, args=…)`, in memory."""

    @pytest.fixture
    def app(self, namespace: str) -> Any:
        app = Procession(f"memory://{namespace}", namespace=namespace)
        yield app
        app.flush(confirm=namespace)

    def cancelled(self, app: Procession, call: Any) -> UUID:
        jid: UUID = app.enqueue(call).jid
        assert app.cancel(jid)
        return jid

    def test_arguments_are_checked_and_stored_as_those_of_an_enqueue(self, app: Procession) -> None:
        @app.job(name="report")
        def report(day: date, copies: int = 1) -> None: ...

        jid = self.cancelled(app, report.using(tags=["a"], attempts=7).bind(date(2026, 1, 1)))
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

    def test_an_app_that_does_not_know_the_job_takes_any_object(self, app: Procession, namespace: str) -> None:
        @app.job(name="report")
        def report(day: str) -> None: ...

        jid = self.cancelled(app, report.bind("x"))
        looking = Procession(app.settings.url, namespace=namespace)
        with pytest.raises(BadArguments, match="an object of names"):
            looking.retry(jid, args=["x"])  # type: ignore[arg-type]
        assert looking.retry(jid, args={"other": 1})

    def test_a_key_made_of_the_arguments_is_made_anew_and_one_that_was_given_stays(
        self, app: Procession, namespace: str
    ) -> None:
        @app.job(name="sync", unique=("user",))
        def sync(user: int) -> None: ...

        jid, given = self.cancelled(app, sync.bind(1)), self.cancelled(app, sync.using(unique="mine").bind(1))
        looking = Procession(app.settings.url, namespace=namespace)
        with pytest.raises(ConfigError, match="unique key"):
            looking.retry(jid, args={"user": 2})
        assert app.retry(jid, args={"user": 2})
        assert sync.enqueue(2).jid == jid
        assert not sync.enqueue(1).duplicate
        assert app.retry(given, args={"user": 2})
        assert app.find_job(given).unique == "mine"  # type: ignore[union-attr]
        assert app.find_job(jid).unique == '{"user":2}'  # type: ignore[union-attr]

    def test_sealed_arguments_are_replaced_only_where_they_can_be_opened(self, namespace: str) -> None:
        url = f"memory://{namespace}"
        app = Procession(url, namespace=namespace, codec=[Zlib(threshold=0)])

        @app.job(name="report")
        def report(text: str) -> None: ...

        jid = self.cancelled(app, report.bind("x" * 2_000))
        with pytest.raises(Sealed, match="no codec= that opens them"):
            Procession(url, namespace=namespace).retry(jid, args={"text": "y"})
        assert app.retry(jid, args={"text": "y" * 2_000})
        assert app.find_job(jid).args == {"text": "y" * 2_000}  # type: ignore[union-attr]
        (stored,) = app.ask(app.database.find([jid]))
        assert stored is not None
        assert "$sealed" in stored.args

    def test_all_that_was_asked_but_the_arguments_is_asked_again(self) -> None:
        values: dict[str, Any] = {"int": 3, "str": "x", "tuple": ("t",)}
        kinds = {"name": "str", "attempts": "int", "timeout": "int", "tags": "tuple"}
        asked = {name: values[kind] for name, kind in kinds.items()}
        job = Job(jid=new_jid(), args={"n": 1}, queue="q", state=State.FAILED, **asked)
        wanted = Spec(args=Raw(b'{"n":2}'), **asked)
        assert revision(job, Registry(), {"n": 2}).spec == encode_spec(wanted)
        assert {*Spec.__struct_fields__} == {*kinds, "args", "unique", "v"}, "a new field belongs in revision()"
