"""systemd and Kubernetes: what a supervisor tells them, through a real socket and over real HTTP, and the examples."""

from __future__ import annotations

import configparser
import json
import os
import re
import shlex
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from procession import ConfigError, Procession, State
from procession.cli.worker import worker as worker_command
from procession.config import Settings
from procession.database import QueueInfo
from procession.integrations.health import AT_ONCE, LATE, HealthServer
from procession.integrations.systemd import Notify
from procession.runtime.children import KILL_AFTER
from procession.runtime.condition import Condition
from procession.scaling import scaling
from procession.web import Dashboard
from tests.process.conftest import app, shop, worker  # noqa: F401
from tests.process.family import TELLING, Families, until
from tests.web.conftest import Client

DEPLOY = Path(__file__).parents[2] / "examples" / "deploy"
GRACE = float(Settings().grace)


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """The service manager's end of the line."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(30)
        yield listening


def heard_until(manager: socket.socket, word: str) -> list[str]:
    """All that was said up to and with this word."""
    said: list[str] = []
    while word not in said:
        said += manager.recv(4_096).decode().split("\n")
    return said


# systemd


def test_a_supervisor_tells_systemd_that_it_is_ready_lives_and_stops(
    worker: Families, manager: socket.socket, monkeypatch: pytest.MonkeyPatch  # noqa: F811
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", manager.getsockname())
    monkeypatch.setenv("WATCHDOG_USEC", "1000000")
    family = worker("--processes", "2")
    said = heard_until(manager, "READY=1")
    assert "STATUS=2 of 2 queue workers serve" in said
    assert "STATUS=0 of 2 queue workers serve" in said
    for _ in range(2):
        assert "WATCHDOG=1" in heard_until(manager, "WATCHDOG=1")
    for child in family.children():
        assert b"NOTIFY_SOCKET" not in Path(f"/proc/{child}/environ").read_bytes()
    family.process.terminate()
    assert "STATUS=finishing what runs" in heard_until(manager, "STATUS=finishing what runs")
    assert family.process.wait(timeout=30) == 0


def test_ready_is_said_once_and_never_of_a_service_that_stops(manager: socket.socket) -> None:
    notify = Notify(manager.getsockname())
    notify(Condition(places=2, serving=1))
    assert manager.recv(4_096) == b"STATUS=1 of 2 queue workers serve"
    notify(Condition(places=2, serving=2))
    assert manager.recv(4_096) == b"STATUS=2 of 2 queue workers serve\nREADY=1"
    notify(Condition(places=2, serving=2))
    notify(Condition(places=2, serving=1))
    assert manager.recv(4_096) == b"STATUS=1 of 2 queue workers serve"
    notify(Condition(places=2, serving=2, stopping=True))
    assert manager.recv(4_096) == b"STOPPING=1\nSTATUS=finishing what runs"
    never = Notify(manager.getsockname())
    never(Condition(places=1, serving=1, stopping=True))
    assert b"READY" not in manager.recv(4_096)


def test_the_environment_says_whom_to_notify_and_only_this_process_does() -> None:
    assert Notify.of({}) == []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as abstract:
        abstract.bind(f"\0procession-{os.getpid()}")
        abstract.settimeout(10)
        words = {"NOTIFY_SOCKET": f"@procession-{os.getpid()}", "WATCHDOG_USEC": "1", "WATCHDOG_PID": "1", "PATH": "/"}
        [notify] = Notify.of(words)
        notify(Condition(places=1, serving=0))
        assert abstract.recv(4_096) == b"STATUS=0 of 1 queue workers serve"
    assert words == {"PATH": "/"}
    notify(Condition(places=1, serving=1))  # nobody listens any more, which is no error


def test_what_a_full_buffer_does_not_take_is_said_with_the_next_look(manager: socket.socket) -> None:
    others = 0
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as another, suppress(BlockingIOError):
        another.setblocking(False)
        while True:
            another.sendto(b"STATUS=another service", manager.getsockname())
            others += 1
    notify = Notify(manager.getsockname(), watchdog=60.0)
    serving = Condition(places=1, serving=1)
    notify(serving)
    for _ in range(others):
        assert manager.recv(4_096) == b"STATUS=another service"
    notify(serving)
    assert manager.recv(4_096) == b"STATUS=1 of 1 queue workers serve\nREADY=1\nWATCHDOG=1"


# Kubernetes


def test_probes_follow_a_worker_from_its_start_to_its_drain(
    worker: Families, shop: Any  # noqa: F811
) -> None:
    family = worker("--health", "0")
    address = "http://" + until(lambda: re.findall(r"/scaling at (\S+)", family.log))[0]

    def status(path: str) -> int:
        return httpx.get(address + path).status_code

    assert status("/livez") == 200
    until(lambda: status("/readyz") == 200)
    assert httpx.get(f"{address}/readyz").json() == {"places": 1, "serving": 1, "stopping": False}
    assert status("/elsewhere") == 404
    shop.app.pause("q")
    shop.version.enqueue()
    assert httpx.get(f"{address}/scaling?queue=q").json() == {
        "latency": 0.0, "queued": 1, "queues": {"q": {"latency": 0.0, "queued": 1}},
    }  # fmt: skip
    shop.app.resume("q")
    nap = shop.nap.enqueue(60, "nap")
    until(lambda: "nap" in worker.runs())
    family.process.terminate()
    until(lambda: status("/readyz") == 503)
    assert status("/livez") == 200
    nap.cancel()
    assert family.process.wait(timeout=30) == 0


def test_a_worker_that_only_finishes_what_it_runs_makes_no_pod_ready(
    worker: Families, shop: Any, tmp_path: Path  # noqa: F811
) -> None:
    family = worker("--health", "0", patch=TELLING)
    address = "http://" + until(lambda: re.findall(r"/scaling at (\S+)", family.log))[0]
    nap = shop.nap.enqueue(60, "nap")
    until(worker.runs)
    [first] = family.children()
    family.process.send_signal(signal.SIGHUP)
    until(lambda: "makes way" in family.log)
    (tmp_path / "shop.py").write_text("import nothing_like_this")
    [second] = {*family.children()} - {first}
    os.kill(second, signal.SIGKILL)
    until(lambda: httpx.get(f"{address}/readyz").status_code == 503)
    assert nap.job().state is State.RUNNING
    nap.cancel()
    family.process.terminate()
    assert family.process.wait(timeout=30) == 0


def test_probes_are_answered_again_once_there_are_threads_to_answer_them(namespace: str) -> None:
    with HealthServer(Procession(f"memory://{namespace}"), "0") as health:
        health(Condition(places=1, serving=1))
        address = "http://{}:{}".format(*health._server.server_address[:2])
        usual = threading.stack_size(1 << 46)  # more than there is: no thread can start
        try:
            for _ in range(AT_ONCE):
                with pytest.raises(httpx.HTTPError):
                    httpx.get(f"{address}/livez")
        finally:
            threading.stack_size(usual)
        assert httpx.get(f"{address}/livez").status_code == 200


def test_a_supervisor_that_looks_no_more_is_not_alive(namespace: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with HealthServer(Procession(f"memory://{namespace}"), "0") as health:
        health(Condition(places=1, serving=1))
        assert health.answer("/livez").status == health.answer("/readyz").status == 200
        now = time.monotonic() + LATE + 1
        monkeypatch.setattr("procession.integrations.health.monotonic", lambda: now)
        assert health.answer("/livez").status == health.answer("/readyz").status == 503


def test_a_store_that_is_away_costs_the_scaling_signal_only() -> None:
    with HealthServer(Procession("redis://127.0.0.1:1", budget=0.2), "127.0.0.1:0") as health:
        assert health.answer("/scaling").status == 503
        assert health.answer("/livez").status == 200


def test_a_host_may_be_a_name_or_an_address_of_either_kind(namespace: str) -> None:
    application = Procession(f"memory://{namespace}")
    for host in ("localhost:0", "[::1]:0" if socket.has_ipv6 else "0"):
        with HealthServer(application, host):
            pass


def test_an_address_that_cannot_be_used_is_refused(namespace: str) -> None:
    application = Procession(f"memory://{namespace}")
    for wrong in ("eighty", "127.0.0.1:", "1:2:99999"):
        with pytest.raises(ConfigError, match="write a port, or host:port"):
            HealthServer(application, wrong)
    with pytest.raises(ConfigError, match="cannot listen there"):
        HealthServer(application, "192.0.2.1:80")


def test_latency_is_the_longest_wait_of_the_queues_that_were_asked_for() -> None:
    queues = [
        QueueInfo(name="mail", queued=40, oldest=6_750),
        QueueInfo(name="news", queued=2, oldest=9_000),
        QueueInfo(name="held", queued=5, oldest=1, paused=True),
        QueueInfo(name="empty", queued=0),
    ]
    every = scaling(queues, 10_000)
    assert (every.latency, every.queued, every.queues["held"].latency) == (3.25, 47, 0.0)
    some = scaling(queues, 10_000, ["news", "unused"])
    assert (some.latency, some.queued) == (1.0, 2)
    assert some.queues["unused"].queued == 0
    assert scaling([], 10_000).latency == 0.0


def test_the_dashboard_gives_the_scaling_signal_to_whom_it_lets_in(namespace: str) -> None:
    application = Procession(f"memory://{namespace}")

    @application.job(name="news", queue="news")
    def news() -> None: ...

    news.enqueue()
    found = Client(Dashboard(application), application).get("/scaling?queue=news").json()
    assert found["queues"]["news"]["queued"] == found["queued"] == 1
    stranger = Client(Dashboard(application), application, peer="192.0.2.7")
    assert stranger.get("/scaling").status_code == 403


def test_the_processes_of_a_worker_are_summed_up_at_its_health_address(
    worker: Families, shop: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch  # noqa: F811
) -> None:
    (tmp_path / "counted").mkdir()
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path / "counted"))
    with (tmp_path / "shop.py").open("a") as file:
        file.write("\nfrom procession.integrations.prometheus import JobMetrics\napp.use(JobMetrics())\n")
    family = worker("--health", "0", "--processes", "2")
    address = "http://" + until(lambda: re.findall(r"/scaling at (\S+)", family.log))[0]
    for handle in [shop.version.enqueue() for _ in range(4)]:
        handle.wait(timeout=20)
    wanted = 'procession_run_seconds_count{job="version",outcome="returned",queue="q"} 4.0'
    assert wanted in httpx.get(f"{address}/metrics").text
    assert family.stop() == 0


# The examples


def as_options(command: list[str]) -> dict[str, Any]:
    """The options of a `procession worker …`, parsed by the command itself."""
    name, *words = command[command.index("worker") :]
    with worker_command.make_context(name, words) as context:
        return context.params


def test_the_unit_of_systemd_fits_the_command_and_its_times() -> None:
    unit = configparser.ConfigParser(interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(DEPLOY / "procession.service")
    service = unit["Service"]
    assert service["Type"] == "notify"
    assert as_options(shlex.split(service["ExecStart"]))["target"] == "shop.jobs:app"
    assert service["ExecReload"].endswith("-HUP $MAINPID")
    assert float(service["TimeoutStopSec"]) >= GRACE + KILL_AFTER
    assert float(service["WatchdogSec"]) >= 2


def test_the_manifests_of_kubernetes_fit_what_a_worker_answers(namespace: str) -> None:
    deployment, service, scaled = yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text("utf-8"))
    pod = deployment["spec"]["template"]["spec"]
    [container] = pod["containers"]
    options = as_options(container["command"])
    assert pod["terminationGracePeriodSeconds"] >= GRACE + KILL_AFTER
    [port] = container["ports"]
    assert options["health"] == f"0.0.0.0:{port['containerPort']}"
    with HealthServer(Procession(f"memory://{namespace}"), "0") as health:
        health(Condition(places=2, serving=2))
        for probe in ("livenessProbe", "readinessProbe"):
            asked = container[probe]["httpGet"]
            assert asked["port"] == port["name"]
            assert health.answer(asked["path"]).status == 200
        labels = deployment["spec"]["template"]["metadata"]["labels"]
        assert service["spec"]["selector"] == deployment["spec"]["selector"]["matchLabels"] == labels
        [trigger] = scaled["spec"]["triggers"]
        asked = trigger["metadata"]
        host, number, path = re.fullmatch(r"http://([\w-]+)\.default\.svc:(\d+)(/.*)", asked["url"]).groups()  # type: ignore[union-attr]
        assert (host, int(number)) == (service["metadata"]["name"], service["spec"]["ports"][0]["port"])
        value: Any = json.loads(json.dumps(health.answer(path).body, default=as_builtins))
        for part in asked["valueLocation"].split("."):
            value = value[part]
        assert value == 0.0
        assert float(asked["targetValue"]) > 0
    assert trigger["type"] == "metrics-api"
    assert scaled["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"]


def as_builtins(value: Any) -> Any:
    return {name: getattr(value, name) for name in value.__struct_fields__}
