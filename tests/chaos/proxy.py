"""A TCP proxy in front of a real server that falls silent, drops replies, delays, slows, cuts: a network on a bad
day."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class Proxy:
    """Forwards bytes between callers and a server: a unix socket, or `redis://host:port`. Its toxics can be changed
    while it runs; chance comes from `seed`."""

    def __init__(self, upstream: str, seed: int = 0) -> None:
        self._upstream = upstream
        self._random = random.Random(seed)
        self.silent_up = self.silent_down = False
        """Swallow what callers send; swallow what the server answers."""
        self.delay = self.jitter = 0.0
        """Seconds that each piece waits, and how much more or less."""
        self.rate = 0
        """Bytes a second in each direction of each connection; 0 is no limit."""
        self.drop_every = 0
        """Cut the connection instead of passing on every n-th answer."""
        self.reset_every = 0.0
        """Cut every connection when it is this many seconds old."""
        self.cut_after_forwarding = False
        """Once: let a request through and cut the connection before its answer comes back."""
        self.connections = 0
        """How many callers have connected so far."""
        self.said = False
        self._answers = 0
        self._open: set[asyncio.StreamWriter] = set()
        self._callers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self._ready.wait(10)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self._port}"

    @property
    def port(self) -> int:
        return self._port

    def aim(self, path: str) -> None:
        """Send what connects from now on to another server: an address that moved."""
        self._upstream = path

    def swallow(self, on: bool) -> None:
        """Silence in both directions, without closing anything."""
        self.silent_up = self.silent_down = on

    def reset(self) -> None:
        """Cut every connection."""

        def cut() -> None:
            for writer in [*self._open]:
                writer.transport.abort()

        self._loop.call_soon_threadsafe(cut)

    def say(self, data: bytes) -> None:
        """Send bytes to every caller, as if the server had; `said` tells when it is done."""

        def send() -> None:
            for writer in self._callers:
                writer.write(data)
            self.said = True

        self.said = False
        self._loop.call_soon_threadsafe(send)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self._port: int = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        server.close()
        for writer in [*self._open]:
            writer.transport.abort()
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        await asyncio.wait([*tasks, asyncio.ensure_future(asyncio.sleep(0))], timeout=5)

    async def _connected(self, caller_in: asyncio.StreamReader, caller_out: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            server_in, server_out = await self._reached()
        except OSError:
            caller_out.transport.abort()  # as a machine answers whose server is gone
            return
        self._open |= {caller_out, server_out}
        self._callers.add(caller_out)
        end = self._loop.call_later(self.reset_every, caller_out.transport.abort) if self.reset_every else None
        ways = [self._pass(caller_in, server_out, up=True), self._pass(server_in, caller_out, up=False)]
        with suppress(ConnectionError):
            await asyncio.gather(*ways)
        if end is not None:
            end.cancel()
        self._callers.discard(caller_out)
        for writer in (caller_out, server_out):
            self._open.discard(writer)
            writer.transport.abort()

    async def _reached(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        scheme, _, rest = self._upstream.rpartition("://")
        if scheme == "redis":
            host, _, port = rest.partition("/")[0].rpartition(":")
            return await asyncio.open_connection(host, int(port))
        return await asyncio.open_unix_connection(rest)

    async def _pass(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, up: bool) -> None:
        while data := await source.read(65_536):
            if self.delay or self.jitter:
                await asyncio.sleep(max(self.delay + self._random.uniform(-self.jitter, self.jitter), 0))
            if self.rate:
                await asyncio.sleep(len(data) / self.rate)
            if self.silent_up if up else self.silent_down:
                continue
            if not up and self._is_dropped():
                raise ConnectionResetError
            sink.write(data)
            await sink.drain()
        raise ConnectionResetError

    def _is_dropped(self) -> bool:
        if self.cut_after_forwarding:
            self.cut_after_forwarding = False
            return True
        self._answers += 1
        return bool(self.drop_every) and self._answers % self.drop_every == 0


@contextmanager
def proxied(url: str, seed: int = 0) -> Iterator[Proxy]:
    """A proxy in front of a server."""
    proxy = Proxy(url, seed)
    try:
        yield proxy
    finally:
        proxy.close()
