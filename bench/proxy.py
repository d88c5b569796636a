"""A TCP proxy that adds a round-trip time: half of it in each direction. A process of its own: python proxy.py PORT MS.

One thread and a selector; bytes are kept with the moment at which they are due, so a delay costs no throughput. Its own
limit is the row with 0 ms, with which those of 2 and 10 ms are compared. It prints the port on which it listens.
"""

from __future__ import annotations

import selectors
import socket
import sys
import time
from collections import deque

CHUNK = 1 << 20


class Way:
    """One direction of one connection."""

    def __init__(self, source: socket.socket, sink: socket.socket) -> None:
        self.source = source
        self.sink = sink
        self.waiting: deque[tuple[float, memoryview]] = deque()

    def pass_on(self, now: float) -> float | None:
        """Send what is due; answers when the next bytes are, None when nothing waits."""
        while self.waiting and self.waiting[0][0] <= now:
            due, data = self.waiting.popleft()
            try:
                sent = self.sink.send(data)
            except BlockingIOError:
                sent = 0
            if sent < len(data):
                self.waiting.appendleft((due, data[sent:]))
                return now + 0.0005
        return self.waiting[0][0] if self.waiting else None


def serve(port: int, delay: float) -> None:
    """Pass bytes between callers and the server at `port` until killed."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    print(listener.getsockname()[1], flush=True)
    watch = selectors.SelectSelector()  # whose time limits are not rounded up to whole milliseconds
    watch.register(listener, selectors.EVENT_READ)
    ways: dict[socket.socket, Way] = {}

    def close(way: Way) -> None:
        for end in (way.source, way.sink):
            if ways.pop(end, None) is not None:
                watch.unregister(end)
            end.close()

    while True:
        now = time.monotonic()
        due = [at for way in [*ways.values()] if (at := _sent(way, now, close)) is not None]
        timeout = max(min(due) - time.monotonic(), 0) if due else None
        for key, _ in watch.select(timeout):
            end = key.fileobj
            if end is listener:
                caller, _ = listener.accept()
                server = socket.create_connection(("127.0.0.1", port))
                for one, other in ((caller, server), (server, caller)):
                    one.setblocking(False)
                    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    ways[one] = Way(one, other)
                    watch.register(one, selectors.EVENT_READ)
            elif isinstance(end, socket.socket) and end in ways:
                way = ways[end]
                try:
                    data = end.recv(CHUNK)
                except OSError:
                    data = b""
                if data:
                    way.waiting.append((time.monotonic() + delay, memoryview(data)))
                else:
                    close(way)


def _sent(way: Way, now: float, close: object) -> float | None:
    try:
        return way.pass_on(now)
    except OSError:
        close(way)  # type: ignore[operator]
        return None


if __name__ == "__main__":
    serve(int(sys.argv[1]), float(sys.argv[2]) / 2_000)
