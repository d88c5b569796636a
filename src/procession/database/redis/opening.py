"""Finding the server that owns our shard and takes writes, and letting it know us.

Every search begins with the address and a fresh name look-up: places in turn, sentinels asked each time, a cluster's
redirections followed. The greeting is one trip: who we are, which database, and whether the stored format is one that
we read. Called by `asking.py`.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from procession.database.redis import address
from procession.database.redis.address import Credentials, Place
from procession.database.redis.replies import raised, refused, unavailable
from procession.database.redis.steps import Aside, Exchange, Open, Talk, error_in
from procession.database.redis.target import Login, Target
from procession.database.redis.wire import BROKEN, Command
from procession.errors import ProcessionError, StoreRefused, Unavailable, WrongVersion

FORMAT = b"3"
"""Version of the stored format that this release writes. 1 and 2 were those of states before the first release."""
READABLE = (FORMAT,)
"""What it reads: this one and the one before. `tests/format` holds a frozen store of each."""


def opening(target: Target, *, asked: bool = False) -> Talk[Any]:
    """Find the server that owns our shard and takes writes, and let it know us. Raises as `asking`."""
    if target.revive is not None:
        target.revived((yield Aside(target.revive, target.revive, untimed=True)))
    problem: ProcessionError | None = None
    places, tried = target.places(), set[Place]()
    while places:
        seed, *places = places
        place: Place | None = seed
        try:
            if target.address.service:
                place = yield from _named_by_sentinel(target, seed, len(places) + 2)
            while place is not None and place not in tried:
                tried.add(place)
                line = yield Open(place, target.address.tls, len(places) + 1)
                try:
                    place = yield from _greeting(target, line)
                except BaseException:
                    line.close()
                    raise
                if place is None:
                    target.found(line.place)
                    return line
                line.close()
        except StoreRefused as error:
            target.doubt(seed)
            problem = error  # an answer says more than silence
        except ProcessionError:
            raise
        except BROKEN as error:
            target.doubt(seed)
            problem = problem or unavailable(error, target.where, asked=asked)
    raise problem or unavailable(OSError("no server was named"), target.where, asked=asked)


def _credentials(target: Target) -> Talk[Credentials]:
    if target.login is None:
        return target.address.credentials
    where, login = target.where, target.login
    try:
        given: Credentials = yield Aside((login, where), partial(_asked_for, login, where))
    except TimeoutError:
        raise Unavailable(f"credentials() gave no answer in time; nothing was sent to the store at {where}") from None
    return given


def _asked_for(login: Login, where: str) -> Credentials:
    """What the user's callable gives. What it raises is caught here, where it is no trouble on the way to the store."""
    try:
        given: Any = login()
    except Exception as error:
        raise Unavailable(
            f"credentials() raised {type(error).__name__}; nothing was sent to the store at {where}"
        ) from error
    match given:
        case (None | str() as username, None | str() as password):
            return Credentials(username or "", password or "")
    kind = type(given).__name__
    raise Unavailable(
        f'credentials() must return a username (or "") and a password, not {kind}; nothing was sent to the store'
        f" at {where}"
    )


def _greeting(target: Target, line: Any) -> Talk[Place | None]:
    """Authenticate, and see that this is a primary with a format that we read; one trip. Answers with another place
    when the shard lives there."""
    who = yield from _credentials(target)
    if who.password:
        target.warn_of_plaintext(line.place)
    meta = f"{target.tag}:meta"
    commands: list[Command] = [*who.command()]
    if target.address.database:
        commands.append(("SELECT", target.address.database))
    if target.address.client_name:
        commands.append(("CLIENT", "SETNAME", target.address.client_name))
    if target.address.service:
        commands.append(("ROLE",))
    commands += [("HSETNX", meta, "format", FORMAT), ("HGET", meta, "format")]
    try:
        replies = yield Exchange(line, commands)
    except BROKEN:
        for reply in line.replies:  # such as "max number of clients reached", said before it hangs up
            text = error_in(reply)
            if text is not None:
                raise raised(text, target.where) from None
        raise
    *before, made, version = replies
    for command, reply in zip(commands, before, strict=False):
        text = error_in(reply)
        if command[0] == "ROLE" and text is None and reply[0] != b"master":
            raise StoreRefused(f"{line.place} was named as the primary of {target.address.service!r} and is none yet")
        if text is not None and command[0] not in ("ROLE", "CLIENT"):  # rights that a user may lack
            raise raised(text, target.where)
    for reply in (made, version):
        text = error_in(reply)
        if text is not None and text.startswith("MOVED"):
            return address.moved(text, line.place)
    _check_format(error_in(made), version, target)
    return None


def _check_format(made: str | None, version: Any, target: Target) -> None:
    text = error_in(version)
    if text is not None:
        raise raised(text, target.where)
    if made is not None and (made.startswith(("READONLY", "ASK", "TRYAGAIN")) or not refused(made)):
        raise raised(made, target.where)  # a full or read-only disk is no reason to turn away who only looks
    if version is not None and version not in READABLE:
        readable = " and ".join(it.decode() for it in READABLE)
        raise WrongVersion(
            f"the store at {target.where} holds format {version.decode(errors='replace')},"
            f" this release reads {readable}; upgrade procession, or use another namespace"
        )


def _named_by_sentinel(target: Target, sentinel: Place, parts: int) -> Talk[Place]:
    line = yield Open(sentinel, target.address.tls, parts)
    service = target.address.service
    commands = [*target.address.sentinel_credentials.command(), ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", service)]
    try:
        *_, named = yield Exchange(line, commands)
    finally:
        line.close()
    text = error_in(named)
    if text is not None and "unknown command" in text:
        raise StoreRefused(f"{sentinel} is no sentinel; write redis:// for a server itself, without the service's name")
    if text is not None:
        raise raised(text, f"sentinel {sentinel}")
    if named is None:
        raise StoreRefused(f"the sentinel {sentinel} knows no service {service!r}; it is the name in its configuration")
    return Place(named[0].decode(), int(named[1]))
