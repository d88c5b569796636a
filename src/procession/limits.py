"""Limits: how many jobs of a kind may be under way at a time, over all queue workers. Pure, and no I/O.

An application writes `Limit` where a job is defined or enqueued; `Limited` is what it comes to for one job, checked,
and `Slot` what one enqueue asks of the store. Which job has a slot is written in the store by that job's own moves
(`lua/lib/limits.lua`); nothing here knows it. Called by the registry, the enqueuer and the databases.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from procession.errors import ConfigError
from procession.unique import LONGEST_KEY, defaults_in, digest, filled, named_in, shown

if TYPE_CHECKING:
    from procession.codec import Signature

MOST_SLOTS = 1_000_000
"""Most slots of one limit."""
NAME_LENGTH = 200
"""Most characters of a limit's name."""


class Limit(Struct, frozen=True):
    """At most so many jobs are under way at a time: ready in a queue, or running. Others wait as `blocked`.

    Args:
        most: the number of slots, 1 to 1,000,000. Of several words on the same limit the newest counts.
        by: what has a limit of its own: an argument (`"account_id"`), several (`("account_id", "region")`), or a text
            with arguments filled in (`"{account_id} in {region}"`). None: all jobs of the limit share one.
        name: of the limit; by default that of the job. Jobs that give the same name share the limit.

    Raises:
        ConfigError: there is no such limit.
    """

    most: int
    by: str | tuple[str, ...] | None = None
    name: str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.most, int) or isinstance(self.most, bool) or not 1 <= self.most <= MOST_SLOTS:
            raise ConfigError(f"Limit({self.most!r}): at least 1 job, at most {MOST_SLOTS:,}; pause a queue to stop it")
        if isinstance(self.by, list):
            msgspec.structs.force_setattr(self, "by", tuple(self.by))
        by = self.by if isinstance(self.by, tuple) else (self.by,)
        if self.by is not None and not (by and all(isinstance(it, str) and it for it in by)):
            raise ConfigError(f"by={self.by!r} must name an argument, several in a tuple, or be a text with them")
        if self.name is not None and not (
            isinstance(self.name, str) and 0 < len(self.name) <= NAME_LENGTH and self.name.isprintable()
        ):
            raise ConfigError(f"name={self.name!r} of a limit must be 1 to {NAME_LENGTH} printable characters")


class Slot(Struct, frozen=True, kw_only=True):
    """What one new job asks for: a slot of this limit, for as long as it is ready or runs."""

    limit: bytes
    """16 bytes: a digest of the limit's text."""
    most: int
    """How many slots the limit has, by the word of this job."""


class Limited(Struct, frozen=True, kw_only=True):
    """The limit of one job, checked against its signature."""

    name: str
    most: int
    by: str | tuple[str, ...] | None = None
    """A text with arguments filled in, or the names of several arguments."""
    named: tuple[str, ...] = ()
    """The arguments that it speaks about."""
    defaults: bytes = b"{}"
    """The defaults of parameters as a JSON object."""

    def text(self, arguments: bytes, signature: Signature) -> str:
        """The limit of a call with these arguments, for people: `name`, or `name/value`. Raises ConfigError when it is
        too long."""
        if self.by is None:
            return self.name
        given: dict[str, Any] = msgspec.json.decode(self.defaults) | signature.one_form(arguments)
        values = {name: given.get(name) for name in self.named}
        which = filled(self.by, values) if isinstance(self.by, str) else shown([*values.values()])
        if len(which) > LONGEST_KEY:
            raise ConfigError(f"the limit {which[:40]!r}… is over {LONGEST_KEY:,} characters; name fewer arguments")
        return f"{self.name}/{which}"

    def slot(self, text: str) -> Slot:
        """What a job under the limit of this text asks for."""
        return slot_of(text, self.most)


def slot_of(text: str, most: int) -> Slot:
    """A slot of the limit with this text."""
    return Slot(limit=digest(text), most=most)


def limited(limit: Limit | bool | None, job: str, signature: Signature) -> Limited | None:
    """A limit for jobs of one name and signature; None and False for none. Raises ConfigError."""
    if limit is None or limit is False:
        return None
    if not isinstance(limit, Limit):
        raise ConfigError(f'limit={limit!r} must be a Limit: limit=Limit(1), limit=Limit(1, by="account_id")')
    by = limit.by
    if isinstance(by, str) and "{" not in by and "}" not in by:
        by = "{" + by + "}"
    named = named_in(by, "by") if isinstance(by, str) else by or ()
    for name in named:
        if name not in signature.signature.parameters:
            raise ConfigError(
                f"by={limit.by!r} names {name!r}, which is no parameter of {signature}; for a text as it is, use name="
            )
    defaults = defaults_in(signature) if named else b"{}"
    return Limited(name=limit.name or job, most=limit.most, by=by, named=tuple(named), defaults=defaults)
