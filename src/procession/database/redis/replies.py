"""What an error of the server means: one table, from which the code acts and docs/connecting.md is printed. Pure.

The text of an error begins with its code. Rows are tried in order, the first that fits counts; what fits none is an
error of ours or of the server, and is shown as it came. Called by `asking.py` and `opening.py`.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from procession.errors import DatabaseError, ProcessionError, StoreRefused, Unavailable, WrongVersion


class Then(Enum):
    """What is done about it."""

    ASK_THERE = "the node that it names is asked, in the same call"
    LOOK_AGAIN = "a fresh look-up, and asked again in the same call"
    REFUSE = "refused; a queue worker asks again until it is taken"
    GIVE_UP = "an error: a queue worker ends with it"


class Answer(NamedTuple):
    """One row: how the text begins (or with a leading …, what it contains), what it means, what is done."""

    text: str
    meaning: str
    then: Then

    def fits(self, text: str) -> bool:
        """True when this row speaks about an error with this text."""
        return self.text[1:] in text if self.text.startswith("…") else text.startswith(self.text)


OLDEST = "Redis 7.0 or Valkey 7.2 at least are needed"
ANSWERS = (
    Answer("MOVED", "another node of the cluster owns the shard", Then.ASK_THERE),
    Answer("READONLY", "this is a replica: the primary is elsewhere now", Then.LOOK_AGAIN),
    Answer("UNBLOCKED", "the server became a replica while we waited", Then.REFUSE),
    Answer("ASK", "the shard's slot is on its way to another node key by key; nothing runs meanwhile", Then.REFUSE),
    Answer("TRYAGAIN", "the shard's slot is in two halves, as with ASK", Then.REFUSE),
    Answer("CLUSTERDOWN", "the cluster has no node for this shard now; look at CLUSTER INFO", Then.REFUSE),
    Answer("LOADING", "the server is reading its data back into memory", Then.REFUSE),
    Answer("MASTERDOWN", "a replica that lost its primary", Then.REFUSE),
    Answer("BUSY ", "a script holds the server; look for it in the SLOWLOG", Then.REFUSE),
    Answer("…cript killed by user", "somebody ended the script before it wrote anything", Then.REFUSE),
    Answer("OOM", "memory is full: no new work, but what is there drains; raise maxmemory or shorten", Then.REFUSE),
    Answer("MISCONF", "the server cannot write to its disk; look at its log and free space", Then.REFUSE),
    Answer("NOREPLICAS", "fewer replicas are connected than min-replicas-to-write asks for", Then.REFUSE),
    Answer("…max number of clients", "every place for a client is taken; raise maxclients", Then.REFUSE),
    Answer("NOAUTH", "the server wants a password; set it in the URL, or as username and password", Then.REFUSE),
    Answer("WRONGPASS", "user or password is wrong, or the user is disabled", Then.REFUSE),
    Answer("…without any password configured", "a password was given and the server has none", Then.REFUSE),
    Answer("NOPERM", "the user lacks a right; docs/connecting.md lists those that are needed", Then.REFUSE),
    Answer("…DB index is out of range", "it has no database of this number; give the URL another", Then.REFUSE),
    Answer("DENIED", "protected mode: the server talks to its own machine only, until a password is set", Then.REFUSE),
    Answer("…shebang", f"too old: {OLDEST}", Then.GIVE_UP),
    Answer("…unknown command", f"too old ({OLDEST}), or a proxy or rename-command hides the command", Then.GIVE_UP),
)


def understood(text: str) -> Answer | None:
    """The row for an error, None when there is none."""
    return next((answer for answer in ANSWERS if answer.fits(text)), None)


def refused(text: str) -> bool:
    """True when the server answered "not now" and changed nothing."""
    answer = understood(text)
    return answer is not None and answer.then is not Then.GIVE_UP


def raised(text: str, where: str) -> ProcessionError:
    """The error for the caller."""
    answer = understood(text)
    if answer is None:
        return DatabaseError(f"the store at {where} answered with an error: {text}")
    if answer.then is Then.GIVE_UP:
        return WrongVersion(f"the store at {where} cannot be used: {answer.meaning} ({text})")
    return StoreRefused(f"the store at {where} does not take this now: {answer.meaning} ({text})")


def unavailable(error: BaseException, where: str, *, asked: bool) -> Unavailable:
    """The error when there was no answer."""
    why = str(error) or type(error).__name__
    hope = "it may have run all the same" if asked else "nothing was sent"
    return Unavailable(f"no answer from the store at {where}: {why}; {hope}", asked=asked)
