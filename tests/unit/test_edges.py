"""Settings, durations, names, retries, options: what is taken, and what is refused with a clear word."""

from __future__ import annotations

import asyncio
import random
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

import procession
from procession import (
    ConfigError,
    EnqueueError,
    Procession,
    Refused,
    ReservedQueue,
    Retry,
    Worker,
    constant,
    exponential,
)
from procession.clock import instant, milliseconds
from procession.config import Settings, project_root
from procession.job import new_jid
from procession.runtime.heartbeat import compare
from procession.runtime.slots import Places, claimable


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1, 1_000),
        (0.25, 250),
        ("5m", 300_000),
        ("1h30m", 5_400_000),
        ("250ms", 250),
        ("1.5s", 1_500),
        ("2 d", 172_800_000),
        ("90", 90_000),
        (" 0.5 ", 500),
    ],
)
def test_durations_are_read(value: Any, expected: int) -> None:
    assert milliseconds(value) == expected
    assert milliseconds(timedelta(milliseconds=expected)) == expected


@pytest.mark.parametrize("value", [-1, "-1", "1e3", "m", "", None, True, "5 parsecs", float("nan"), "1000w"])
def test_what_is_no_duration_is_refused(value: Any) -> None:
    with pytest.raises(ConfigError):
        milliseconds(value)


def test_moments_need_a_time_zone() -> None:
    assert instant(datetime(2026, 1, 1, tzinfo=UTC)) == 1_767_225_600_000
    with pytest.raises(ConfigError, match="no time zone"):
        instant(datetime(2026, 1, 1))


def test_a_nearer_layer_of_settings_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.procession]\nurl = "redis://file"\nthreads = 3\nlease = "20s"\n')
    assert (Settings.load().url, Settings.load().threads) == ("redis://file", 3)
    monkeypatch.setenv("PROCESSION_THREADS", "5")
    monkeypatch.setenv("PROCESSION_GRACE", "30")
    monkeypatch.setenv("PROCESSION_HOST", "cache.example")
    assert (Settings.load().url, Settings.load().threads) == ("redis://cache.example:6379/0", 5)
    assert Settings.load().grace == 30, "text in the environment, seconds all the same"
    assert Settings.load(url="memory://x", threads=7).url == "memory://x"
    told = Settings.explain(threads=7, password="secret", host="h")
    assert told["threads"] == (7, "an argument")
    assert told["lease"][1].startswith("[tool.procession] in ")
    assert told["namespace"] == ("procession", "default")
    assert "secret" not in str(told)


def test_an_empty_host_says_nothing_and_a_url_beside_a_host_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROCESSION_URL", "redis://far/0")
    assert Settings.load(host="").url == "redis://far/0"
    monkeypatch.setenv("PROCESSION_HOST", "")
    assert Settings.load().url == "redis://far/0"
    monkeypatch.setenv("PROCESSION_HOST", "near")
    with pytest.raises(ConfigError, match="both come from the environment and name a store; leave one"):
        Settings.load()
    monkeypatch.setenv("PROCESSION_URL", "")
    assert Settings.load().url == "redis://near:6379/0"
    assert Settings.load(url="memory://").url == "memory://"
    monkeypatch.setenv("PROCESSION_PORT", "7000")
    assert Settings.load(url="redis://there/1").url == "redis://there/1"
    with pytest.raises(ConfigError, match="both come from an argument"):
        Settings.load(url="memory://", host="near")


@pytest.mark.parametrize("given", [{"url": "redis://there/1"}, {}])
@pytest.mark.parametrize("name", ["port", "database"])
def test_a_port_or_database_without_a_host_is_refused_as_it_would_go_unheard(
    given: dict[str, str], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match=f"{name} from an argument counts beside host alone"):
        Settings.load(**given, **{name: 3})
    monkeypatch.setenv(f"PROCESSION_{name.upper()}", "3")
    for variable, value in given.items():
        monkeypatch.setenv(f"PROCESSION_{variable.upper()}", value)
    with pytest.raises(ConfigError, match=f"{name} from PROCESSION_{name.upper()} counts beside host alone"):
        Settings.load()
    assert Settings.load(host="near").url.startswith("redis://near:")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"thread": 3}, "unknown setting 'thread' from an argument"),
        ({"threads": "many"}, "threads='many' from an argument"),
        ({"threads": 0}, "must be at least 1"),
        ({"namespace": "a:b"}, "namespace 'a:b'"),
        ({"lease": "5s", "heartbeat": "4s"}, "half of lease"),
        ({"lease": 0}, "lease=0.0 must be longer than 0"),
        ({"budget": "0s"}, "budget='0s' must be longer than 0"),
        ({"keep_failed": "3 4"}, "a time and a number of jobs, such as 14d, 100000, or one"),
        ({"keep_failed": "1d 2d"}, "a time and a number of jobs"),
        ({"keep_failed": ""}, "a time and a number of jobs"),
        ({"keep_failed": "0"}, "a time and a number of jobs"),
        ({"keep_failed": "soon"}, "keep_failed 'soon' is not a duration"),
    ],
)
def test_wrong_settings_say_where_they_come_from(arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says.replace("'", ".")):
        Settings.load(**arguments)


