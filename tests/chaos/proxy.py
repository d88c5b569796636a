"""A TCP proxy in front of a real server that falls silent, drops replies, delays, resets: a network on a bad day."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class Proxy:
    """Forwards bytes between callers and a unix socket. Its toxics can be changed while it runs."""

    def __init__(self, path: str) -> None:
        self._path = path
        self.silent_up = self.silent_down = False
        """Swallow what callers send; swallow what the server answers."""
        self.delay = 0.0
        self.drop_every = 0
        """Cut the connection instead of passing on every n-th answer."""
        self._answers = 0
        self._open: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self._ready.wait(10)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self._port}"

    def swallow(self, on: bool) -> None:
        """Silence in both directions, without closing anything."""
        self.silent_up = self.silent_down = on

    def reset(self) -> None:
        """Cut every connection."""

        def cut() -> None:
            for writer in [*self._open]:
                writer.transport.abort()

        self._loop.call_soon_threadsafe(cut)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self._port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        server.close()
        for writer in [*self._open]:
            writer.transport.abort()
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        await asyncio.wait([*tasks, asyncio.ensure_future(asyncio.sleep(0))], timeout=5)

    async def _connected(self, caller_in: asyncio.StreamReader, caller_out: asyncio.StreamWriter) -> None:
        server_in, server_out = await asyncio.open_unix_connection(self._path)
        self._open |= {caller_out, server_out}
        ways = [self._pass(caller_in, server_out, up=True), self._pass(server_in, caller_out, up=False)]
        with suppress(ConnectionError):
            await asyncio.gather(*ways)
        for writer in (caller_out, server_out):
            self._open.discard(writer)
            writer.transport.abort()

    async def _pass(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, up: bool) -> None:
        while data := await source.read(65_536):
            if self.delay:
                await asyncio.sleep(self.delay)
            if self.silent_up if up else self.silent_down:
                continue
            if not up and self.drop_every:
                self._answers += 1
                if self._answers % self.drop_every == 0:
                    raise ConnectionResetError
            sink.write(data)
            await sink.drain()
        raise ConnectionResetError


@contextmanager
def proxied(url: str) -> Iterator[Proxy]:
    """A proxy in front of a `unix://` server."""
    proxy = Proxy(url.removeprefix("unix://"))
    try:
        yield proxy
    finally:
        proxy.close()
