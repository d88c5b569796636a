"""Connections to Redis or Valkey: the only file that imports the driver.

The driver gives sockets, handshake and the wire format. Deadlines, what may be asked again, and which error means
what are decided here: every call has a budget by our own clock; after any doubt a connection is thrown away and
the next
is made from a fresh name look-up; nothing is repeated but a script that the server did not know (`NOSCRIPT`), and of a
pipeline only those. `wait` blocks on bells over a connection of its own.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Generic, TypeVar, cast
from urllib.parse import urlsplit, urlunsplit

import redis.asyncio.connection as driver_async
import redis.connection as driver
from redis import exceptions
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry

from procession.clock import monotonic
from procession.database.operation import Operation
from procession.database.redis.scripts import Script
from procession.errors import (
    ConfigError,
    DatabaseError,
    ProcessionError,
    StoreRefused,
    Unavailable,
    WrongVersion,
)

T = TypeVar("T")

SLACK = 2.0
"""Seconds that a blocking read may take longer than it asked for, before the connection counts as dead."""

NOT_NOW = (
    "OOM", "READONLY", "LOADING", "BUSY", "MISCONF", "NOREPLICAS", "MASTERDOWN", "TRYAGAIN", "CLUSTERDOWN", "UNBLOCKED",
)  # fmt: skip
FORMAT = b"1"
"""Version of the stored format that this release writes."""
READABLE = (FORMAT,)
"""What it reads: this one and the one before. `tests/format` holds a frozen store of each."""

Question = tuple[Script, Sequence[Any]]


class RedisOperation(Operation[T], Generic[T]):
    """One script with its arguments, and how to read its reply."""

    __slots__ = ("arguments", "read", "script")

    def __init__(self, script: Script, arguments: Sequence[Any], read: Callable[[Any], T]) -> None:
        self.script = script
        self.arguments = arguments
        self.read = read


class Target:
    """Where to connect: the URL read once, and asked for anew before each connection when `revive` is given."""

    def __init__(self, url: str, tag: str, revive: Callable[[], str] | None) -> None:
        self.url = url
        self.tag = tag
        self.revive = revive
        self.settings(url)

    def settings(self, url: str) -> tuple[str, dict[str, Any]]:
        """The scheme and the driver's settings for a URL. Raises ConfigError with what is wrong."""
        named, _, rest = url.partition("://")
        scheme = {"valkey": "redis", "valkeys": "rediss"}.get(named, named)
        try:
            settings = dict(cast("Any", driver).parse_url(f"{scheme}://{rest}"))
        except ValueError as error:
            raise ConfigError(f"cannot use the store URL {shown(url)!r}: {error}") from None
        settings.pop("connection_class", None)
        if scheme == "unix" and not settings.get("path"):
            raise ConfigError(
                f"cannot use the store URL {shown(url)!r}: no path of a socket, as in unix:///run/valkey.sock"
            )
        return scheme, {"protocol": 2, **settings}

    def sync(self, timeout: float) -> Any:
        """A connection for a sync caller, not yet connected."""
        scheme, settings = self.settings(self.revive() if self.revive else self.url)
        settings.update(socket_timeout=timeout, retry=Retry(NoBackoff(), 0))
        if scheme == "unix":
            return cast("Any", driver).UnixDomainSocketConnection(**settings)
        kind = driver.SSLConnection if scheme == "rediss" else driver.Connection
        return kind(socket_connect_timeout=timeout, socket_keepalive=True, **settings)

    async def asynchronous(self, timeout: float) -> Any:
        """A connection for an event loop, not yet connected."""
        url = await asyncio.get_running_loop().run_in_executor(None, self.revive) if self.revive else self.url
        scheme, settings = self.settings(url)
        settings.update(socket_timeout=None, retry=AsyncRetry(cast("Any", NoBackoff()), 0))
        if scheme == "unix":
            return driver_async.UnixDomainSocketConnection(**settings)
        kind = driver_async.SSLConnection if scheme == "rediss" else driver_async.Connection
        return kind(socket_connect_timeout=timeout, socket_keepalive=True, **settings)

    def evalsha(self, question: Question) -> tuple[Any, ...]:
        return ("EVALSHA", question[0].sha, 1, self.tag, *question[1])

    def eval(self, question: Question) -> tuple[Any, ...]:
        return ("EVAL", question[0].text, 1, self.tag, *question[1])

    def hello(self) -> list[tuple[Any, ...]]:
        """Asked once per connection: write down the format's version if nobody has, and read it."""
        return [("HSETNX", f"{self.tag}:meta", "format", FORMAT), ("HGET", f"{self.tag}:meta", "format")]

    def check_hello(self, replies: list[Any]) -> None:
        version = replies[1]
        if isinstance(version, bytes) and version not in READABLE:
            readable = " and ".join(it.decode() for it in READABLE)
            raise WrongVersion(
                f"the store at {shown(self.url)} holds format {version.decode(errors='replace')},"
                f" this release reads {readable}; upgrade procession, or use another namespace"
            )
        if isinstance(replies[1], Exception) and not refused(replies[1]):
            raise _translated(replies[1], self.url)

    def bells(self, bells: Sequence[str], timeout: float) -> tuple[Any, ...]:
        return ("BLPOP", *(f"{self.tag}:bell:{bell}" for bell in bells), f"{max(timeout, 0.001):.3f}")

    def bell(self, ring: Any) -> str | None:
        """The name of the bell in the answer to `bells`."""
        return None if ring is None else ring[0].decode().removeprefix(f"{self.tag}:bell:")


