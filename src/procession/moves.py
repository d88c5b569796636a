"""The moves of a job: one table, and the only place that says which change of state is legal.

Rule 1: nothing else decides legality. The memory database executes this table, the header of every Lua script is
checked against it, the state machine of the tests draws its rules from it, and the diagram in the docs is
printed from it. Rule 2: a move that starts from `running` names its claim and is refused when that claim is no longer
the current one. Rule 3: an attempt is counted at the claim, here and nowhere else, so a job that kills its worker is
counted too. Rule 4: a final state is left only by a person (`revive`) or by time (`forget`).

Called by the databases and the tests; it does no I/O.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple

from procession.job import FINAL, State


class Move(StrEnum):
    """The verb of one change of state."""

    ENQUEUE = "enqueue"
    DELAY = "delay"
    BLOCK = "block"
    PROMOTE = "promote"
    DEFER = "defer"
    FREE = "free"
    CLAIM = "claim"
    PROCESS = "process"
    RETRY = "retry"
    SNOOZE = "snooze"
    RELEASE = "release"
    POSTPONE = "postpone"
    FAIL = "fail"
    DISCARD = "discard"
    CRASH = "crash"
    RECOVER = "recover"
    POISON = "poison"
    CANCEL = "cancel"
    EXPIRE = "expire"
    MISS = "miss"
    REVIVE = "revive"
    REMOVE = "remove"
    FORGET = "forget"


class Row(NamedTuple):
    """One row of the table: from which states, to which one (None: the job is gone), and what it means."""

    sources: frozenset[State | None]
    target: State | None
    meaning: str
    fenced: bool = False


def _states(*states: State | None) -> frozenset[State | None]:
    return frozenset(states)


NEW, QUEUED, DELAYED, BLOCKED, RUNNING = None, State.QUEUED, State.DELAYED, State.BLOCKED, State.RUNNING
PROCESSED, FAILED, CANCELLED = State.PROCESSED, State.FAILED, State.CANCELLED
WAITING = _states(QUEUED, DELAYED, BLOCKED)

MOVES: Mapping[Move, Row] = MappingProxyType(
    {
        Move.ENQUEUE: Row(_states(NEW), QUEUED, "a new job, ready at once"),
        Move.DELAY: Row(_states(NEW), DELAYED, "a new job, due later"),
        Move.BLOCK: Row(_states(NEW, QUEUED, DELAYED) | FINAL, BLOCKED, "ready; others have the slots of its limit"),
        Move.PROMOTE: Row(_states(DELAYED), QUEUED, "its time has come"),
        Move.DEFER: Row(WAITING, DELAYED, "asked for anew under its unique key, due later"),
        Move.FREE: Row(_states(BLOCKED), QUEUED, "its limit has a slot free, and it is its turn"),
        Move.CLAIM: Row(_states(QUEUED), RUNNING, "a queue worker takes it; attempt + 1"),
        Move.PROCESS: Row(_states(RUNNING), PROCESSED, "the attempt returned", fenced=True),
        Move.RETRY: Row(_states(RUNNING), DELAYED, "the attempt failed, another follows", fenced=True),
        Move.SNOOZE: Row(_states(RUNNING), DELAYED, "the job asked to run later; attempt uncharged", fenced=True),
        Move.RELEASE: Row(_states(RUNNING), QUEUED, "given back unfinished; attempt uncharged", fenced=True),
        Move.POSTPONE: Row(_states(RUNNING), DELAYED, "this worker cannot perform it; uncharged", fenced=True),
        Move.FAIL: Row(_states(RUNNING), FAILED, "no attempt is left, or the job said so", fenced=True),
        Move.DISCARD: Row(_states(RUNNING), CANCELLED, "the job gave itself up, or was cancelled", fenced=True),
        Move.CRASH: Row(_states(RUNNING), QUEUED, "it killed its own process; crashes + 1", fenced=True),
        Move.RECOVER: Row(_states(RUNNING), QUEUED, "its worker died; crashes + 1"),
        Move.POISON: Row(_states(RUNNING), FAILED, "it killed its process, or its worker died, once too often"),
        Move.CANCEL: Row(WAITING, CANCELLED, "somebody cancelled it before it ran"),
        Move.EXPIRE: Row(WAITING, CANCELLED, "not started in time"),
        Move.MISS: Row(WAITING, FAILED, "its deadline passed while it waited"),
        Move.REVIVE: Row(FINAL, QUEUED, "somebody retries a finished job; attempts start anew"),
        Move.REMOVE: Row(WAITING | FINAL, None, "somebody removed it"),
        Move.FORGET: Row(FINAL, None, "its retention is over"),
    }
)


def target(move: Move, state: State | None) -> State | None:
    """The state that `move` leads to from `state`. Raises ValueError when the table forbids it."""
    row = MOVES[move]
    if state not in row.sources:
        raise ValueError(f"move {move} is not allowed from {state or 'new'}")
    return row.target


def allowed(move: Move, state: State | None) -> bool:
    """True when the table allows `move` from `state`."""
    return state in MOVES[move].sources
