"""The doctor and the refusal at the door, on real servers in every configuration that matters."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
from redis import Redis

from procession import ConfigError, Procession
from procession.doctor import Check
from procession.runtime.queue_worker import QueueWorker

APP = "from procession import Procession\napp = Procession()\n@app.job(queue='q')\ndef j(): ...\n"


def found(app: Procession) -> dict[str, Check]:
    checks = app.doctor()
    app.close()
    return {it.name: it for it in checks}


def perform(app: Procession) -> None:
    """Run a queue worker until nothing is ready."""

    async def main() -> None:
        await QueueWorker(app, queues=["q"], burst=True).run()

    asyncio.run(main())


def test_the_doctor_reads_what_the_server_says(server: Redis, own_url: str, namespace: str) -> None:
    app = Procession(own_url, namespace=namespace)
    assert found(app)["persistence"].grade == "warning"
    assert found(app)["memory"].grade == "warning"
    server.config_set("appendonly", "yes")
    server.config_set("maxmemory", "100mb")
    checks = found(app)
    assert {it.grade for it in checks.values()} == {"ok"}
    assert checks["server"].says.startswith("valkey 9.")
    server.config_set("maxmemory", "1mb")
    assert found(app)["memory"].grade == "problem"
    server.config_set("maxmemory-policy", "allkeys-lru")
    assert found(app)["eviction"].grade == "problem"


def test_the_doctor_reads_a_redis_too_and_its_twin_says_the_same(redis_url: str, namespace: str) -> None:
    app = Procession(redis_url, namespace=namespace)

    async def main() -> list[Check]:
        checks = await app.doctor_async()
        assert (await app.repair_async()).clean
        await app.close_async()
        return checks

    checks = {it.name: it.grade for it in asyncio.run(main())}
    assert checks == {name: it.grade for name, it in found(app).items()}
    assert checks["server"] == "ok"


def test_what_may_not_be_asked_is_unknown_and_never_an_error(
    server: Redis, own_url: str, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    rights = ("+@all", "-@dangerous", "-scan")
    server.execute_command("ACL", "SETUSER", "small", "on", ">pw", f"~{{{namespace}:*", *rights)
    path = own_url.removeprefix("unix://")
    app = Procession(f"unix://small:pw@{path}", namespace=namespace)
    checks = found(app)
    assert {name for name, it in checks.items() if it.grade == "unknown"} == {
        "server", "role", "eviction", "memory", "persistence", "clients",
    }  # fmt: skip
    report = app.repair()
    assert report.clean
    assert any("scan" in why for why in report.unchecked)
    with caplog.at_level(logging.WARNING, "procession.worker"):
        perform(app)
    app.close()
    assert [record.message for record in caplog.records] == [
        "the store may lose jobs: its maxmemory-policy is not known; see procession doctor"
    ]


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl", "allkeys-random"])
def test_a_queue_worker_refuses_a_store_that_throws_keys_away_unless_told_otherwise(
    server: Redis, own_url: str, namespace: str, policy: str, caplog: pytest.LogCaptureFixture
) -> None:
    server.config_set("maxmemory-policy", policy)
    app = Procession(own_url, namespace=namespace)
    with pytest.raises(ConfigError, match=rf"maxmemory-policy is {policy}.*noeviction.*--allow-eviction"):
        perform(app)
    assert app.workers() == []
    app.close()
    with caplog.at_level(logging.WARNING, "procession.worker"):
        perform(Procession(own_url, namespace=namespace, allow_eviction=True))
    assert len(caplog.records) == 1
    assert "throws jobs away, and it keeps no append-only file" in caplog.text


def test_a_worker_process_that_is_refused_says_why_in_one_line_and_is_not_restarted_for_ever(
    server: Redis, own_url: str, namespace: str, tmp_path: Path
) -> None:
    server.config_set("maxmemory-policy", "allkeys-lfu")
    (tmp_path / "shop.py").write_text(APP)
    environment = {**os.environ, "PROCESSION_URL": own_url, "PROCESSION_NAMESPACE": namespace}
    command = [sys.executable, "-m", "procession", "worker", "shop:app", "--burst"]

    def run(*more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*command, *more], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=40, check=False
        )

    refused = run()
    assert refused.returncode != 0
    assert "set it to noeviction" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert run("--allow-eviction").returncode == 0
