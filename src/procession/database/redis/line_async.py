"""A line for one event loop: a socket that does not block, read by a callback of the loop. One question at a time.

It owns its socket instead of a transport, so that it can be let go without a loop: after `asyncio.run` has ended, or in
the child of a fork, where the loop's selector still belongs to the parent as well. Opened and asked by
`connection_async.py`.
"""

from __future__ import annotations

import asyncio
import os
import select
import socket
import ssl
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from procession.clock import Deadline
from procession.database.redis.address import Place
from procession.database.redis.wire import AGAIN, BROKEN, MORE, READ_SIZE, Command, new_socket, packed, poller, reader


class AsyncLine:
    """A connected socket, what reads from it, and the question under way."""

    def __init__(self, connected: socket.socket, place: Place) -> None:
        self.place = place
        self.replies: list[Any] = []
        """See `Line.replies`."""
        self._socket = connected
        self._descriptor = connected.fileno()
        self._incoming = poller(connected, select.POLLIN)
        self._pid = os.getpid()
        self._loop = asyncio.get_running_loop()
        self._reader = reader()
        self._unsent = memoryview(b"")
        self._writing = False
        self._wanted = 0
        self._deadline = Deadline(0.0)
        self._timer: asyncio.TimerHandle | None = None
        self._answer: asyncio.Future[list[Any]] | None = None
        self._closed = False
        self._loop.add_reader(self._descriptor, self._read)

    @classmethod
    async def open(
        cls, place: Place, addresses: Sequence[tuple[int, Any]], tls: ssl.SSLContext | None, deadline: Deadline
    ) -> AsyncLine:
        """See `Line.open`."""
        for left, (family, address) in zip(range(len(addresses), 0, -1), addresses, strict=True):
            made = new_socket(place, family)
            made.setblocking(False)
            try:
                async with asyncio.timeout(deadline.left() / left):
                    await asyncio.get_running_loop().sock_connect(made, address)
                if tls is not None:
                    async with asyncio.timeout(deadline.left()):
                        made = await _secured(made, tls, place.host)
            except OSError:
                made.close()
                if left == 1:
                    raise
            except BaseException:
                made.close()
                raise
            else:
                return cls(made, place)
        raise OSError(f"no address for {place}")

    async def exchange(self, commands: Sequence[Command], deadline: Deadline) -> list[Any]:
        """See `Line.exchange`."""
        if self._closed:
            raise EOFError("the server closed the connection")
        self.replies, self._wanted = [], len(commands)
        self._unsent = memoryview(b"".join(packed(commands)))
        self._deadline, self._timer = deadline, self._loop.call_later(deadline.left(), self._look_at_the_clock)
        self._answer = self._loop.create_future()  # from here on somebody waits for it
        try:
            self._write()
            return await self._answer
        finally:
            self._timer.cancel()
            self._answer = None

    @property
    def is_stale(self) -> bool:
        """See `Line.is_stale`. The loop may not have looked at the socket yet, so it is asked here."""
        return self._closed or bool(self._incoming.poll(0))

    def close(self, why: Exception | None = None) -> None:
        """Give the socket back; a question under way fails. In the child of a fork only its copy is closed."""
        if self._closed:
            return
        self._closed = True
        if self._pid == os.getpid() and not self._loop.is_closed():
            self._loop.remove_reader(self._descriptor)
            self._loop.remove_writer(self._descriptor)
            self._fail(why or ConnectionAbortedError("the connection was given up"))
        self._socket.close()

    def __del__(self) -> None:
        self._socket.close()

    def _look_at_the_clock(self) -> None:
        try:
            self._timer = self._loop.call_later(self._deadline.left(), self._look_at_the_clock)
        except TimeoutError:
            self._fail(TimeoutError("no answer in time"))

    def _fail(self, error: BaseException) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)

    def _write(self) -> None:
        try:
            while self._unsent:
                sent = self._socket.send(self._unsent)
                self._deadline.moved(sent)
                self._unsent = self._unsent[sent:]
        except AGAIN:
            self._loop.add_writer(self._descriptor, self._write)
            self._writing = True
        except OSError as error:
            with suppress(OSError):  # it may have said why before it hung up
                self._reader.feed(self._socket.recv(READ_SIZE))
                self.replies.append(self._reader.gets())
            self.close(error)
        else:
            if self._writing:
                self._loop.remove_writer(self._descriptor)
                self._writing = False

    def _read(self) -> None:
        came = 0
        try:
            while True:
                data = self._socket.recv(READ_SIZE)
                if not data:
                    self.close(EOFError("the server closed the connection"))
                    return
                self._reader.feed(data)
                came += len(data)
                if len(data) < READ_SIZE and not isinstance(self._socket, ssl.SSLSocket):
                    break
        except AGAIN:
            pass
        except OSError as error:
            self.close(error)
            return
        try:
            while (reply := self._reader.gets()) is not MORE:
                self.replies.append(reply)
        except BROKEN as error:
            self.close(error)
            return
        if self._answer is None:
            self.close()  # nobody asked: whatever this is, it would be taken for the answer to the next question
        elif len(self.replies) < self._wanted:
            self._deadline.moved(came)
        elif not self._answer.done():
            self._answer.set_result(self.replies)


async def _secured(plain: socket.socket, tls: ssl.SSLContext, host: str) -> ssl.SSLSocket:
    loop = asyncio.get_running_loop()
    secured = tls.wrap_socket(plain, server_hostname=host, do_handshake_on_connect=False)
    try:
        while True:
            try:
                secured.do_handshake()
            except ssl.SSLWantReadError:
                await _ready(secured.fileno(), loop.add_reader, loop.remove_reader)
            except ssl.SSLWantWriteError:
                await _ready(secured.fileno(), loop.add_writer, loop.remove_writer)
            else:
                return secured
    except BaseException:
        secured.close()
        raise


async def _ready(descriptor: int, add: Callable[..., Any], remove: Callable[[int], Any]) -> None:
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    add(descriptor, lambda: None if future.done() else future.set_result(None))
    try:
        await future
    finally:
        remove(descriptor)
