"""Asking what was enqueued: which enqueues a question means, and what a failure says."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import ANY

import pytest

from procession import ConfigError, Limit, Procession
from procession.testing import Kit


@pytest.fixture
def send(app: Procession) -> Any:
    @app.job(name="send", queue="mail")
    def send(to: str, subject: str = "hello", *, copies: int = 1) -> None: ...

    return send


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [((), {}), (("ada",), {}), ((), {"to": "ada", "subject": "hello"}), (("ada",), {"copies": 2}), ((ANY, ANY), {})],
)
def test_the_arguments_that_are_named_count_and_the_others_are_free(
    kit: Kit, send: Any, args: Any, kwargs: Any
) -> None:
    send.enqueue("ada", copies=2)
    assert kit.assert_enqueued(send, *args, **kwargs).arguments == {"to": "ada", "subject": "hello", "copies": 2}


def test_what_was_enqueued_stays_so_after_it_ran(kit: Kit, send: Any) -> None:
    send.enqueue("ada")
    kit.run()
    send.enqueue("bob")
    assert [it.arguments["to"] for it in kit.enqueued(send)] == ["ada", "bob"]
    assert kit.enqueued() == kit.enqueued(send)


@pytest.mark.parametrize(
    ("set_", "right", "wrong"),
    [
        ({"queue": "bulk"}, {"queue": "bulk"}, {"queue": "mail"}),
        ({"delay": "5m"}, {"delay": timedelta(minutes=5)}, {"delay": 299}),
        ({"at": datetime(2030, 1, 1, tzinfo=UTC)}, {"at": datetime(2030, 1, 1, tzinfo=UTC)}, {"delay": "5m"}),
        ({"priority": 7, "attempts": 2}, {"attempts": 2}, {"priority": 6}),
        ({"tags": ["x"], "timeout": 4}, {"tags": ["x"]}, {"timeout": 5}),
        ({"expires": "1h", "deadline": "2h"}, {"expires": 3600, "deadline": 7200}, {"deadline": "3h"}),
        ({"unique": "ada"}, {"unique": "ada"}, {"unique": "bob"}),
        ({}, {}, {"unique": "ada"}),
        ({"headers": {"tenant": "acme", "trace": "1"}}, {"headers": {"tenant": "acme"}}, {"headers": {"tenant": "x"}}),
        ({}, {}, {"headers": {"tenant": "acme"}}),
        ({"limit": Limit(1, by="to")}, {"limit": Limit(1, by="to")}, {"limit": Limit(1)}),
        ({"limit": Limit(1)}, {"limit": Limit(1)}, {"limit": Limit(2)}),
        ({"limit": Limit(1)}, {}, {"limit": False}),
        ({}, {"limit": False}, {"limit": Limit(1)}),
    ],
)
def test_options_are_asked_for_as_they_were_given(kit: Kit, send: Any, set_: Any, right: Any, wrong: Any) -> None:
    send.using(**set_).enqueue("ada")
    kit.assert_enqueued(send.using(**right), "ada")
    kit.assert_enqueued(send.using(**right).bind("ada"))
    kit.refute_enqueued(send.using(**wrong))


def test_an_option_of_which_nothing_is_stored_is_refused(kit: Kit, send: Any) -> None:
    send.using(durability="fsync").enqueue("ada")
    for ask in (kit.assert_enqueued, kit.refute_enqueued, kit.enqueued):
        for asked in (send.using(durability="fsync"), send.using(durability="fsync").bind("ada")):
            with pytest.raises(ConfigError, match="durability= leaves no trace"):
                ask(asked)


def test_a_window_is_a_comparison_of_what_was_found(kit: Kit, send: Any) -> None:
    send.using(delay="5m").enqueue("ada")
    found = kit.assert_enqueued(send)
    assert timedelta(minutes=1) < found.delay < timedelta(minutes=10)
    assert found.due_at == kit.now + timedelta(minutes=5)


def test_a_duplicate_was_not_enqueued(kit: Kit, send: Any) -> None:
    for _ in range(2):
        send.using(unique="ada").enqueue("ada")
    assert len(kit.enqueued(send)) == 1


def test_a_failure_shows_the_nearest_first_and_how_it_differs(app: Procession, kit: Kit, send: Any) -> None:
    @app.job(name="other")
    def other() -> None: ...

    other.enqueue()
    send.using(delay="1h").enqueue("bob", "bye")
    send.enqueue("ada", "bye")
    with pytest.raises(AssertionError) as caught:
        kit.assert_enqueued(send.using(queue="bulk"), "ada", subject="hello")
    assert str(caught.value).splitlines() == [
        "send(to='ada', subject='hello') using(queue='bulk') was not enqueued",
        "what was, of this job:",
        "  send(to='ada', subject='bye', copies=1)  in queue mail",
        "    but subject is 'bye', queue is 'mail'",
        "  send(to='bob', subject='bye', copies=1)  in queue mail, due in 1:00:00",
        "    but to is 'bob', subject is 'bye', queue is 'mail'",
        "other jobs: other × 1",
    ]


def test_a_failure_says_when_nothing_was_enqueued_or_too_much(kit: Kit, send: Any) -> None:
    with pytest.raises(AssertionError, match="nothing at all was enqueued"):
        kit.assert_enqueued(send)
    send.enqueue("ada")
    with pytest.raises(AssertionError, match=r"send\(…\) was enqueued:\n  send\(to='ada'"):
        kit.refute_enqueued(send)


def test_who_enqueued_is_known(app: Procession, kit: Kit, send: Any) -> None:
    @app.job
    def parent() -> None:
        send.enqueue("ada")

    handle = parent.enqueue()
    kit.run()
    assert kit.assert_enqueued(send).by == handle.jid
    assert kit.assert_enqueued(parent).by is None