@pytest.mark.parametrize(
    ("text", "age", "count"),
    [("3d, 50_000", 3, 50_000), ("50000 3d", 3, 50_000), ("3d", 3, 100_000), ("50000", 14, 50_000)],
)
def test_what_is_kept_is_a_time_and_a_number_or_one_of_the_two(text: str, age: int, count: int) -> None:
    policy = Settings.load(keep_failed=text).policy()
    assert (policy.failed_age, policy.failed_count) == (age * 86_400_000, count)
    assert (policy.processed_age, policy.processed_count) == (86_400_000, 100_000), "it says nothing of the others"


def test_a_worker_speaks_three_times_in_a_lease_unless_it_is_told_otherwise() -> None:
    assert Settings.load().heartbeat == 5
    assert Settings.load(lease="1m").heartbeat == 20
    assert Settings.load(lease="1m", heartbeat="0s").heartbeat == 20
    assert Settings.load(lease="1m", heartbeat="5s").heartbeat == "5s"


def test_the_projects_root_is_the_nearest_folder_that_looks_like_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PROCESSION_HOME")
    inner = tmp_path / "project" / "a" / "b"
    inner.mkdir(parents=True)
    (tmp_path / "project" / "pyproject.toml").touch()
    assert project_root(inner) == tmp_path / "project"


@pytest.mark.parametrize("url", ["http://x", "nonsense", "unix://", "redis://h:port"])
def test_a_wrong_url_is_refused_on_first_use(url: str) -> None:
    with pytest.raises(ConfigError, match="cannot use the store URL"):
        Procession(url).stats()


def test_a_store_that_is_away_is_a_typed_error_within_two_seconds() -> None:
    app = Procession("redis://127.0.0.1:1")

    @app.job(name="j")
    def j() -> None: ...

    started = time.monotonic()
    with pytest.raises(EnqueueError) as refusal:
        j.enqueue()
    assert time.monotonic() - started < 2.2
    assert refusal.value.stored == "no"
    assert len(refusal.value.jids) == 1


