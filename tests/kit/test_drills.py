"""Drills: where they strike, what the store knows afterwards, and what the report says of repeated effects."""

from __future__ import annotations

import asyncio
import math
import threading
from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest

from procession import ConfigError, Depends, Procession, State, current_job
from procession.testing import Kit


class Bank:
    """A service that jobs call, and what it was asked."""

    def __init__(self) -> None:
        self.charged: Counter[int] = Counter()

    def charge(self, order: int, idempotency_key: str | None = None) -> None:
        self.charged[order] += 1

    async def refund(self, order: int) -> None:
        self.charged[order] -= 1


@pytest.fixture
def bank(kit: Kit) -> Bank:
    bank = Bank()
    kit.effects.watch(bank, "charge", key="idempotency_key")
    kit.effects.watch(bank, "refund")
    return bank


def test_a_job_delivered_twice_repeats_what_it_does_not_guard(app: Procession, kit: Kit, bank: Bank) -> None:
    @app.job(name="pay")
    def pay(order: int) -> None:
        bank.charge(order)
        thank.enqueue(order)

    @app.job(name="thank")
    def thank(order: int) -> None: ...

    report = kit.deliver_twice(pay.bind(7))
    assert [str(it) for it in report.repeated] == ["Bank.charge(order=7)", "enqueue thank(order=7)"]
    assert report.job.state is State.PROCESSED
    assert [it.came_to for it in report.attempts] == ["crashed", "processed"]
    assert bank.charged[7] == 2
    with pytest.raises(AssertionError) as caught:
        report.assert_idempotent()
    assert str(caught.value).splitlines() == [
        "pay is not idempotent",
        "delivered twice: pay is now processed",
        "  run 1:",
        "    Bank.charge(order=7)",
        "    enqueue thank(order=7)",
        "  run 2:",
        "    Bank.charge(order=7)    <- REPEATED",
        "    enqueue thank(order=7)    <- REPEATED",
    ]


def test_a_guarded_job_is_idempotent_in_every_drill(app: Procession, kit: Kit, bank: Bank) -> None:
    """A key for the bank, a unique key for what follows: none of it happens twice, wherever the worker dies."""

    @app.job(name="pay")
    def pay(order: int) -> None:
        bank.charge(order, idempotency_key=f"order-{order}")
        thank.using(unique=True).enqueue(order)

    @app.job(name="thank")
    def thank(order: int) -> None: ...

    at: Any
    for order, at in enumerate(["start", "end", 1, 2]):
        report = kit.crash(pay.bind(order), at=at)
        report.assert_idempotent()
        assert len(report.runs) == 2
    report = kit.lose_lease(pay.bind(9), at=1)
    report.assert_idempotent()
    assert report.refused
    assert len(kit.enqueued(thank)) == 5


def test_another_key_for_the_same_call_is_a_repetition(app: Procession, kit: Kit, bank: Bank) -> None:
    @app.job
    def pay(order: int) -> None:
        bank.charge(order, idempotency_key=f"{order}-{current_job().attempt}")

    assert len(kit.deliver_twice(pay.bind(1)).repeated) == 1


def test_a_job_that_goes_on_where_it_was_repeats_nothing(app: Procession, kit: Kit, bank: Bank) -> None:
    done: set[int] = set()

    @app.job
    def pay_all(orders: list[int]) -> None:
        for order in orders:
            if order not in done:
                done.add(order)
                bank.charge(order)

    report = kit.crash(pay_all.bind([1, 2, 3]), at=2)
    report.assert_idempotent()
    assert [len(run) for run in report.runs] == [2, 1]
    assert [str(it) for it in report.again] == ["Bank.charge(order=3)"]


def test_nothing_of_a_killed_run_goes_on_and_what_unwinds_is_marked(app: Procession, kit: Kit, bank: Bank) -> None:
    after = []

    @app.job
    async def pay(order: int) -> None:
        try:
            bank.charge(order)
            after.append(current_job().attempt)
        finally:
            await bank.refund(order)

    report = kit.crash(pay.bind(1), at=1)
    assert after == [2]
    assert [(str(it), it.unwinding) for it in report.runs[0]] == [
        ("Bank.charge(order=1)", False),
        ("Bank.refund(order=1)", True),
    ]
    assert [str(it) for it in report.repeated] == ["Bank.charge(order=1)"]
    assert "while it unwound, not counted" in str(report)


