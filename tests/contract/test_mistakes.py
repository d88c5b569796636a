"""What an app is asked wrongly is refused with an error of ours, on every backend, and changes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from procession import ConfigError, Encrypted, Procession, Zlib


@pytest.fixture(params=["memory", "valkey"])
def app(request: pytest.FixtureRequest, namespace: str) -> Iterator[Procession]:
    url = f"memory://{namespace}" if request.param == "memory" else request.getfixturevalue("valkey_url")
    app = Procession(url, namespace=namespace)

    @app.job(name="j")
    def j() -> None: ...

    yield app
    app.flush(confirm=namespace)
    app.close()


def refused(app: Any, verb: str, *args: Any, **kwargs: Any) -> str:
    """The words with which a verb and its twin refuse this."""
    owner, _, name = verb.rpartition(".")
    target = getattr(app, owner) if owner else app
    with pytest.raises(ConfigError) as error:
        getattr(target, name)(*args, **kwargs)

    async def again() -> str:
        with pytest.raises(ConfigError) as error_async:
            await getattr(target, f"{name}_async")(*args, **kwargs)
        await app.close_async()
        return str(error_async.value)

    said = str(error.value)
    assert asyncio.run(again()) == said
    return said


@pytest.mark.parametrize("odd", [None, 5, b"late", ["late"]])
def test_a_reason_or_a_name_that_is_no_text_is_refused_and_the_job_stays_where_it_is(app: Procession, odd: Any) -> None:
    app.schedules.upsert("s", "j", every="1d")
    jid = app.schedules.run_now("s")
    asked: list[tuple[str, tuple[Any, ...], str]] = [
        ("cancel", (jid, odd), "reason"),
        ("pause", ("default", odd), "reason"),
        ("pause", ("default", "", odd), "by"),
        ("schedules.pause", ("s", odd), "reason"),
        ("quiet_worker", (odd,), "worker"),
        ("stop_worker", ("w", odd), "by"),
    ]
    for verb, args, what in asked:
        assert f"{what}={odd!r} must be a text" in refused(app, verb, *args)
    assert [job.jid for job in app.jobs("queued").jobs] == [jid]
    assert app.stats().queued == 1
    assert not app.queues()[0].paused
    assert not app.repair().findings


@pytest.mark.parametrize("odd", ["50", 1.5, None, True, 0])
def test_a_limit_is_a_whole_number_for_every_verb_that_takes_one(app: Procession, odd: Any) -> None:
    for verb, args in (("jobs", ("queued",)), ("search", ()), ("errors", ()), ("trail", ())):
        assert f"limit={odd!r} must be a whole number" in refused(app, verb, *args, limit=odd)


def test_what_is_no_job_no_filter_and_no_schedule_is_refused_where_it_is_given(app: Procession) -> None:
    assert "is no job of this app" in refused(app, "enqueue", "mail", {"to": "ada"})
    assert "is no job of this app" in refused(app, "schedules.upsert", "s", ["j"], every=60)
    assert "None is no filter: write one as text" in refused(app, "search", None)
    assert "limit='all' must be at least 1" in refused(app, "check", limit="all")
    app.schedules.upsert("s", "j", every=60)
    info = app.schedules.find("s")
    assert "is no Schedule, such as the `schedule` of what find() returns" in refused(app, "schedules.save", info)
    assert app.stats().scheduled == 0


def test_an_app_says_at_once_which_of_its_parts_cannot_be_used() -> None:
    for codec in (Zlib(), [Zlib], [b"a key"], "zlib"):
        with pytest.raises(ConfigError, match="must be a list of codecs"):
            Procession("memory://parts", codec=codec)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="and not NoneType"):
        Encrypted([None])  # type: ignore[list-item]
    with pytest.raises(ConfigError, match="must be a plain function"):
        Procession("memory://parts", credentials=("ada", "secret"))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="must be a generator that yields a dict of resources once"):
        Procession("memory://parts").lifespan(partial(dict))
