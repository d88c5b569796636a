"""Where the store is, read from its URL: places, TLS, who we are. Pure; nothing is looked up or connected here.

`redis://`, `rediss://` (TLS), `valkey://`, `valkeys://`, each also with several hosts (nodes of a cluster, tried in
turn) and with `+sentinel` (the hosts are sentinels, the path begins with the service's name), and `unix://`. Called by
`target.py`; what may be printed of a URL is decided by `names.shown`.
"""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import parse_qs, unquote

from msgspec import Struct

from procession.errors import ConfigError
from procession.names import shown

SCHEMES = {"redis": False, "valkey": False, "rediss": True, "valkeys": True}
"""Names of schemes, and whether they mean TLS."""
TLS_VERSIONS = ("TLSv1", "TLSv1_1", "TLSv1_2", "TLSv1_3")
TLS_OPTIONS = (
    "ssl_ca_certs", "ssl_ca_path", "ssl_ca_data", "ssl_certfile", "ssl_keyfile", "ssl_password", "ssl_cert_reqs",
    "ssl_check_hostname", "ssl_min_version", "ssl_ciphers",
)  # fmt: skip
OPTIONS = ("db", "username", "password", "client_name", "sentinel_username", "sentinel_password", *TLS_OPTIONS)
"""What a URL's query may name."""
ENCODE = "characters such as / ? # @ in a password are written as %2F %3F %23 %40"


class Place(NamedTuple):
    """One server: a host and a port, or the path of a unix socket and port 0."""

    host: str
    port: int

    def __str__(self) -> str:
        if not self.port:
            return self.host
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """True when nothing that is said to it leaves this machine."""
        return not self.port or self.host in ("localhost", "::1") or self.host.startswith("127.")


class Credentials(NamedTuple):
    """A user and a password; never printed."""

    username: str = ""
    password: str = ""

    def __repr__(self) -> str:
        return "Credentials(***)"

    def command(self) -> list[tuple[str, ...]]:
        """What is said first on a new connection; nothing when there is no password."""
        if not self.password and not self.username:
            return []
        return [("AUTH", self.username, self.password) if self.username else ("AUTH", self.password)]


class Address(Struct, frozen=True, kw_only=True):
    """What a URL says."""

    places: tuple[Place, ...]
    """Servers, or with a `service` its sentinels."""
    service: str = ""
    database: int = 0
    credentials: Credentials = Credentials()
    sentinel_credentials: Credentials = Credentials()
    client_name: str = ""
    tls: TlsOptions | None = None


class TlsOptions(NamedTuple):
    """How a server proves who it is, and how we do. Files are named, not read."""

    options: tuple[tuple[str, str], ...]

    def __repr__(self) -> str:
        return f"TlsOptions({', '.join(name for name, _ in self.options)})"


def read(url: str) -> Address:
    """The address that a URL names. Raises ConfigError with what is wrong; a password is never part of the message."""
    named, _, rest = url.partition("://")
    rest, _, query = rest.partition("?")
    authority, slash, path = rest.partition("/")
    user, _, hosts = authority.rpartition("@")
    username, _, password = user.partition(":")
    options = _options(url, query)
    scheme, plus, way = named.partition("+")
    if not SCHEMES.get(scheme) and (unused := options.keys() & set(TLS_OPTIONS)):
        raise _wrong(url, f"{min(unused)} means nothing without TLS; write rediss:// or valkeys://")
    common = {
        "credentials": Credentials(
            unquote(username) or options.get("username", ""), unquote(password) or options.get("password", "")
        ),
        "client_name": options.get("client_name", ""),
    }
    if named == "unix":
        if not path:
            raise _wrong(url, "no path of a socket, as in unix:///run/valkey.sock")
        place = Place(unquote(f"{hosts}{slash}{path}"), 0)
        return Address(places=(place,), database=_database(url, options.get("db", "")), **common)  # type: ignore[arg-type]
    if scheme not in SCHEMES or (plus and way != "sentinel"):
        raise _wrong(url, f"unknown scheme {named!r}")
    if "@" in path:
        raise _wrong(url, ENCODE)
    service = ""
    if plus:
        service, _, path = unquote(path).partition("/")
        if not service:
            raise _wrong(url, "no name of the service, as in redis+sentinel://host:26379/mymaster/0")
    port = 26379 if plus else 6379
    return Address(
        places=tuple(_place(url, host, port) for host in hosts.split(",")),
        service=service,
        database=_database(url, options.get("db") or path.strip("/")),
        sentinel_credentials=Credentials(
            options.get("sentinel_username", ""), options.get("sentinel_password", "")
        ),
        tls=_tls(url, options) if SCHEMES[scheme] else None,
        **common,  # type: ignore[arg-type]
    )


def moved(text: str, here: Place) -> Place | None:
    """The place that an answer such as `MOVED 3999 10.0.0.1:6381` names; an empty host means the one that answered."""
    host, _, port = text.rpartition(" ")[2].rpartition(":")
    if not port.isdigit():
        return None
    return Place(here.host if host in ("", "?") else host.strip("[]"), int(port))


def _wrong(url: str, what: str) -> ConfigError:
    return ConfigError(f"cannot use the store URL {shown(url)!r}: {what}")


def _options(url: str, query: str) -> dict[str, str]:
    options = {name: values[-1] for name, values in parse_qs(query).items()}
    unknown = options.keys() - set(OPTIONS)
    if any("@" in name for name in options):
        raise _wrong(url, ENCODE)
    if unknown:
        raise _wrong(url, f"unknown option {min(unknown)!r}; known are {', '.join(OPTIONS)}")
    return options


def _place(url: str, text: str, default_port: int) -> Place:
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):
        host, port = text, str(default_port)
    if not port.isdigit() or not 0 < int(port) < 65_536:
        raise _wrong(url, f"a port is a number; {ENCODE}")
    return Place(unquote(host).strip("[]") or "localhost", int(port))


def _database(url: str, text: str) -> int:
    if text and not text.isdigit():
        raise _wrong(url, "the database is a number, as in redis://host:6379/0")
    return int(text or 0)


def _tls(url: str, options: dict[str, str]) -> TlsOptions:
    required = options.get("ssl_cert_reqs", "required").lower().removeprefix("cert_")
    if required not in ("none", "optional", "required"):
        raise _wrong(url, "ssl_cert_reqs is required (the default), optional or none")
    if options.get("ssl_min_version", TLS_VERSIONS[0]) not in TLS_VERSIONS:
        raise _wrong(url, f"ssl_min_version is one of {', '.join(TLS_VERSIONS)}")
    return TlsOptions(tuple((name, options[name]) for name in TLS_OPTIONS if name in options))