def shown(url: str) -> str:
    """A URL fit to be printed: no password in it."""
    parts = urlsplit(url)
    if parts.password is None:
        return url
    return urlunsplit(parts._replace(netloc=parts.netloc.replace(f":{parts.password}@", ":***@")))


def refused(error: Exception) -> bool:
    """True when the server answered "not now" and changed nothing."""
    kinds = (exceptions.OutOfMemoryError, exceptions.ReadOnlyError, exceptions.BusyLoadingError)
    return isinstance(error, kinds) or str(error).startswith(NOT_NOW)


def _translated(error: Exception, url: str) -> ProcessionError:
    where = shown(url)
    if refused(error):
        return StoreRefused(f"the store at {where} takes this not now: {error}")
    if isinstance(error, exceptions.AuthenticationError | exceptions.NoPermissionError):
        return DatabaseError(f"the store at {where} refuses us: {error}; check user, password and ACL")
    text = str(error)
    if "Unknown shebang" in text or "shebang" in text.lower() or "unknown command" in text.lower():
        return WrongVersion(f"the store at {where} is too old: Redis 7.0 or Valkey 7.2 at least are needed ({text})")
    return DatabaseError(f"the store at {where} answered with an error: {text}")


def _unavailable(error: BaseException, url: str, asked: bool) -> Unavailable:
    why = str(error) or type(error).__name__
    hope = "it may have run all the same" if asked else "nothing was sent"
    return Unavailable(f"no answer from the store at {shown(url)}: {why}; {hope}", asked=asked)


def _unpack_answers(operations: Sequence[Any], replies: list[Any], url: str) -> Any:
    for reply in replies:
        if isinstance(reply, Exception):
            raise _translated(reply, url)
    answers = tuple(operation.read(reply) for operation, reply in zip(operations, replies, strict=True))
    return answers[0] if len(answers) == 1 else answers


BROKEN = (OSError, EOFError, exceptions.ConnectionError, exceptions.TimeoutError)
"""What a socket or the driver raise when the way to the server is in doubt."""


