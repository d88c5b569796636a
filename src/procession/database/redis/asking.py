"""Asking a server: what is put again, and where, and what never is.

- A line that may be dead is replaced before it is used; after any doubt the next is found by a fresh look-up.
- Put again is only what is known not to have run: a script that the server did not know (`NOSCRIPT`, in a trip of
  several only those that got it), what another node owns (`MOVED`), what a replica turned away (`READONLY`).
- Whatever may have run is reported as such, and never repeated here.

Most questions need none of this: a connection puts them over a line that is there, and the conversation begins with
what came of that, where it was no ordinary answer (`First`).

Which error means what is the table in `replies.py`. Called by `connection.py` and `connection_async.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from procession.clock import Deadline
from procession.database.operation import Durability
from procession.database.redis import address
from procession.database.redis.durability import confirmation, confirmed, probe
from procession.database.redis.opening import opening
from procession.database.redis.replies import Then, raised, unavailable, understood
from procession.database.redis.scripts import Script
from procession.database.redis.steps import Exchange, Question, Slot, Talk, error_in
from procession.database.redis.target import Target
from procession.database.redis.wire import BROKEN, Refusal
from procession.errors import ProcessionError, StoreRefused

SLACK = 2.0
"""Seconds that a blocking read may take longer than it asked for, before the line counts as dead."""
HOPS = 5
"""Most times that a question is put within one call."""
IN_FRONT = frozenset({"note"})
"""Scripts that mean something only in front of what else is in their trip, so they go out as text: one that the server
did not know would be put again when the others have run, and the last words of an attempt come after its end."""


First = list[Any] | BaseException | None
"""What came of questions that the connection itself put over the line in a slot, or what went wrong; None without."""


def of_script(script: Script, arguments: Sequence[Any], tag: str) -> Question:
    """One call of a script.

    The one key that is declared, the bare tag, never exists. So while a cluster moves the slot key by key, the old node
    turns every call away before it begins (`ASK`), and that is not followed: on the new node the script would find half
    of the shard and make the other half anew.
    """
    if script.name in IN_FRONT:
        return Question(("EVAL", script.text, 1, tag, *arguments))
    return Question(("EVALSHA", script.sha, 1, tag, *arguments), script.text)


def of_bells(bells: Sequence[str], timeout: float, tag: str) -> Question:
    """A wait for the first of some bells."""
    return Question(("BLPOP", *(f"{tag}:bell:{bell}" for bell in bells), f"{max(timeout, 0.001):.3f}"))


def asking(
    target: Target,
    slot: Slot,
    questions: Sequence[Question],
    deadline: Deadline,
    *,
    durability: Durability = "memory",
    seconds: float | None = None,
    first: First = None,
) -> Talk[list[Any]]:
    """Ask questions in one trip, following their shard. Errors of the server are among the replies.

    Raises:
        Unavailable: no answer; `asked` says whether something may have run. Or written, and not confirmed.
        StoreRefused: nothing was asked: the store would not let us in, or cannot keep to `durability`.
    """
    commands = [question.first for question in questions]
    replies: list[Any] = [None] * len(questions)
    todo = [*range(len(questions))]
    came: list[Any] = []
    probed: Any = None
    try:
        for _ in range(HOPS):
            asked = len(todo) < len(questions)
            line = slot.ready() if first is None else slot.line
            fresh = line is None
            if line is None:
                slot.drop()
                line = slot.line = yield from opening(target, asked=asked)
            try:
                if durability != "memory" and line is not probed:
                    yield from probe(target, line, durability)
                    probed = line
                asked = True
                out = commands if len(todo) == len(commands) else [commands[i] for i in todo]
                if durability != "memory":
                    out = out + confirmation(target, durability, deadline)
                if isinstance(first, BaseException):
                    raise first
                came, first = first if first is not None else (yield Exchange(line, out, seconds)), None
            except StoreRefused:
                if fresh:
                    raise
                slot.drop()  # it could once: its server may be a replica by now, or the shard be elsewhere
                target.doubt(line.place)
                continue
            except ProcessionError:
                raise
            except BROKEN as error:
                target.doubt(line.place)
                raise unavailable(error, target.where, asked=asked) from None
            again = []
            for i, reply in zip(todo, came, strict=False):
                replies[i] = reply
                if not isinstance(reply, Refusal):
                    continue
                text = str(reply)
                if text.startswith("NOSCRIPT"):
                    commands[i] = questions[i].whole
                    again.append(i)
                elif _is_elsewhere(target, line.place, text):
                    slot.drop()
                    again.append(i)
            if not again:
                break
            todo = again
        if durability != "memory" and not any(map(error_in, replies)):
            confirmed(target, durability, came[-1])
        return replies
    except StoreRefused:
        raise
    except BaseException:
        slot.drop()
        raise


def is_ordinary(came: Sequence[Any]) -> bool:
    """No server refused anything: these are the answers, and there is nothing to consider."""
    return Refusal not in map(type, came)


def _is_elsewhere(target: Target, here: address.Place, text: str) -> bool:
    """True when this error says to put the question to another server; `target` then knows what is known of where."""
    answer = understood(text)
    if answer is None:
        return False
    if answer.then is Then.ASK_THERE:
        target.doubt()
        place = address.moved(text, here)
        if place is not None:
            target.found(place)
        return True
    if answer.then is Then.LOOK_AGAIN:
        target.doubt(here)
        return True
    return False


def answers(operations: Sequence[Any], replies: Sequence[Any], target: Target) -> Any:
    """What operations make of their replies. Raises the error of the first that has one."""
    for reply in replies:
        if isinstance(reply, Refusal):
            raise raised(str(reply), target.where)
    if len(operations) == 1:
        return operations[0].read(replies[0])
    return tuple(operation.read(reply) for operation, reply in zip(operations, replies, strict=True))


def rung(reply: Any, target: Target) -> str | None:
    """The name of the bell in the answer to `of_bells`. Raises the error in it."""
    if isinstance(reply, Refusal):
        raise raised(str(reply), target.where)
    return None if reply is None else reply[0].decode().removeprefix(f"{target.tag}:bell:")
