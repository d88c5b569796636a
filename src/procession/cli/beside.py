"""The dashboard beside the demonstration: `procession web` in a process of its own, and the wait for Ctrl-C."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import click

from procession.cli.web import PORT, needed


@contextmanager
def dashboard(wanted: bool) -> Iterator[None]:
    """Serve the dashboard of the store that the environment names, and print where it is."""
    if not wanted:
        yield
        return
    needed()
    command = [sys.executable, "-m", "procession", "web", "--port", str(_port())]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True, text=True)
    assert process.stdout is not None
    try:
        click.echo(process.stdout.readline().rstrip())
        yield
    finally:
        process.terminate()
        process.wait(timeout=30)
        process.stdout.close()


def stay(wanted: bool) -> None:
    """Keep the dashboard until Ctrl-C or SIGTERM."""
    if wanted:
        over = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: over.set())
        click.echo("the dashboard stays until Ctrl-C")
        over.wait()


def _port() -> int:
    """The usual port, or 0 (any) when somebody has it."""
    with socket.socket() as line:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            line.bind(("127.0.0.1", PORT))
        except OSError:
            return 0
    return PORT
