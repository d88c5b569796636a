"""Which queue comes first: shares kept by count, strict order, and what is refused."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest

from procession import ConfigError, Procession
from procession.config import Settings
from procession.runtime.queue_worker import QueueWorker
from procession.runtime.turns import Turns
from procession.serving import shares_of

SHARES = {"critical": 6, "default": 3, "low": 1}


def claims(turns: Turns, waiting: Counter[str], limit: int) -> list[str]:
    """One claim as the store answers it: the queues in this order, each to its end."""
    order, taken = turns.order(), list[str]()
    for queue in order:
        number = min(waiting[queue], limit - len(taken))
        taken += [queue] * number
        waiting[queue] -= number
    turns.claimed(order, taken, limit)
    return taken


def test_shares_are_kept_to_the_job_when_claims_take_one_each() -> None:
    turns, waiting = Turns(SHARES), Counter(dict.fromkeys(SHARES, 10_000))
    for _ in range(30):
        assert Counter(it for _ in range(10) for it in claims(turns, waiting, 1)) == SHARES


@pytest.mark.parametrize("limit", [7, 50, None])
def test_shares_are_kept_to_within_one_claim_however_many_it_takes(limit: int | None) -> None:
    turns, waiting, taken = Turns(SHARES), Counter(dict.fromkeys(SHARES, 100_000)), Counter[str]()
    chance = random.Random(7)
    for _ in range(400):
        most = limit or chance.randint(1, 60)
        taken += Counter(claims(turns, waiting, most))
        for queue, share in SHARES.items():
            assert abs(taken[queue] - taken.total() * share / 10) <= 2 * (limit or 60)


def test_queues_without_shares_take_turns_also_when_every_other_turn_claims_nothing() -> None:
    turns, waiting = Turns(shares_of(["a", "b", "c"])), Counter(a=300, b=300, c=300)
    assert [claims(turns, waiting, 1)[0] for _ in range(6)] == ["a", "b", "c", "a", "b", "c"]


def test_a_queue_that_had_nothing_saves_up_nothing() -> None:
    turns, waiting = Turns(shares_of(["a", "b"])), Counter(a=500)
    for _ in range(100):
        assert claims(turns, waiting, 1) == ["a"]
    waiting["b"] = 500
    assert Counter(claims(turns, waiting, 1)[0] for _ in range(40)) == {"a": 20, "b": 20}


def test_after_all_were_empty_they_begin_level() -> None:
    turns, waiting = Turns(SHARES), Counter(low=9)
    assert claims(turns, waiting, 10) == ["low"] * 9
    assert turns.order() == [*SHARES]


def test_strict_order_is_the_order_given_whatever_was_claimed() -> None:
    turns, waiting = Turns(shares_of(["b", "a"]), "strict"), Counter(a=5, b=5)
    assert [it for _ in range(10) for it in claims(turns, waiting, 1)] == ["b"] * 5 + ["a"] * 5


@pytest.mark.parametrize("queues", [["critical:6", "default:3", "low:1"], "critical:6, default:3,low"])
def test_shares_are_read_from_words_and_from_one_text(queues: str | list[str]) -> None:
    assert shares_of(queues) == SHARES
    assert [*shares_of(queues)] == [*SHARES]


@pytest.mark.parametrize(
    ("queues", "message"),
    [
        (["a:0"], "a whole number from 1 to 1,000, as in a:3"),
        (["a:2.5"], "whole number"),
        (["a:"], "whole number"),
        (["a", "a:2"], "named twice"),
        (["a b"], "queue name"),
        (["failed:2"], "final state"),
    ],
)
def test_words_that_mean_nothing_are_refused(queues: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        shares_of(queues)


def test_the_settings_say_which_queues_from_code_environment_and_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.procession]\nqueues = ["a:2", "b"]\nqueue_order = "shares"\n')
    assert QueueWorker(Procession("memory://turns")).queues == ["a", "b"]
    monkeypatch.setenv("PROCESSION_QUEUES", "c, d")
    monkeypatch.setenv("PROCESSION_QUEUE_ORDER", "strict")
    monkeypatch.setenv("PROCESSION_AGEING", "10m")
    settings = Settings.load()
    assert (settings.queues, settings.queue_order, settings.ageing) == ("c, d", "strict", "10m")
    assert QueueWorker(Procession("memory://turns")).queues == ["c", "d"]
    assert QueueWorker(Procession("memory://turns", queues=["e"])).queues == ["e"]
    assert QueueWorker(Procession("memory://turns", queues=["e"]), queues=["f"]).queues == ["f"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"queues": ["a:2"], "queue_order": "strict"}, "leave the shares out"),
        ({"queue_order": "random"}, "queue_order='random' from an argument"),
        ({"ageing": "soon"}, "ageing 'soon' is not a duration"),
    ],
)
def test_settings_that_contradict_themselves_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Settings.load(**settings)