def test_the_store_tells_of_a_kill_what_it_tells_of_a_real_one(app: Procession, kit: Kit) -> None:
    @app.job
    def work() -> None: ...

    job = kit.crash(work.bind()).job
    assert (job.attempt, job.crashes) == (2, 1)
    assert job.failures[0].type == "WorkerDied"
    assert job.failures[0].message == "signal 9 (SIGKILL)"


def test_a_held_up_worker_is_overtaken_and_its_late_outcome_refused(app: Procession, kit: Kit) -> None:
    said = []

    @app.job
    def slow() -> str:
        said.append((current_job().attempt, "begins", threading.current_thread().name))
        kit.effects.record("half way")
        said.append((current_job().attempt, "ends", ""))
        return f"attempt {current_job().attempt}"

    report = kit.lose_lease(slow.bind(), at=1)
    assert [it[:2] for it in said] == [(1, "begins"), (2, "begins"), (2, "ends"), (1, "ends")]
    assert report.refused
    assert app.handle(report.job.jid).result() == "attempt 2"
    assert [it.came_to for it in report.attempts] == ["processed", "refused"]


def test_two_workers_of_a_drill_have_resources_of_their_own(app: Procession, kit: Kit) -> None:
    """The held-up worker keeps its loop blocked: what it opened cannot serve the other one."""
    loops = []

    @app.lifespan
    async def resources(app: Procession):  # type: ignore[no-untyped-def]
        yield {"loop": asyncio.get_running_loop()}

    @app.job
    async def work(loop: asyncio.AbstractEventLoop = Depends("loop")) -> None:  # noqa: B008
        loops.append(loop)
        assert loop is asyncio.get_running_loop()

    assert kit.lose_lease(work.bind(), at="end").refused
    assert len({id(loop) for loop in loops}) == 2
    work.enqueue()
    kit.run()


def test_only_the_job_of_the_drill_runs_and_the_others_keep_their_places(app: Procession, kit: Kit) -> None:
    ran = []

    @app.job
    def work(n: int) -> None:
        ran.append(n)

    handles = [work.enqueue(n) for n in range(4)]
    kit.deliver_twice(handles[2])
    assert ran == [2, 2]
    assert all(handle.job().attempt == 0 for handle in (handles[0], handles[1], handles[3]))
    kit.run()
    assert ran == [2, 2, 0, 1, 3]


def test_a_job_may_be_named_by_its_code_when_one_of_it_waits(app: Procession, kit: Kit) -> None:
    @app.job
    def work(n: int) -> None: ...

    with pytest.raises(ConfigError, match=r"0 jobs of .*work wait"):
        kit.crash(work)
    work.enqueue(1)
    assert kit.crash(work).job.state is State.PROCESSED
    work.enqueue(1)
    work.enqueue(2)
    with pytest.raises(ConfigError, match=r"2 jobs of .*work wait"):
        kit.crash(work)
    with pytest.raises(ConfigError, match="is delayed; a drill needs one that is ready"):
        kit.crash(work.using(delay="1h").bind(3))


def test_a_place_that_is_never_reached_is_an_error(app: Procession, kit: Kit, bank: Bank) -> None:
    @app.job
    def pay(order: int) -> None:
        bank.charge(order)

    with pytest.raises(ConfigError, match="the run processed and never came to at=2; it had 1 effects"):
        kit.crash(pay.bind(1), at=2)
    with pytest.raises(ConfigError, match="must be"):
        kit.crash(pay.bind(1), at=0)


def test_what_one_trip_to_the_store_did_is_done_whole_when_the_worker_dies_in_it(app: Procession, kit: Kit) -> None:
    @app.job(name="one")
    def one(n: int) -> None: ...

    @app.job
    async def many() -> None:
        await app.enqueue_many_async([one.using(unique=True).bind(n) for n in range(3)])

    report = kit.crash(many.bind(), at=1)
    assert [len(run) for run in report.runs] == [3, 3]
    assert [it.changed for it in report.runs[1]] == [False] * 3
    report.assert_idempotent()
    assert len(kit.enqueued(one)) == 3