class RedisConnection:
    """Asks for sync callers; any thread may use it, each question on a socket of its own out of a small pool."""

    def __init__(self, target: Target, budget: float) -> None:
        self._target = target
        self._budget = budget
        self._idle: deque[Any] = deque(maxlen=16)
        self._lock = threading.Lock()
        self._pid = os.getpid()

    def ask(self, *operations: Any) -> Any:
        """See `Connection.ask`."""
        deadline = monotonic() + self._budget
        questions = [(operation.script, operation.arguments) for operation in operations]
        line = self._take(deadline)
        try:
            replies = self._exchange(line, [self._target.evalsha(question) for question in questions], deadline)
            unknown = [i for i, reply in enumerate(replies) if isinstance(reply, exceptions.NoScriptError)]
            if unknown:
                again = self._exchange(line, [self._target.eval(questions[i]) for i in unknown], deadline)
                for i, reply in zip(unknown, again, strict=True):
                    replies[i] = reply
        except BROKEN as error:
            line.disconnect()
            raise _unavailable(error, self._target.url, asked=True) from None
        except BaseException:
            line.disconnect()
            raise
        self._give_back(line)
        return _unpack_answers(operations, replies, self._target.url)

    def wait(self, bells: Sequence[str], timeout: float) -> str | None:
        """See `Connection.wait`."""
        line = self._take(monotonic() + self._budget)
        try:
            ring = self._exchange(line, [self._target.bells(bells, timeout)], monotonic() + timeout + SLACK)[0]
        except BROKEN as error:
            line.disconnect()
            raise _unavailable(error, self._target.url, asked=True) from None
        except BaseException:
            line.disconnect()
            raise
        self._give_back(line)
        if isinstance(ring, Exception):
            raise _translated(ring, self._target.url)
        return self._target.bell(ring)

    def close(self) -> None:
        """See `Connection.close`."""
        with self._lock:
            lines, self._idle = self._idle, deque(maxlen=16)
        if self._pid == os.getpid():
            for line in lines:
                line.disconnect()

    def _take(self, deadline: float) -> Any:
        with self._lock:
            if self._pid != os.getpid():  # after a fork the sockets belong to the parent
                self._pid, self._idle = os.getpid(), deque(maxlen=16)
            if self._idle:
                return self._idle.pop()
        try:
            line = self._target.sync(max(deadline - monotonic(), 0.05))
            line.connect()
            replies = self._exchange(line, self._target.hello(), deadline)
        except BROKEN as error:
            if isinstance(error, exceptions.AuthenticationError):
                raise _translated(error, self._target.url) from None
            raise _unavailable(error, self._target.url, asked=False) from None
        except exceptions.RedisError as error:
            raise _translated(error, self._target.url) from None
        try:
            self._target.check_hello(replies)
        except BaseException:
            line.disconnect()
            raise
        return line

    def _give_back(self, line: Any) -> None:
        with self._lock:
            if self._pid == os.getpid() and len(self._idle) < 16:
                self._idle.append(line)
                return
        line.disconnect()

    @staticmethod
    def _exchange(line: Any, commands: list[tuple[Any, ...]], deadline: float) -> list[Any]:
        # The driver takes its deadline per read; ours is for the whole exchange, so it is set on the socket.
        line._sock.settimeout(max(deadline - monotonic(), 0.01))
        line.send_packed_command(line.pack_commands(commands), check_health=False)
        replies: list[Any] = []
        for _ in commands:
            line._sock.settimeout(max(deadline - monotonic(), 0.01))
            try:
                replies.append(line.read_response(disable_decoding=True))
            except exceptions.BusyLoadingError as error:
                replies.append(error)
            except exceptions.ResponseError as error:
                replies.append(error)
        return replies


