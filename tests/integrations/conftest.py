"""A PostgreSQL server, where the machine has one, and a Django project whose tasks are performed here."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from procession import Procession
from procession.runtime.queue_worker import QueueWorker
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


# Django

BACKEND = "procession.integrations.django.ProcessionBackend"


@pytest.fixture(scope="session")
def home() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="shop-") as folder:
        yield folder


@pytest.fixture(scope="session")
def project(home: str) -> Any:
    """Django, set up once per test process, with its table in a file."""
    os.environ |= {"SHOP_HOME": home, "SHOP_URL": "memory://django", "SHOP_NAMESPACE": "django"}
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.integrations.shop.settings"
    import django

    django.setup()
    from django.core.management import call_command
    from django.db import connection, transaction
    from django.test import override_settings

    from procession.integrations.django import interface
    from tests.integrations.shop import tasks
    from tests.integrations.shop.models import Order

    call_command("migrate", run_syncdb=True, verbosity=0)
    connection.close()
    return SimpleNamespace(
        override_settings=override_settings,
        transaction=transaction,
        tasks=tasks,
        Order=Order,
        interface=interface,
        native=interface.Task.__module__ == "django.tasks.base",
    )


@pytest.fixture(params=["memory", "valkey"])
def backend(request: pytest.FixtureRequest, project: Any, namespace: str) -> Iterator[Any]:
    """The default backend of a fresh namespace."""
    url = f"memory://{namespace}" if request.param == "memory" else request.getfixturevalue("valkey_url")
    options = {"url": url, "namespace": namespace, "retry": False}
    given = {"default": {"BACKEND": BACKEND, "QUEUES": ["default", "mail"], "OPTIONS": options}}
    with project.override_settings(TASKS=given):
        made = project.interface.task_backends["default"]
        yield made
        made.app.flush(confirm=namespace)
        made.app.close()


@pytest.fixture
def only(project: Any, namespace: str) -> Iterator[Callable[..., Any]]:
    """The default backend with other settings, over memory."""
    with project.override_settings():

        def make(queues: list[str] | None = None, **options: Any) -> Any:
            options = {"url": f"memory://{namespace}", "namespace": namespace, "retry": False, **options}
            params: dict[str, Any] = {"BACKEND": BACKEND, "OPTIONS": options}
            if queues is not None:
                params["QUEUES"] = queues
            override = project.override_settings(TASKS={"default": params})
            override.enable()
            opened.append(override)
            return project.interface.task_backends["default"]

        opened: list[Any] = []
        yield make
        for override in reversed(opened):
            override.disable()


def perform(app: Procession) -> None:
    """Perform all that is ready, with a real queue worker on a thread of its own."""

    async def run() -> None:
        await QueueWorker(app, burst=True).run()
        await app.close_async()

    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, run()).result()
