"""The pytest plugin as its users meet it: whole test files, run by pytest."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points

import pytest

from tests.kit.conftest import STRICT

SHOP = """
from procession import Procession

app = Procession("redis://127.0.0.1:1")

@app.job(name="charge")
def charge(order: int) -> int:
    return order
"""
TEST = """
from shop import app, charge

def test_charge(procession):
    charge.enqueue(7)
    procession.assert_enqueued(charge, 7)
    assert [it.result for it in procession.run()] == [7]
    assert app.database.url.partition(":")[0] == "STORE"

def test_another_starts_with_nothing(procession):
    procession.refute_enqueued(charge)
    assert app.stats().processed == 0
"""


@pytest.fixture
def shop(pytester: pytest.Pytester) -> pytest.Pytester:
    pytester.makepyfile(shop=SHOP)
    pytester.makeini("[pytest]\nprocession_app = shop:app\npythonpath = .\naddopts = --strict-markers\n")
    return pytester


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No other plugin of this environment takes part: hypothesis alone costs half a second a run."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")


def run(pytester: pytest.Pytester, *options: str) -> pytest.RunResult:
    return pytester.runpytest_inprocess("-p", "pytest_procession", *options)


def test_pytest_finds_it_where_the_library_is_installed() -> None:
    (found,) = entry_points(group="pytest11", name="procession")
    assert found.value == "pytest_procession"


def test_the_fixture_finds_the_app_by_the_ini_file(shop: pytest.Pytester) -> None:
    shop.makepyfile(TEST.replace("STORE", "memory"))
    run(shop).assert_outcomes(passed=2)


def test_one_option_runs_the_same_tests_on_a_real_server(shop: pytest.Pytester) -> None:
    shop.makepyfile(TEST.replace("STORE", "unix"))
    run(shop, "--procession-store=embedded").assert_outcomes(passed=2)


def test_drills_time_travel_and_async_tests_work_on_a_real_server(shop: pytest.Pytester) -> None:
    shop.makepyfile("""
        import asyncio
        import pytest
        from shop import app, charge

        @pytest.mark.procession(store="embedded")
        def test_all(procession):
            ticks = []

            @app.every("1h", name="tick")
            @app.job(name="tick")
            def tick():
                ticks.append(procession.now)

            charge.using(delay="30m").enqueue(1)
            assert [it.name for it in procession.advance(hours=2)].count("tick") == 2
            assert len(procession.enqueued(tick)) == 2
            waiting = [charge.enqueue(n) for n in range(3)]
            assert procession.crash(waiting[1]).job.crashes == 1
            assert procession.lose_lease(charge.bind(9)).refused
            assert [it.result for it in procession.run()] == [0, 2]

        @pytest.mark.procession(store="embedded")
        def test_async(procession):
            async def main():
                await charge.enqueue_async(1)
                await procession.run_async()
                await app.close_async()

            asyncio.run(main())
    """)
    run(shop, *STRICT).assert_outcomes(passed=2)


def test_a_server_of_ones_own_is_left_without_a_key(shop: pytest.Pytester, valkey_url: str) -> None:
    from redis import Redis

    shop.makepyfile(TEST.replace("STORE", valkey_url.partition(":")[0]))
    with Redis.from_url(valkey_url) as server:
        before = {*server.scan_iter()}
        run(shop, f"--procession-store={valkey_url}").assert_outcomes(passed=2)
        assert {*server.scan_iter()} == before


def test_a_fixture_of_ones_own_says_which_app(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("""
        import pytest
        from procession import Procession

        first, second = Procession("memory://one"), Procession("memory://two")

        @first.job(name="a")
        def a(): second.enqueue(b.bind())

        @second.job(name="b")
        def b(): ...

        @pytest.fixture
        def procession_app():
            return [first, second]

        def test_both(procession):
            a.enqueue()
            assert [it.name for it in procession.run()] == ["a", "b"]
    """)
    run(pytester).assert_outcomes(passed=1)


def test_the_marker_sets_one_test_up_otherwise(shop: pytest.Pytester) -> None:
    shop.makepyfile(
        other=SHOP.replace("charge", "other"),
        test_marked="""
        from datetime import UTC, datetime
        import pytest

        pytestmark = pytest.mark.procession(now=datetime(2030, 1, 1, tzinfo=UTC))

        @pytest.mark.procession(app="other:app", inline=True)
        def test_marked(procession):
            from other import other
            assert procession.now.year == 2030
            assert other.enqueue(3).result(timeout=1) == 3

        @pytest.mark.procession(inlined=True)
        def test_misspelt(procession): ...
        """,
    )
    result = run(shop)
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*does not know 'inlined'*"])


def test_without_an_app_the_message_says_where_to_name_it(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_it(procession): ...")
    result = run(pytester)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*procession_app = shop.jobs:app*"])


def test_who_does_not_use_it_pays_nothing() -> None:
    code = "import pytest_procession, sys; print([it for it in ('procession', 'msgspec') if it in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