class RedisAsyncConnection:
    """Asks for one event loop. Callers that ask while a trip is under way share the next one."""

    def __init__(self, target: Target, budget: float) -> None:
        self._target = target
        self._budget = budget
        self._line: Any = None
        self._waiting: Any = None
        self._pending: list[tuple[list[Question], asyncio.Future[list[Any]]]] = []
        self._trip: asyncio.Task[None] | None = None

    async def ask(self, *operations: Any) -> Any:
        """See `AsyncConnection.ask`."""
        future: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        self._pending.append(([(operation.script, operation.arguments) for operation in operations], future))
        if self._trip is None or self._trip.done():
            self._trip = asyncio.ensure_future(self._travel())
        return _unpack_answers(operations, await future, self._target.url)

    async def _travel(self) -> None:
        while self._pending:
            batch, self._pending = self._pending, []
            questions = [question for asked, _ in batch for question in asked]
            try:
                replies = await self._ask_all(questions)
            except BaseException as error:
                for _, future in batch:
                    if not future.done():
                        future.set_exception(
                            error if isinstance(error, Exception) else _unavailable(error, self._target.url, True)
                        )
                if not isinstance(error, Exception):
                    raise
                continue
            at = 0
            for asked, future in batch:
                if not future.done():
                    future.set_result(replies[at : at + len(asked)])
                at += len(asked)

    async def _ask_all(self, questions: list[Question]) -> list[Any]:
        sent = False
        try:
            async with asyncio.timeout(self._budget):
                if self._line is None:
                    self._line = await self._open()
                sent = True
                replies = await self._exchange(self._line, [self._target.evalsha(question) for question in questions])
                unknown = [i for i, reply in enumerate(replies) if isinstance(reply, exceptions.NoScriptError)]
                if unknown:
                    again = await self._exchange(self._line, [self._target.eval(questions[i]) for i in unknown])
                    for i, reply in zip(unknown, again, strict=True):
                        replies[i] = reply
                return replies
        except WrongVersion:
            await self._drop("_line")
            raise
        except BROKEN as error:
            await self._drop("_line")
            raise _unavailable(error, self._target.url, asked=sent) from None
        except BaseException:
            await self._drop("_line")
            raise

    async def wait(self, bells: Sequence[str], timeout: float) -> str | None:
        """See `AsyncConnection.wait`. One caller at a time."""
        try:
            if self._waiting is None:
                async with asyncio.timeout(self._budget):
                    self._waiting = await self._open()
            async with asyncio.timeout(timeout + SLACK):
                ring = (await self._exchange(self._waiting, [self._target.bells(bells, timeout)]))[0]
        except WrongVersion:
            await self._drop("_waiting")
            raise
        except BROKEN as error:
            await self._drop("_waiting")
            raise _unavailable(error, self._target.url, asked=True) from None
        except BaseException:
            await self._drop("_waiting")
            raise
        if isinstance(ring, Exception):
            raise _translated(ring, self._target.url)
        return self._target.bell(ring)

    async def close(self) -> None:
        """See `AsyncConnection.close`."""
        if self._trip is not None:
            self._trip.cancel()
            await asyncio.gather(self._trip, return_exceptions=True)
        await self._drop("_line", nowait=False)
        await self._drop("_waiting", nowait=False)

    async def _open(self) -> Any:
        line = await self._target.asynchronous(self._budget)
        try:
            await line.connect()
            self._target.check_hello(await self._exchange(line, self._target.hello()))
        except exceptions.AuthenticationError as error:
            await line.disconnect(nowait=True)
            raise _translated(error, self._target.url) from None
        except BaseException:
            await line.disconnect(nowait=True)
            raise
        return line

    async def _drop(self, which: str, *, nowait: bool = True) -> None:
        line = getattr(self, which)
        setattr(self, which, None)
        if line is not None:
            await cast("Awaitable[None]", line.disconnect(nowait=nowait))

    @staticmethod
    async def _exchange(line: Any, commands: list[tuple[Any, ...]]) -> list[Any]:
        await line.send_packed_command(line.pack_commands(commands), check_health=False)
        replies: list[Any] = []
        for _ in commands:
            try:
                replies.append(await line.read_response(disable_decoding=True))
            except exceptions.BusyLoadingError as error:
                replies.append(error)
            except exceptions.ResponseError as error:
                replies.append(error)
        return replies