def test_a_worker_that_cannot_begin_is_the_tests_error(app: Procession, kit: Kit) -> None:
    @app.lifespan
    def resources(app: Procession):  # type: ignore[no-untyped-def]
        raise OSError("no database")
        yield

    @app.job
    def work() -> None: ...

    for act in (kit.run, lambda: kit.crash(work)):
        work.using(unique=True).enqueue()
        with pytest.raises(OSError, match="no database"):
            act()


def test_the_second_runs_error_is_the_drills(app: Procession, kit: Kit) -> None:
    class AlreadyPaid(Exception):
        pass

    paid: set[int] = set()

    @app.job
    def pay(order: int) -> None:
        if order in paid:
            raise AlreadyPaid(order)
        paid.add(order)

    with pytest.raises(AlreadyPaid):
        kit.deliver_twice(pay.bind(1))


def test_a_report_without_an_effect_proves_nothing(app: Procession, kit: Kit) -> None:
    @app.job
    def work() -> None: ...

    with pytest.raises(AssertionError, match=r"no effect of .* was seen, so nothing is proved"):
        kit.deliver_twice(work.bind()).assert_idempotent()


def test_a_job_that_has_used_up_its_crashes_does_not_run_again(kit: Kit) -> None:
    strict = Procession("memory://strict", max_crashes=1)

    @strict.job
    def work() -> None: ...

    with Kit(strict) as other:
        report = other.crash(work.bind())
    assert (report.job.state, report.job.reason, len(report.attempts)) == (State.FAILED, "poison", 1)


def test_what_cannot_be_watched_is_refused_and_the_rest_is_put_back(app: Procession) -> None:
    real = math.sqrt
    with Kit(app) as kit:
        kit.effects.watch(math, "sqrt")
        with pytest.raises(ConfigError, match=r"str\.upper cannot be watched: .*effects\.record"):
            kit.effects.watch(str, "upper")
        assert math.sqrt is not real
    assert math.sqrt is real


def test_watched_functions_are_put_back_and_may_be_stood_in_for(app: Procession) -> None:
    class Shop:
        @staticmethod
        def close() -> str:
            return "real"

        @classmethod
        def open(cls) -> str:
            return cls.__name__

        def sell(self, n: int) -> int:
            return n

    class Branch(Shop):
        pass

    module = SimpleNamespace(__name__="shop", send=lambda to: "sent")
    before = {**vars(Shop)}
    with Kit(app) as kit:
        kit.effects.watch(Shop, "close")
        kit.effects.watch(Shop, "open")
        kit.effects.watch(Branch, "sell", returns=0)
        kit.effects.watch(module, "send")
        assert (Shop.close(), Shop.open(), Branch().sell(3), Shop().sell(3)) == ("real", "Shop", 0, 3)
        assert module.send("ada") == "sent"
        assert [str(it) for it in kit.effects.log] == [
            "Shop.close()",
            "Shop.open()",
            "Branch.sell(n=3)",
            "shop.send(to='ada')",
        ]
        with pytest.raises(ConfigError, match="no function 'burn' to watch"):
            kit.effects.watch(Shop, "burn")
        with pytest.raises(ConfigError, match="no parameter 'key'"):
            kit.effects.watch(Shop, "sell", key="key")
    assert {**vars(Shop)} == before
    assert "sell" not in vars(Branch)


def test_an_async_test_drills_too(app: Procession, kit: Kit, bank: Bank) -> None:
    @app.job
    async def pay(order: int) -> None:
        bank.charge(order)

    async def main() -> None:
        assert len((await kit.deliver_twice_async(pay.bind(1))).repeated) == 1
        assert len((await kit.crash_async(pay.bind(2), at=1)).repeated) == 1
        assert len((await kit.lose_lease_async(pay.bind(3), at=1)).repeated) == 1
        await app.close_async()

    asyncio.run(main())
