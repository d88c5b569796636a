"""Who may look and who may act: roles, the loopback rule, and the proof that a request came from our own pages.

Called before every page, action and WebSocket. Pure decisions over what the request says; it serves nothing and
knows no job.
"""

from __future__ import annotations

import base64
import hmac
import ipaddress
from collections.abc import Awaitable, Callable, Mapping
from enum import IntEnum
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

from msgspec import Struct
from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse, Response

from procession.errors import ConfigError


class Role(IntEnum):
    """What somebody may do; each role may do what the one before may."""

    VIEWER = 1
    """Look at everything."""
    OPERATOR = 2
    """Retry and cancel jobs, pause and resume queues, quiet and resume workers, see their stacks."""
    ADMIN = 3
    """Remove jobs, stop workers, read the trail of what people did."""


class Access(Struct, frozen=True):
    """Somebody who was let in."""

    user: str
    role: Role = Role.VIEWER

    def may(self, role: Role) -> bool:
        """True when this one has at least `role`."""
        return self.role >= role


Auth = Callable[[HTTPConnection], "Access | Response | Awaitable[Access | Response | None] | None"]
"""Given the request (or WebSocket), says who it is: an `Access`; None to refuse; or a response, such as a redirect to a
login page."""

CLOSED = (
    "This dashboard answers only its own machine, because nobody said who may enter."
    " Open it as http://127.0.0.1, or give Dashboard(app, auth=…), or `procession web --password-file FILE`."
)
FOREIGN = "Refused: this did not come from a page of this dashboard (Sec-Fetch-Site or Origin says so)."
FORWARDED = ("x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip", "forwarded", "via")


def only_loopback(request: HTTPConnection) -> Access | None:
    """The rule where no `auth` is given: the peer and the name that was asked for are this machine's own.

    The name counts too, so that a page elsewhere whose name was made to point here (DNS rebinding) stays outside; and
    what a proxy passes on does not come from this machine. nginx says nothing of itself and puts our own name there,
    unless it is told otherwise: it is known by HTTP/1.0, which no browser speaks, and by the origin of what acts.
    """
    peer = request.client.host if request.client else ""
    names = [f"//{request.headers.get('host', '')}", request.headers.get("origin", "//localhost")]
    if any(header in request.headers for header in FORWARDED) or request.scope.get("http_version") == "1.0":
        return None
    here = [peer, *(split(it).hostname or "" for it in names)]
    return Access("", Role.ADMIN) if all(map(is_loopback, here)) else None


def is_loopback(host: str) -> bool:
    """True for this machine's own addresses, and for `localhost`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_same_origin(headers: Mapping[str, str]) -> bool:
    """True when a browser sent this from our own page: `Sec-Fetch-Site` says so, or `Origin` names our own host.

    A request with neither is refused, so a program that acts sends `Sec-Fetch-Site: same-origin` itself; no page
    elsewhere can set that header (https://www.w3.org/TR/fetch-metadata/).
    """
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site is not None:
        return site == "same-origin"
    return origin is not None and split(origin).netloc == headers.get("host", "nobody")


def split(address: str) -> SplitResult:
    """The parts of an address that strangers wrote; all empty for what is none."""
    try:
        return urlsplit(address)
    except ValueError:
        return SplitResult("", "", "", "", "")


def is_api(request: HTTPConnection) -> bool:
    """True when a program asks, which is answered in JSON whatever happens."""
    path: str = request.scope["path"]
    return path.removeprefix(request.scope.get("root_path", "")).startswith("/api/")


class Passwords:
    """An `auth` for HTTP Basic, for where no application says who is who. Use it behind TLS only.

    Args:
        lines: `user:password` or `user:password:role` each (role: viewer, operator, admin; operator when not given);
            empty lines and those that begin with `#` are left out.

    Raises:
        ConfigError: a line says something else, or there is none.
    """

    def __init__(self, lines: list[str]) -> None:
        self._known: dict[str, tuple[bytes, Role]] = {}
        for number, line in enumerate(lines, 1):
            if line.strip() and not line.startswith("#"):
                user, secret, role = _entry(line.strip(), number)
                self._known[user] = (secret.encode(), role)
        if not self._known:
            raise ConfigError("the password file names nobody; write one user:password[:role] a line")

    @classmethod
    def of_file(cls, path: Path) -> Passwords:
        """Read a password file. Raises ConfigError."""
        try:
            return cls(path.read_text("utf-8").splitlines())
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"the password file {path} cannot be read: {error}") from None

    def __call__(self, request: HTTPConnection) -> Access | Response:
        scheme, _, words = request.headers.get("authorization", "").partition(" ")
        try:
            user, _, given = base64.b64decode(words).decode().partition(":")
        except ValueError:  # no Base64, or no UTF-8 within it
            user, given = "", ""
        secret, role = self._known.get(user, (b"", Role.VIEWER))
        if scheme.lower() == "basic" and hmac.compare_digest(given.encode(), secret) and secret:
            return Access(user, role)
        asks = {"WWW-Authenticate": 'Basic realm="Procession", charset="UTF-8"'}
        if is_api(request):
            return JSONResponse({"error": "Who are you? Give user and password by HTTP Basic."}, 401, asks)
        return Response("Who are you?", 401, asks)


def _entry(line: str, number: int) -> tuple[str, str, Role]:
    user, _, rest = line.partition(":")
    secret, _, word = rest.rpartition(":")
    named = {role.name.lower(): role for role in Role}
    if word not in named:
        secret, word = rest, "operator"
    if not user or not secret:
        raise ConfigError(f"line {number} of the password file must be user:password or user:password:role")
    return user, secret, named[word]


def lowered(found: Any, *, read_only: bool) -> Any:
    """Somebody who was let in, as a viewer where the dashboard is read-only; anything else as it is."""
    return Access(found.user, Role.VIEWER) if read_only and isinstance(found, Access) else found
