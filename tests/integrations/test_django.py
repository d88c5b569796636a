"""Django's tasks over Procession, with Django itself: what Django and django-tasks expect of a backend, transactions,
the ORM, and `manage.py procession`. Runs over Django ≥ 6.0 where that is installed, else over django-tasks."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest

from procession import ConfigError, Procession
from tests.integrations.conftest import BACKEND, perform
from tests.process.family import until

pytestmark = pytest.mark.xdist_group("django")  # set up once per process
ROOT = Path(__file__).parents[2]
PATH = [str(ROOT), os.environ.get("PYTHONPATH", "."), "."]
DUMMY = {True: "django.tasks.backends.dummy.DummyBackend", False: "django_tasks.backends.dummy.DummyBackend"}


# What Django expects of a backend


def test_the_backend_says_what_it_can_and_it_can(backend: Any, project: Any) -> None:
    assert isinstance(backend, project.interface.Base)
    assert backend.alias == "default"
    assert backend.supports_defer
    assert backend.supports_async_task
    assert backend.supports_get_result
    assert backend.supports_priority


@pytest.mark.parametrize("name", ["echo", "echo_async"])
def test_an_enqueued_task_is_ready_and_the_same_when_it_is_read(backend: Any, project: Any, name: str) -> None:
    task = getattr(project.tasks, name)
    result = task.enqueue(1, two=3)
    status = project.interface.TaskResultStatus
    assert (result.status, result.is_finished, result.attempts) == (status.READY, False, 0)
    assert result.enqueued_at is not None
    assert result.started_at is result.last_attempted_at is result.finished_at is None
    assert (result.args, result.kwargs, result.task) == ([1], {"two": 3}, task)
    with pytest.raises(ValueError, match="Task has not finished yet"):
        _ = result.return_value
    read = backend.get_result(result.id)
    assert (read.id, read.status, read.args, read.kwargs) == (result.id, result.status, result.args, result.kwargs)
    assert read.task == task
    assert abs(read.enqueued_at - result.enqueued_at) < timedelta(seconds=5)


@pytest.mark.parametrize("name", ["echo", "echo_async"])
def test_a_performed_task_is_successful_with_its_times_and_its_value(backend: Any, project: Any, name: str) -> None:
    result = getattr(project.tasks, name).enqueue("a", 2)
    perform(backend.app)
    result.refresh()
    assert result.status == project.interface.TaskResultStatus.SUCCESSFUL
    assert result.return_value == (["a", 2] if name == "echo_async" else {"args": ["a", 2], "kwargs": {}})
    assert result.enqueued_at <= result.started_at <= result.finished_at
    assert result.last_attempted_at is not None
    assert result.attempts == len(result.worker_ids) == 1
    assert result.errors == []


def test_async_callers_enqueue_read_and_refresh(backend: Any, project: Any) -> None:
    async def main() -> Any:
        results = [await task.aenqueue(5) for task in (project.tasks.echo, project.tasks.echo_async)]
        await asyncio.to_thread(perform, backend.app)
        await results[0].arefresh()
        return results[0], await project.tasks.echo_async.aget_result(results[1].id)

    first, second = asyncio.run(main())
    assert first.return_value == {"args": [5], "kwargs": {}}
    assert second.return_value == [5]


FAILING = [("fails", ValueError, "no stock"), ("leaves", SystemExit, "enough")]


@pytest.mark.parametrize(("name", "kind", "said"), FAILING)
def test_a_failed_task_carries_its_error_and_no_value(
    backend: Any, project: Any, name: str, kind: type[BaseException], said: str
) -> None:
    result = getattr(project.tasks, name).enqueue()
    perform(backend.app)
    result.refresh()
    assert result.status == project.interface.TaskResultStatus.FAILED
    with pytest.raises(ValueError, match="Task failed"):
        _ = result.return_value
    [error] = result.errors
    assert error.exception_class is kind
    assert error.traceback.endswith(f"{kind.__name__}: {said}\n")
    assert "in " + name in error.traceback
    assert result.attempts == 1
    assert result.started_at <= result.finished_at


def test_a_value_that_json_cannot_hold_fails_the_task(backend: Any, project: Any) -> None:
    result = project.tasks.returns_what_json_cannot_hold.enqueue()
    perform(backend.app)
    result.refresh()
    assert result.errors[0].exception_class is TypeError
    assert "Unsupported type" in result.errors[0].traceback


def test_a_missing_result_and_one_of_another_task_are_refused(backend: Any, project: Any) -> None:
    missing = project.interface.TaskResultDoesNotExist
    for wrong in ("123", "0198c0de-0000-7000-8000-000000000000"):
        with pytest.raises(missing):
            backend.get_result(wrong)
    result = project.tasks.echo.enqueue()
    with pytest.raises(Exception, match="does not match"):
        project.tasks.fails.get_result(result.id)

    for name in ("plain", "this.Zen"):

        @Procession(backend.app.settings.url, namespace=backend.app.settings.namespace).job(name=name)
        def plain() -> None: ...

        with pytest.raises(missing):
            backend.get_result(str(plain.enqueue().jid))
        plain.app.close()
    assert "this" not in sys.modules, "a name from the store was imported"


def test_a_result_is_found_though_its_queue_is_served_no_more(only: Any, project: Any) -> None:
    before = only(["default", "old"])
    result = project.tasks.echo.using(queue_name="old", priority=3).enqueue()
    perform(before.app)
    found = only(["default"]).get_result(result.id)
    assert found.status == project.interface.TaskResultStatus.SUCCESSFUL
    assert (found.task.queue_name, found.task.priority) == ("old", 3)
    assert project.tasks.echo.queue_name == "default"


def test_the_context_tells_the_attempt_and_the_id(backend: Any, project: Any) -> None:
    result = project.tasks.context.enqueue(1)
    perform(backend.app)
    result.refresh()
    assert result.return_value == result.id


def test_a_task_that_is_to_run_later_waits_and_says_when(backend: Any, project: Any) -> None:
    from django.utils import timezone

    later = (timezone.now() + timedelta(hours=1)).replace(microsecond=0)
    result = project.tasks.echo.using(run_after=later).enqueue()
    perform(backend.app)
    result.refresh()
    assert result.status == project.interface.TaskResultStatus.READY
    assert backend.get_result(result.id).task.run_after == later
    assert backend.app.stats().delayed == 1


def test_queue_and_priority_reach_the_store_and_the_more_urgent_goes_first(backend: Any, project: Any) -> None:
    project.tasks.urgent.using(priority=-5).enqueue()
    first = project.tasks.urgent.enqueue()
    found = backend.app.peek("mail")
    assert (str(found.jid), found.priority, found.queue) == (first.id, 7, "mail")
    assert found.name == "tests.integrations.shop.tasks.urgent"


def test_tasks_that_cannot_be_performed_are_refused_when_defined_or_enqueued(backend: Any, project: Any) -> None:
    with pytest.raises(Exception, match="module level"):
        backend.task_class(func=lambda: None)
    with pytest.raises(Exception, match="whole number"):
        project.tasks.echo.using(priority=101)
    with pytest.raises(Exception, match="not valid for backend"):
        project.tasks.echo.using(queue_name="unknown")
    with pytest.raises(TypeError, match="Unsupported type"):
        project.tasks.echo.enqueue(object())
    assert backend.app.stats().scheduled == 0


def test_a_run_that_fails_is_repeated_as_the_task_says_and_is_ready_meanwhile(backend: Any, project: Any) -> None:
    result = project.tasks.fails_at_first.enqueue(backend.app.settings.namespace)
    perform(backend.app)
    result.refresh()
    assert result.status == project.interface.TaskResultStatus.READY
    assert (result.attempts, result.finished_at, len(result.errors)) == (1, None, 1)
    assert result.errors[0].exception_class is OSError
    until(lambda: perform(backend.app) or backend.app.stats().processed)
    result.refresh()
    assert (result.return_value, result.attempts) == ("at last", 2)
    job = backend.app.find_job(result.id)
    assert (job.tags, backend.app.registry.get(job.name).timeout) == (("often",), 5_000)


# Transactions and the ORM


def test_inside_a_transaction_a_task_is_handed_over_when_it_commits(backend: Any, project: Any) -> None:
    with project.transaction.atomic():
        result = project.tasks.echo.enqueue()
        assert result.enqueued_at is None
        assert backend.app.stats().queued == 0
    assert backend.app.stats().queued == 1
    assert result.enqueued_at is not None
    assert backend.get_result(result.id).id == result.id


def test_what_a_transaction_took_back_is_never_enqueued(backend: Any, project: Any) -> None:
    with project.transaction.atomic():
        project.tasks.echo.enqueue()
        project.transaction.set_rollback(True)
    with project.transaction.atomic():
        project.tasks.echo.enqueue("kept")
        with project.transaction.atomic():
            project.tasks.echo.enqueue("lost")
            project.transaction.set_rollback(True)
    assert [job.args["args"] for job in backend.app.jobs("queued").jobs] == [["kept"]]


def test_a_task_or_a_backend_may_be_told_not_to_wait_for_the_commit(backend: Any, project: Any, only: Any) -> None:
    with project.transaction.atomic():
        project.tasks.at_once.enqueue()
        assert backend.app.stats().queued == 1
    eager = only(enqueue_on_commit=False)
    before = eager.app.stats().queued
    with project.transaction.atomic():
        project.tasks.echo.enqueue()
        assert eager.app.stats().queued == before + 1


@pytest.mark.parametrize("name", ["pay", "pay_async"])
def test_runs_use_the_orm_and_leave_no_connection_behind(backend: Any, project: Any, name: str) -> None:
    from django.db.backends.sqlite3.base import DatabaseWrapper

    opened, closed = [], []
    connect, close = DatabaseWrapper.get_new_connection, DatabaseWrapper._close
    order = project.Order.objects.create(item="book")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DatabaseWrapper, "get_new_connection", lambda self, p: opened.append(1) or connect(self, p))
        patch.setattr(DatabaseWrapper, "_close", lambda self: closed.append(self.connection is not None) or close(self))
        result = getattr(project.tasks, name).enqueue(order.pk)
        perform(backend.app)
    result.refresh()
    assert result.return_value is True
    order.refresh_from_db()
    assert order.paid
    assert opened
    assert closed.count(True) == len(opened)


def test_django_s_own_interface_is_used_where_it_has_one(project: Any) -> None:
    if not project.native:
        pytest.skip("DJANGO 6 NEEDS PYTHON 3.12: django-tasks was tried here; `make test-django` tries it")
    assert project.interface.Base.__module__ == "django.tasks.backends.base"


# Settings, and the command


def test_the_options_are_an_app_s_or_name_one(only: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    app = Procession("memory://named", namespace="named")
    monkeypatch.setitem(sys.modules, "named_app", SimpleNamespace(app=app))
    assert only(app="named_app:app").app is app
    again = only(app="named_app:app").app
    assert len(again.registry.policies.middleware) == 1


def test_a_worker_of_one_alias_knows_the_tasks_that_were_defined_for_another(project: Any, namespace: str) -> None:
    from procession.integrations.django import target

    def params(name: str) -> dict[str, Any]:
        return {"BACKEND": BACKEND, "QUEUES": [], "OPTIONS": {"url": f"memory://{namespace}{name}", "retry": False}}

    with project.override_settings(TASKS={name: params(name) for name in ("default", "other")}):
        result = project.tasks.echo.using(backend="other").enqueue(1)
        other = target.other
        assert len(other.registry) > 5
        perform(other)
        result.refresh()
        assert result.return_value == {"args": [1], "kwargs": {}}
    with (
        project.override_settings(TASKS={"default": {"BACKEND": DUMMY[project.native]}}),
        pytest.raises(ConfigError, match="not served by Procession"),
    ):
        _ = target.default


def test_djangos_check_names_queues_that_cannot_be_used(only: Any) -> None:
    assert only(queues=["default"]).check() == []
    [error] = only(queues=["failed", "mail"]).check()
    assert error.id == "procession.E001"
    assert "final state" in error.msg


def test_manage_py_procession_speaks_to_the_store_of_the_settings(
    backend: Any, project: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from django.core.management import CommandError, call_command

    for name in ("PROCESSION_URL", "PROCESSION_NAMESPACE"):
        monkeypatch.setenv(name, "to be set back")
    project.tasks.urgent.enqueue()
    call_command("procession", "stats", "--json")
    assert json.loads(capsys.readouterr().out)["queued"] == 1
    call_command("procession", "check")
    assert "the code fits what is in the store" in capsys.readouterr().out
    for words, code, says in (
        (("queues", "pause", "failed"), 2, "final state"),
        (("jobs", "show", str(UUID(int=0))), 3, "no job"),
        (("nonsense",), 2, "No such command"),
        (("--backend", "nowhere", "stats"), 2, "TASKS has no 'nowhere'; it has "),
    ):
        with pytest.raises(CommandError, match=says) as caught:
            call_command("procession", *words)
        assert caught.value.returncode == code


@pytest.mark.parametrize(
    ("words", "queues", "served"),
    [
        ([], "", "default, mail"),
        (["-q", "mail"], "", "mail"),
        (["-qmail:2"], "", "mail"),
        (["--queue=mail"], "", "mail"),
        ([], "mail:6,default", "mail, default"),
    ],
)
def test_a_worker_serves_the_queues_that_it_is_told_else_those_of_tasks(
    valkey_url: str, namespace: str, tmp_path: Path, words: list[str], queues: str, served: str
) -> None:
    environment = {
        **os.environ,
        "SHOP_HOME": str(tmp_path),
        "SHOP_URL": valkey_url,
        "SHOP_NAMESPACE": namespace,
        "DJANGO_SETTINGS_MODULE": "tests.integrations.shop.settings",
        "PYTHONPATH": os.pathsep.join(PATH),
        "PROCESSION_QUEUES": queues,
    }
    command = [sys.executable, "-m", "django", "procession", "worker", "--burst", *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=50, check=False)
    assert f"serves {served}:" in done.stderr


def test_the_page_s_project_works_as_it_is_written(valkey_url: str, namespace: str, tmp_path: Path) -> None:
    page = (ROOT / "docs" / "django.md").read_text("utf-8")
    if sys.version_info < (3, 12):
        page = page.replace('"procession.integrations.django"]', '"procession.integrations.django", "django_tasks"]')
        page = page.replace("from django.tasks import", "from django_tasks import")
    page = page.replace("redis://localhost:6379", valkey_url)
    page = page.replace('"namespace": "shop"', f'"namespace": "{namespace}"')
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "__init__.py").touch()
    for path, code in re.findall(r"```python\n# (\S+)\n(.*?)```", page, re.DOTALL):
        (tmp_path / path).write_text(code)
    ask = (
        "import django; django.setup()\n"
        "from django.test import RequestFactory; from shop.views import buy; from shop.tasks import send_invoice\n"
        "import subprocess, sys\n"
        "found = buy(RequestFactory().get('/')).content.decode()\n"
        "command = [sys.executable, '-m', 'django', 'procession', 'worker', '--burst']\n"
        "said = subprocess.run(command, check=True, capture_output=True, text=True).stderr\n"
        "assert 'serves default, mail' in said, said\n"
        "print(send_invoice.get_result(found).return_value)\n"
    )
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "shop.settings", "PYTHONPATH": os.pathsep.join(PATH)}
    command = [sys.executable, "-c", ask]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=50, check=False
    )
    assert done.stdout.strip() == "invoice 42 is on its way", done.stderr
