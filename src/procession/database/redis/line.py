"""A line: one socket to one server, for a sync caller. One question at a time; who asks holds it alone.

Opened and asked by `connection.py`. Whatever goes wrong is raised as one of `wire.BROKEN`; then the line is closed.
"""

from __future__ import annotations

import select
import socket
import ssl
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from procession.clock import Deadline
from procession.database.redis.address import Place
from procession.database.redis.lookout import Lookout, wait
from procession.database.redis.wire import AGAIN, MORE, READ_SIZE, Command, new_socket, packed, poller, reader


class Line:
    """A connected socket and what reads from it."""

    def __init__(self, connected: socket.socket, place: Place) -> None:
        connected.setblocking(False)  # a time limit of the socket's own costs two system calls more each time
        self.place = place
        self.replies: list[Any] = []
        """What has come so far in answer to the last commands."""
        self._socket = connected
        self._reader = reader()
        self._buffer = bytearray(READ_SIZE)
        self._incoming, self._outgoing = poller(connected, select.POLLIN), poller(connected, select.POLLOUT)
        self._answer = Lookout(self._incoming)

    @classmethod
    def open(
        cls, place: Place, addresses: Sequence[tuple[int, Any]], tls: ssl.SSLContext | None, deadline: Deadline
    ) -> Line:
        """Connect to the first address that answers; each gets its share of the time."""
        for left, (family, address) in zip(range(len(addresses), 0, -1), addresses, strict=True):
            made = new_socket(place, family)
            try:
                made.settimeout(deadline.left() / left)
                made.connect(address)
                if tls is not None:
                    made.settimeout(deadline.left())
                    made = tls.wrap_socket(made, server_hostname=place.host)
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

    def exchange(self, commands: Sequence[Command], deadline: Deadline) -> list[Any]:
        """Send commands, then read a reply for each; an error of the server is a value among them."""
        self.replies = replies = []
        try:
            for piece in packed(commands):
                self._send(memoryview(piece), deadline)
        except OSError:
            with suppress(OSError, EOFError):  # it may have said why before it hung up
                self._receive(deadline)
                replies.append(self._reader.gets())
            raise
        while len(replies) < len(commands):
            reply = self._reader.gets()
            if reply is MORE:
                self._receive(deadline)
            else:
                replies.append(reply)
        return replies

    @property
    def is_stale(self) -> bool:
        """True when the server has closed the line, or sent what nobody asked for."""
        return bool(self._incoming.poll(0))

    def close(self) -> None:
        """Give the socket back. In the child of a fork this closes its copy only; the parent's line goes on."""
        self._socket.close()

    def __del__(self) -> None:
        self._socket.close()  # an owner that was forgotten, or whose thread ended, is no leak

    def _send(self, data: memoryview, deadline: Deadline) -> None:
        while data:
            try:
                sent = self._socket.send(data)
                deadline.moved(sent)
                data = data[sent:]
            except AGAIN as need:
                wait(self._incoming if isinstance(need, ssl.SSLWantReadError) else self._outgoing, deadline)

    def _receive(self, deadline: Deadline) -> None:
        if not isinstance(self._socket, ssl.SSLSocket):
            self._answer.wait(deadline)
        try:
            count = self._socket.recv_into(self._buffer)
        except AGAIN as need:
            wait(self._outgoing if isinstance(need, ssl.SSLWantWriteError) else self._incoming, deadline)
            return
        if not count:
            raise EOFError("the server closed the connection")
        deadline.moved(count)
        self._reader.feed(self._buffer, 0, count)  # type: ignore[arg-type]  # the driver takes any buffer
