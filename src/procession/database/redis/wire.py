"""The wire: commands as bytes, bytes as replies, and a socket set up as we want it. The only file that imports the
driver (hiredis), which knows the format and does no I/O.

Both kinds of line (`line.py`, `line_async.py`) read and write through it.
"""

from __future__ import annotations

import select
import socket
import ssl
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import hiredis

from procession.database.redis.address import Place, TlsOptions

Command = Sequence[Any]

Refusal = hiredis.ReplyError
"""An error as the server answered it: a value among replies, its text begins with its code."""
MORE: Any = object()
"""What a reader answers while the next reply is not whole yet."""
BROKEN = (OSError, EOFError, hiredis.ProtocolError)
"""What says that the way to a server is in doubt: sockets, a name look-up, TLS, an end of file, foreign bytes."""
AGAIN = (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
"""What a socket that does not block raises when it must wait."""
READ_SIZE = 65_536
LONG = 16_384
"""Bytes of a command that is worth a system call of its own."""

KEEPALIVE = (("TCP_KEEPIDLE", 15), ("TCP_KEEPALIVE", 15), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3))
"""Seconds, seconds, seconds, probes (macOS has its own name for the first). A second line only: a proxy that is half
dead answers keepalives for ever, so every call has its own deadline."""
USER_TIMEOUT = 30_000
"""Milliseconds that sent bytes may stay unacknowledged before the system gives the connection up."""


def packed(commands: Sequence[Command]) -> Iterable[bytes]:
    """Commands as they are sent: in one piece, but for long ones. Those are sent one by one, so that the server is at
    work on the first while the next is packed."""
    if len(commands) == 1:
        return (hiredis.pack_command(tuple(commands[0])),)
    return _pieces(commands)


def _pieces(commands: Sequence[Command]) -> Iterator[bytes]:
    short: list[bytes] = []
    for command in commands:
        short.append(hiredis.pack_command(tuple(command)))
        if len(short[-1]) > LONG:
            yield b"".join(short)
            short = []
    if short:
        yield b"".join(short)


def reader() -> hiredis.Reader:
    """What takes bytes in and gives replies out."""
    return hiredis.Reader(notEnoughData=MORE)


def new_socket(place: Place, family: int) -> socket.socket:
    """A socket that is not connected yet: no delay for small packets, dead peers noticed by the system too."""
    if not place.port:
        return socket.socket(socket.AF_UNIX)
    made = socket.socket(family)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in KEEPALIVE:
        if hasattr(socket, name):
            made.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT)
    return made


def addresses(place: Place) -> list[tuple[int, Any]]:
    """The family and address of each way to a place, by a look-up made now. Blocks as long as the resolver does."""
    if not place.port:
        return [(socket.AF_UNIX, place.host)]
    found = socket.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM)
    return [(family, where) for family, _, _, _, where in found]


def needs_look_up(place: Place) -> bool:
    """False for a unix socket and for a host that is an address already."""
    if not place.port:
        return False
    try:
        socket.getaddrinfo(place.host, place.port, flags=socket.AI_NUMERICHOST)
    except socket.gaierror:
        return True
    return False


def poller(of: socket.socket, what: int) -> select.poll:
    """What tells, without taking anything, whether a socket can be read or written now. On a line that asked nothing,
    readable means its end, or bytes that nobody wants."""
    made = select.poll()
    made.register(of, what)
    return made


def tls_context(options: TlsOptions | None) -> ssl.SSLContext | None:
    """How a line is secured; None for a plain one. The certificate and the host name are verified unless the URL says
    otherwise. Reads files, so it is asked for off the event loop; it is kept until one of them changes."""
    if options is None:
        return None
    given = dict(options.options)
    files = [given[name] for name in ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile") if name in given]
    return _tls_context(options, tuple(Path(file).stat().st_mtime_ns for file in files))


@lru_cache(maxsize=16)
def _tls_context(options: TlsOptions, _stamps: tuple[int, ...]) -> ssl.SSLContext:
    given = dict(options.options)
    own_authority = any(name in given for name in ("ssl_ca_certs", "ssl_ca_path", "ssl_ca_data"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if own_authority:
        context.load_verify_locations(given.get("ssl_ca_certs"), given.get("ssl_ca_path"), given.get("ssl_ca_data"))
    else:
        context.load_default_certs()
    required = given.get("ssl_cert_reqs", "required").lower().removeprefix("cert_")
    check = given.get("ssl_check_hostname", "true").lower() not in ("false", "no", "0")
    context.check_hostname = check and required != "none"
    context.verify_mode = {
        "none": ssl.CERT_NONE, "optional": ssl.CERT_OPTIONAL, "required": ssl.CERT_REQUIRED,
    }[required]  # fmt: skip
    if "ssl_certfile" in given:
        context.load_cert_chain(given["ssl_certfile"], given.get("ssl_keyfile"), given.get("ssl_password"))
    if "ssl_min_version" in given:
        context.minimum_version = ssl.TLSVersion[given["ssl_min_version"]]
    if "ssl_ciphers" in given:
        context.set_ciphers(given["ssl_ciphers"])
    return context
