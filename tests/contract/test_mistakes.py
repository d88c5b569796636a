"""What an app is asked wrongly is refused with an error of ours, on every backend, and changes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from procession import ConfigError, Procession


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
