"""A PostgreSQL server, where the machine has one."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.process.family import until


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A server of its own on a unix socket, without fsync, ended with the tests (Debian: `postgresql`)."""
    found = [*sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), reverse=True), shutil.which("initdb")]
    if found[0] is None:
        pytest.skip("NO PostgreSQL ON THIS MACHINE: the outbox was tried on SQLite only")
    binaries = Path(found[0]).parent
    user = "postgres" if os.getuid() == 0 else None  # it refuses to run as root
    with tempfile.TemporaryDirectory(prefix="pg-") as folder:
        data = Path(folder) / "data"
        if user:
            shutil.chown(folder, user)
        options = ["--auth", "trust", "--username", "shop", "--no-sync", "--no-locale", "--encoding", "UTF8"]
        subprocess.run([binaries / "initdb", data, *options], check=True, capture_output=True, user=user, cwd=folder)
        command = [binaries / "postgres", "-D", data, "-k", folder, "-c", "listen_addresses=", "-F"]
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, user=user, cwd=folder)
        ready = [binaries / "pg_isready", "-h", folder, "-q"]
        try:
            until(lambda: subprocess.run(ready, check=False).returncode == 0)
            yield f"postgresql+psycopg://shop@/postgres?host={folder}"
        finally:
            server.terminate()
            server.wait(timeout=20)
