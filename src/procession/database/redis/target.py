"""One store as its connections see it: the address, who we are, where the shard was found last, and which places to
try.

One per database, shared by its connections; what is learned here is a hint and costs a detour at worst when it is
wrong. Called by `dialogue.py`. No I/O.
"""

from __future__ import annotations

from collections.abc import Callable

from procession.database.redis import address
from procession.database.redis.address import Address, Place
from procession.names import shown

KNOWN = 16
"""Most places that are remembered, those of the URL included."""

Login = Callable[[], tuple[str, str]]
"""The user's callable: a username (or "") and a password, asked for before each connection."""


class Target:
    """Where to go and as whom.

    Args:
        url: the store.
        tag: what every key of the shard begins with.
        revive: gives the URL anew before each connection, and may start the server first.
        login: gives username and password before each connection.
    """

    def __init__(
        self, url: str, tag: str, *, revive: Callable[[], str] | None = None, login: Login | None = None
    ) -> None:
        self.tag = tag
        self.revive = revive
        self.login = login
        self.where = shown(url)
        self.address: Address = address.read(url)
        self._places = list(self.address.places)
        self._home: Place | None = None
        self._warned = False

    def revived(self, url: str) -> None:
        """The URL may be another one now."""
        if shown(url) != self.where:
            self.where, self.address = shown(url), address.read(url)
            self._places, self._home = list(self.address.places), None

    def places(self) -> list[Place]:
        """Which places to try, the likeliest first. With a service they are its sentinels."""
        home = self._home
        return self._places if home is None else [home, *(place for place in self._places if place != home)]

    def found(self, place: Place) -> None:
        """The shard is served here."""
        if not self.address.service:
            self._home = place
            if place not in self._places and len(self._places) < KNOWN:
                self._places = [*self._places, place]

    def doubt(self, place: Place | None = None) -> None:
        """What was found may be so no more; `place` failed and is tried last."""
        self._home = None
        if place is not None and place in self._places:
            self._places = [*(it for it in self._places if it != place), place]

    def warn_of_plaintext(self, place: Place) -> None:
        """Say once that a password crosses the network in the clear."""
        if self.address.tls is None and not place.is_loopback and not self._warned:
            self._warned = True
            import logging  # 5 ms, which a program that only enqueues may do without

            log = logging.getLogger("procession")
            log.warning("the password for the store at %s travels unencrypted; use rediss:// where you can", place)
