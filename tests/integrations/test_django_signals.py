"""What Django tells of a task through its signals, and whoever receives them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from tests.integrations.conftest import perform

pytestmark = pytest.mark.xdist_group("django")  # set up once per process


def test_django_is_told_of_a_task_s_life_once_and_not_of_runs_that_are_repeated(backend: Any, project: Any) -> None:
    heard: list[tuple[str, str]] = []
    over = threading.Event()
    api = project.interface

    def hear(name: str) -> Callable[..., None]:
        def receiver(sender: Any, task_result: Any, **_: Any) -> None:
            heard.append((name, str(task_result.status)))
            if task_result.is_finished and task_result.task.name == "fails":
                over.set()

        return receiver

    signals = {"enqueued": api.task_enqueued, "started": api.task_started, "finished": api.task_finished}
    receivers = [(signal, hear(name)) for name, signal in signals.items()]
    for signal, receiver in receivers:
        signal.connect(receiver)
    try:
        project.tasks.urgent.enqueue()
        perform(backend.app)
        assert heard == [("enqueued", "READY"), ("started", "RUNNING"), ("finished", "SUCCESSFUL")]
        heard.clear()
        project.tasks.fails.enqueue()
        perform(backend.app)
        assert over.wait(10)
        assert heard == [("enqueued", "READY"), ("started", "RUNNING"), ("finished", "FAILED")]
    finally:
        for signal, receiver in receivers:
            signal.disconnect(receiver)


@pytest.mark.parametrize("name", ["echo", "echo_async"])
def test_receivers_of_either_kind_may_use_the_orm_whichever_kind_the_task_is(
    backend: Any, project: Any, name: str
) -> None:
    api, heard = project.interface, []

    def receiver(task_result: Any, **_: Any) -> None:
        project.Order.objects.create(item=f"{task_result.id}")
        heard.append(("def", str(task_result.status)))

    async def receiver_async(task_result: Any, **_: Any) -> None:
        await project.Order.objects.acreate(item=f"{task_result.id}")
        heard.append(("async def", str(task_result.status)))

    joined = [(signal, it) for signal in (api.task_started, api.task_finished) for it in (receiver, receiver_async)]
    for signal, it in joined:
        signal.connect(it)
    try:
        getattr(project.tasks, name).enqueue()
        perform(backend.app)
    finally:
        for signal, it in joined:
            signal.disconnect(it)
    assert sorted(heard) == sorted((kind, said) for kind in ("def", "async def") for said in ("RUNNING", "SUCCESSFUL"))


def test_a_receiver_that_raises_is_logged_and_the_task_is_enqueued_and_runs(
    backend: Any, project: Any, caplog: pytest.LogCaptureFixture
) -> None:
    api = project.interface

    def receiver(**_: Any) -> None:
        raise LookupError("a receiver's own trouble")

    signals = (api.task_enqueued, api.task_started, api.task_finished)
    for signal in signals:
        signal.connect(receiver)
    try:
        with project.transaction.atomic():
            result = project.tasks.echo.enqueue()
        perform(backend.app)
    finally:
        for signal in signals:
            signal.disconnect(receiver)
    assert backend.get_result(result.id).status == "SUCCESSFUL"
    assert len([it for it in caplog.records if it.exc_info and it.exc_info[0] is LookupError]) == 3
