"""Orders to workers and the trail of what people did, sentence by sentence of the docstrings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from procession.database import Database
from procession.orders import LONGEST_STACK, new_order
from procession.testing.contract.fixtures import NOW, Clock
from procession.trail import KEPT, KEPT_FOR, deed

Ask = Callable[..., Any]


def beat(database: Database, ask: Ask, worker: str = "w") -> Any:
    return ask(database.heartbeat(worker, lease=15_000, info=b"{}"))


def test_an_order_rings_its_worker_and_comes_with_each_heartbeat_until_it_is_obeyed(
    database: Database, ask: Ask
) -> None:
    beat(database, ask)
    quiet, stack = new_order("quiet", by="ann"), new_order("stack")
    assert ask(database.order(["w", "nobody"], quiet)) == [True, False]
    assert ask(database.order(["w"], stack)) == [True]
    with_wait = database.connect()
    assert with_wait.wait(["@w"], 0.1) == "@w"
    with_wait.close()
    heard = beat(database, ask).orders
    assert beat(database, ask).orders == heard
    assert [(it.id, it.verb, it.by, it.at) for it in heard] == [
        (quiet.id, "quiet", "ann", NOW), (stack.id, "stack", "", NOW),
    ]  # fmt: skip
    assert ask(database.orders(["nobody", "w"])) == [(), heard]
    assert ask(database.obeyed("w", quiet.id)) is True
    assert ask(database.obeyed("w", quiet.id)) is False
    assert [it.verb for it in beat(database, ask).orders] == ["stack"]


def test_of_orders_about_the_course_the_latest_counts(database: Database, ask: Ask) -> None:
    beat(database, ask)
    first, second = new_order("quiet"), new_order("resume")
    ask(database.order(["w"], first), database.order(["w"], second))
    assert [it.id for it in beat(database, ask).orders] == [second.id]
    assert ask(database.obeyed("w", first.id)) is False
    assert ask(database.obeyed("w", second.id)) is True


def test_a_stack_is_kept_within_its_bound_and_rings_whoever_asked(database: Database, ask: Ask) -> None:
    beat(database, ask)
    assert ask(database.stacks(["w"])) == [None]
    order = new_order("stack")
    ask(database.order(["w"], order), database.obeyed("w", order.id, "in f ü\n" * LONGEST_STACK))
    (stack,) = ask(database.stacks(["w"]))
    assert (stack.order, stack.at, len(stack.text.encode()) <= LONGEST_STACK) == (order.id, NOW, True)
    assert stack.text.startswith("in f ü\n")
    assert "cut: it was" in stack.text
    waiting = database.connect()
    assert waiting.wait([f"@{order.id}"], 0.1) == f"@{order.id}"
    waiting.close()


def test_what_a_worker_is_told_goes_away_with_it_or_after_an_hour(database: Database, ask: Ask, clock: Clock) -> None:
    beat(database, ask)
    order = new_order("stop")
    ask(database.order(["w"], order))
    ask(database.leave("w"))
    assert ask(database.orders(["w"])) == [()]
    assert ask(database.obeyed("w", order.id, "late")) is False
    assert ask(database.stacks(["w"])) == [None]
    assert beat(database, ask).orders == ()


def test_the_trail_is_read_newest_first_and_page_by_page(database: Database, ask: Ask, clock: Clock) -> None:
    assert ask(database.trail()) == []
    pause, retry = deed("ann", "pause", "mail", via="dashboard"), deed("", "retry", "a b", changed=1, asked=2)
    ask(database.write_trail([pause, retry]))
    clock.pass_(5)
    ask(database.write_trail([deed("eve", "remove", "x" * 1_000)]))
    newest, retry, pause = ask(database.trail())
    assert (pause.who, pause.what, pause.on, pause.via, pause.at) == ("ann", "pause", "mail", "dashboard", NOW)
    assert (retry.changed, retry.asked) == (1, 2)
    assert (newest.at, len(newest.on)) == (NOW + 5, 500)
    assert ask(database.trail(limit=1)) == [newest]
    assert ask(database.trail(limit=1, before=newest.number)) == [retry]
    assert ask(database.trail(before=pause.number)) == []
    assert ask(database.trail(before=10**9, limit=2)) == [newest, retry]


def test_the_trail_is_bounded_in_number_and_in_age(database: Database, ask: Ask, clock: Clock) -> None:
    ask(database.write_trail([deed("ann", "old", "a")]))
    clock.pass_(KEPT_FOR)
    assert ask(database.trail()) == []
    ask(database.write_trail([deed("ann", "pause", str(at)) for at in range(KEPT + 3)]))
    found = ask(database.trail(limit=10_000))
    assert (len(found), found[0].on, found[-1].on) == (KEPT, str(KEPT + 2), "3")