@pytest.fixture
def silent_url() -> Iterator[str]:
    """A server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        yield f"redis://127.0.0.1:{server.getsockname()[1]}"


def test_a_silent_store_is_a_typed_error_within_two_seconds_for_sync_and_async_callers(silent_url: str) -> None:
    app = Procession(silent_url)

    @app.job(name="j")
    def j() -> None: ...

    async def many() -> list[Any]:
        started = time.monotonic()
        errors = await asyncio.gather(*(j.enqueue_async() for _ in range(20)), return_exceptions=True)
        assert time.monotonic() - started < 2.5
        await app.close_async()
        return errors

    started = time.monotonic()
    with pytest.raises(EnqueueError):
        j.enqueue()
    assert time.monotonic() - started < 2.5
    assert {type(error) for error in asyncio.run(many())} == {EnqueueError}


def test_a_full_store_refuses_and_says_that_nothing_was_stored(valkey_url: str, namespace: str) -> None:
    from redis import Redis

    server = Redis.from_url(valkey_url)
    app = Procession(valkey_url, namespace=namespace)

    @app.job(name="j")
    def j() -> None: ...

    j.enqueue()
    server.config_set("maxmemory", 1)
    try:
        with pytest.raises(Refused) as refusal:
            j.enqueue()
    finally:
        server.config_set("maxmemory", 0)
        server.close()
    assert refusal.value.stored == "no"
    assert app.stats().queued == 1
    app.flush(confirm=namespace)
    app.close()


@pytest.fixture
def app(namespace: str) -> Procession:
    return Procession(f"memory://{namespace}")


@pytest.mark.parametrize("queue", ["", "a b", "a:b", "{x}", "x" * 65, "*"])
def test_malformed_and_reserved_queues_are_refused(app: Procession, queue: str) -> None:
    @app.job(name="j")
    def j() -> None: ...

    with pytest.raises(ConfigError, match="queue name"):
        app.enqueue(queue, j)
    with pytest.raises(ConfigError, match="queue name"):
        j.using(queue=queue).enqueue()
    for reserved in ("processed", "failed", "cancelled"):
        assert app.is_reserved_queue(reserved)
        with pytest.raises(ReservedQueue):
            j.using(queue=reserved).enqueue()
    assert app.stats().scheduled == 0


@pytest.mark.parametrize(
    "options",
    [
        {"delay": 1, "at": datetime(2026, 1, 1, tzinfo=UTC)},
        {"priority": 101},
        {"priority": 1.5},
        {"attempts": 0},
        {"attempts": True},
        {"jid": "mine"},
        {"tags": ["x"] * 17},
        {"tags": ["\ud800"]},
        {"headers": {"a": "\udcff"}},
        {"headers": {"\udcff": "a"}},
        {"at": datetime(2026, 1, 1)},
        {"nonsense": 1},
    ],
)
def test_options_that_cannot_be_kept_are_refused(app: Procession, options: dict[str, Any]) -> None:
    @app.job(name="j")
    def j() -> None: ...

    with pytest.raises(ConfigError):
        j.using(**options).enqueue()
    assert app.stats().scheduled == 0


def test_using_carries_every_option_to_the_store(app: Procession) -> None:
    @app.job(name="j", queue="here", tags=["old"])
    def j(n: int) -> None: ...

    jid = uuid4()
    special = j.using(
        delay="5m", priority=3, queue="there", timeout="10s", attempts=2, jid=jid, expires="1h", tags=["a", "b"]
    )
    assert not special.enqueue(1).duplicate
    assert special.enqueue(2).duplicate
    job = app.find_job(jid)
    assert job is not None
    assert (job.queue, job.priority, job.timeout, job.attempts, job.tags) == ("there", 3, 10_000, 2, ("a", "b"))
    assert (job.args, job.due_at - job.enqueued_at, job.expires_at - job.enqueued_at) == ({"n": 1}, 300_000, 3_600_000)


def test_the_briefs_verbs_work(app: Procession) -> None:
    @app.worker(name="R")
    class Resize(Worker):
        def perform(self, path: str, width: int = 1) -> None: ...

    first = app.enqueue("images", Resize, "a.png", width=2)
    last = app.enqueue("images", Resize.bind("b.png"))
    front, rear = app.peek("images"), app.peek("images", rear=True)
    assert front is not None
    assert rear is not None
    assert (front.jid, rear.jid) == (first.jid, last.jid)
    assert [(queue.name, queue.queued) for queue in app.queues()] == [("images", 2)]
    assert app.remove(first.jid)
    assert not app.remove(first.jid)
    assert app.find_job(first.jid) is None
    assert app.cancel(last.jid)
    assert app.retry(last.jid)
    assert app.purge("images") == 1
    assert app.stats().as_dict()["scheduled"] == 0
    with pytest.raises(ConfigError, match="confirm"):
        app.flush(confirm="other")


def test_enqueue_many_keeps_the_order_and_shares_trips(app: Procession) -> None:
    @app.job(name="j")
    def j(n: int) -> None: ...

    handles = app.enqueue_many(j.bind(n) for n in range(2_500))
    found = app.ask(app.database.find([handle.jid for handle in handles]))
    assert [job and job.args["n"] for job in found] == list(range(2_500))


def test_definitions_that_promise_too_much_are_refused(app: Procession) -> None:
    def generator() -> Any:
        yield

    with pytest.raises(ConfigError):
        app.job(generator)
    with pytest.raises(ConfigError, match="lambda"):
        app.job(lambda: None)

    @app.job(name="taken")
    def one() -> None: ...

    with pytest.raises(ConfigError, match="two jobs are named"):

        @app.job(name="taken")
        def two() -> None: ...


def test_a_class_of_two_apps_is_enqueued_through_one_of_them(app: Procession) -> None:
    other = Procession("memory://other")

    class Both(Worker):
        def perform(self) -> None: ...

    with pytest.raises(ConfigError, match="no app yet"):
        Both.enqueue()
    app.include(Both, name="Both")
    Both.enqueue()
    other.include(Both, name="Both")
    with pytest.raises(ConfigError) as refused:
        Both.enqueue()
    assert str(refused.value).endswith("say which: app.caller(Both).enqueue(…)")
    assert app.caller(Both).enqueue().job().queue == "default"
    app.enqueue("q", Both)
    assert app.stats().queued == 3


def test_a_function_of_another_app_is_a_stranger(app: Procession) -> None:
    @Procession("memory://other").job(name="theirs")
    def theirs() -> None: ...

    for ask in (app.caller, lambda job: app.enqueue("q", job), lambda job: app.schedules.upsert("s", job, every=60)):
        with pytest.raises(ConfigError, match="theirs is no job of this app: decorate it"):
            ask(theirs)
    app.job(name="ours")(theirs)
    assert app.caller(theirs).enqueue().job().name == "ours"


def test_a_job_of_a_script_is_named_after_its_file(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(
        "from procession import Procession\napp = Procession('memory://x')\n@app.job\ndef j(): ...\nprint(j.name)\n"
    )
    said = subprocess.check_output([sys.executable, "shop.py"], cwd=tmp_path, text=True)
    assert said.strip() == "shop.j"
    code = (
        "from procession import Procession\nProcession('memory://x').job(name=None)(type('j', (), {'perform': print}))"
    )
    broken = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "which no queue worker can import" in broken.stderr


def test_retry_policies_say_when_and_whether() -> None:
    policy = Retry(attempts=4, backoff=exponential(1, cap=5), never=(KeyError,), jitter=False)
    assert [policy.delay(attempt) for attempt in (1, 2, 3, 4, 500)] == [1_000, 2_000, 4_000, 5_000, 5_000]
    assert (policy.wants(ValueError()), policy.wants(KeyError()), policy.wants(SystemExit())) == (True, False, False)
    texts = Retry(backoff=lambda run: "5m" if run == 1 else timedelta(days=30), jitter=False)
    assert [texts.delay(1), texts.delay(2)] == [300_000, 7 * 24 * 3_600_000]
    drawn = [Retry(backoff=constant(10)).delay(1, random.Random(7)) for _ in range(50)]
    assert all(0 <= delay <= 10_000 for delay in drawn)
    assert Retry.of(False).attempts == 1
    assert Retry.of(7).attempts == 7
    assert Retry.of(None).attempts == 5
    with pytest.raises(ConfigError):
        Retry(attempts=0)
    with pytest.raises(ConfigError):
        Retry.of("often")  # type: ignore[arg-type]


def test_ids_sort_by_time_and_are_version_seven() -> None:
    jids = [new_jid() for _ in range(100)]
    assert len(set(jids)) == 100
    assert all(jid.version == 7 for jid in jids)
    time.sleep(0.002)
    assert max(jids) < new_jid()


def test_places_are_never_given_twice() -> None:
    threads = Places(size=4, taken=3, waiting=0)
    assert claimable(7, 0, []) == 7
    assert claimable(100, 3, [threads]) == 1
    assert claimable(100, 9, [threads._replace(taken=9)]) == 0
    assert claimable(100, 3, [threads._replace(ahead=3)]) == 4
    assert claimable(100, 3, [threads._replace(ahead=3)], coming=3) == 1
    assert claimable(100, 0, [Places(size=100, taken=0, waiting=0, ahead=300)]) == 200
    assert claimable(7, 8, []) == 0


def test_a_worker_of_several_kinds_claims_no_more_than_any_of_them_takes_in() -> None:
    threads, loop = Places(size=4, taken=3, waiting=0), Places(size=300, taken=0, waiting=0)
    assert claimable(300, 3, [threads, loop]) == 5
    assert claimable(300, 7, [threads._replace(waiting=4), loop]) == 0
    assert claimable(300, 5, [threads, Places(size=2, taken=2, waiting=0)]) == 2
    fast = loop._replace(ahead=200)
    assert claimable(300, 3, [threads, fast]) == 205  # what ends soon may be followed by jobs of either kind …
    assert claimable(300, 7, [threads._replace(waiting=4), fast]) == 0  # … unless those wait that are not about to end
    assert claimable(300, 7, [threads._replace(waiting=4, ahead=9), fast]) == 206


def test_kinds_that_could_each_fill_all_places_share_them_to_the_letter() -> None:
    one = Places(size=2, taken=0, waiting=0, ahead=50)
    assert [claimable(2, executing, [one, one]) for executing in (0, 1, 2, 3)] == [2, 1, 0, 0]
    assert claimable(2, 1, [one]) == 26


def test_comparing_tells_lost_jobs_strangers_and_cancellations_apart() -> None:
    from procession.database import Held

    ours, theirs, lost, stale = (UUID(int=n) for n in range(4))
    store = [Held(ours, b"a", True), Held(theirs, b"b", False), Held(stale, b"new", True)]
    conclusion = compare(store, {ours: b"a", lost: b"c", stale: b"old"})
    assert set(conclusion.lost) == {lost, stale}
    assert [held.jid for held in conclusion.strangers] == [theirs]
    assert conclusion.cancelled == [ours]


def test_the_front_door_works_on_a_default_app(namespace: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROCESSION_URL", f"memory://{namespace}")
    procession.default_app.cache_clear()
    app = procession.default_app()

    @app.job(name="j")
    def j() -> None: ...

    handle = procession.enqueue("q", j)
    assert procession.find_job(handle.jid) is not None
    assert procession.stats().scheduled == 1
    assert procession.remove(handle.jid)
    assert procession.is_reserved_queue("failed")
    procession.default_app.cache_clear()
