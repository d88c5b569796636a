"""An idle worker is nearly free: what it sends in a minute, counted by the server."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from redis import Redis

from procession import Procession

APP = "from procession import Procession\napp = Procession()\n@app.job(queue='q')\ndef j(): ...\n"
BUDGET = 30
"""Commands in a minute, the supervisor's share included."""


def cpu_seconds(pid: int) -> float:
    """What a process has used so far, user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.timeout(120)
def test_an_idle_worker_sends_at_most_thirty_commands_a_minute(valkey_url: str, namespace: str, tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(APP)
    app = Procession(valkey_url, namespace=namespace)
    worker = subprocess.Popen(
        [sys.executable, "-m", "procession", "worker", "shop:app", "--quiet"],
        cwd=tmp_path,
        env={**os.environ, "PROCESSION_URL": valkey_url, "PROCESSION_NAMESPACE": namespace},
    )
    try:
        deadline = time.monotonic() + 20
        while not app.workers():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        time.sleep(1.0)  # it has begun: connections, first scripts
        pid = app.workers()[0].pid
        begun = cpu_seconds(pid)
        with Redis.from_url(valkey_url) as server, server.monitor() as monitor:
            seen = []
            end = time.monotonic() + 60
            while (left := end - time.monotonic()) > 0:
                if monitor.connection.can_read(timeout=left):
                    command = monitor.next_command()
                    if command["client_type"] != "lua" and namespace in command["command"]:
                        seen.append(command["command"][:40])
        assert 8 <= len(seen) <= BUDGET, seen
        assert cpu_seconds(pid) - begun < 0.6, "more than one percent of a core"
    finally:
        worker.terminate()
        worker.wait(20)
        app.close()
