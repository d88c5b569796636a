"""What goes wrong between two steps of the state machine: workers die, pause and hear no answer, questions come late,
the store forgets its scripts, is killed and starts again, or fails over to a replica that lacks the last writes.

The queue workers of this file are small machines that follow the protocol of the real one: claim with a token of one's
own, ask again with it, settle until answered, compare at the heartbeat (with the real `compare`), drop what was lost,
give back what one knows nothing of. At the end the faults stop, and everything that is there comes to its end.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any
from uuid import UUID

from hypothesis import strategies as st
from hypothesis.stateful import rule
from redis import Redis

from procession.database.memory import MemoryDatabase
from procession.job import Crash, Outcome
from procession.moves import Move
from procession.runtime.heartbeat import compare
from tests.model.durable import Durable
from tests.model.replica import fail_over, snapshot
from tests.model.twins import LEASE, SETTLING, Twins, jobs_at, outcome_of

hands = st.integers(0, 1)
DUTIES = 5


class Hand:
    """A queue worker that lives as long as its process."""

    def __init__(self, name: str, token: bytes) -> None:
        self.name = name
        self.last, self.token = token[::-1], token
        self.running: dict[UUID, bytes] = {}
        self.outbox: list[Outcome] = []


class Faulty(Twins):
    """The twins in a bad world; `server` is set by the test."""

    server: Durable

    def __init__(self) -> None:
        super().__init__()
        self.hands = [self.new_hand(), self.new_hand()]
        self.late: list[Callable[[], Any]] = []
        self.cut: dict[str, Any] | None = None

    def new_hand(self) -> Hand:
        token = self.new_token()
        return Hand(f"hand{self.made}", token)

    # Queue workers

    @rule(at=hands, limit=st.integers(0, 3), heard=st.sampled_from([True, True, False]))
    def turn(self, at: int, limit: int, heard: bool) -> None:
        """Settle, beat, claim; if the answers are lost, the next turn asks the same again."""
        hand = self.hands[at]
        if hand.outbox:
            self.ask_settle(hand.name, hand.outbox)
        beat = self.ask_beat(hand.name, DUTIES)
        claims = self.ask_claim(["a", "b"], hand.name, hand.token, limit, hand.last) if limit else None
        if not heard:
            return
        settled = {(it.jid, it.token) for it in hand.outbox}
        hand.outbox = []
        here = {jid: token for jid, token in hand.running.items() if (jid, token) not in settled}
        conclusion = compare(beat.held, here)
        hand.running = {jid: token for jid, token in here.items() if jid not in conclusion.lost}
        for held in conclusion.strangers:
            if held.token != hand.token:
                hand.outbox.append(outcome_of(held.jid, held.token, Move.RELEASE))
        if claims is not None:
            hand.running |= {it.jid: it.token for it in claims.jobs}
            hand.last, hand.token = hand.token, self.new_token()

    @rule(at=hands, which=jobs_at, move=st.sampled_from(SETTLING), delay=st.sampled_from([0, 100, 5_000]))
    def finish(self, at: int, which: int, move: Move, delay: int) -> None:
        """A run comes to an outcome, which waits to be settled."""
        hand = self.hands[at]
        waiting = {it.jid for it in hand.outbox}
        open_ = [(jid, token) for jid, token in hand.running.items() if jid not in waiting]
        if open_:
            hand.outbox.append(outcome_of(*open_[which % len(open_)], move, delay))

    @rule(at=hands, seen=st.booleans())
    def crash(self, at: int, seen: bool) -> None:
        """A process dies with all it knew; its supervisor says so, or nobody does."""
        hand, self.hands[at] = self.hands[at], self.new_hand()
        if seen:
            with self.taking_back({hand.name}):
                self.both(lambda database: database.leave(hand.name, crash=Crash(how="signal 9")))

    @rule(at=hands, beaten=st.booleans())
    def pause(self, at: int, beaten: bool) -> None:
        """One worker is paused beyond its lease, the other looks for the dead meanwhile."""
        other = self.hands[1 - at]
        for _ in range(4):
            self.now += LEASE // 3
            self.ask_beat(other.name, DUTIES)
        if beaten:
            self.turn(at, 1, True)

    # Questions that come late

    @rule(at=hands, limit=st.integers(1, 3))
    def send_claim_late(self, at: int, limit: int) -> None:
        hand = self.hands[at]
        name, token, last = hand.name, hand.token, hand.last
        self.late.append(lambda: self.ask_claim(["a", "b"], name, token, limit, last))

    @rule(at=hands)
    def send_outcomes_late(self, at: int) -> None:
        hand = self.hands[at]
        name, outcomes = hand.name, [*hand.outbox]
        if outcomes:
            self.late.append(lambda: self.ask_settle(name, outcomes))

    @rule(which=jobs_at)
    def a_late_question_arrives(self, which: int) -> None:
        if self.late:
            self.late.pop(which % len(self.late))()

    # The store

    @rule()
    def scripts_are_forgotten(self) -> None:
        self.raw(Redis.script_flush)

    @rule()
    def the_server_is_killed(self) -> None:
        """What was acknowledged is in the append-only file."""
        for connection in self.connections:
            connection.close()
        self.server.kill()
        self.server.start()

    @rule()
    def the_link_to_the_replica_is_cut(self) -> None:
        """From here on the replica learns nothing."""
        keys = self.raw(lambda server: snapshot(server, self.namespace))
        self.cut = {"memory": self.memory(), "ledger": copy.deepcopy(self.ledger), "keys": keys}

    @rule()
    def failover(self) -> None:
        """The replica takes over: what came after the cut is lost, and each worker goes on with what it believes."""
        if self.cut is not None:
            cut, self.cut = self.cut, None
            vars(self.store()).update(cut["memory"])
            self.ledger = cut["ledger"]
            self.raw(lambda server: fail_over(server, self.namespace, cut["keys"]))

    def store(self) -> Any:
        memory = self.databases[0]
        assert isinstance(memory, MemoryDatabase)
        return memory.store

    def memory(self) -> dict[str, Any]:
        kept = ("_lock", "_listeners", "policy")
        return copy.deepcopy({name: value for name, value in vars(self.store()).items() if name not in kept})

    def raw(self, what: Callable[[Redis], Any]) -> Any:
        with Redis.from_url(self.url, protocol=2) as server:
            return what(server)

    # The end

    def teardown(self) -> None:
        """Without further faults everything comes to its end."""
        if self.hands[0].running or self.jids:
            self.drain()
        super().teardown()

    def drain(self) -> None:
        for question in self.late:
            question()
        self.both(lambda database: database.resume(["a", "b"]))
        for _ in range(200):
            counts = self.both(lambda database: database.counts())
            if not (counts.queued or counts.delayed or counts.running):
                return
            self.now += LEASE // 3
            self.both(lambda database: database.promote(100))
            for at in (0, 1):
                self.turn(at, 3, True)
                for _ in range(len(self.hands[at].running)):
                    self.finish(at, 0, Move.PROCESS, 0)
            self.agree()
        raise AssertionError(f"never drained: {counts}")
