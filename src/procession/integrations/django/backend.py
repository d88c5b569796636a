"""The backend: Django's tasks as jobs, enqueued when the transaction commits, found again by their id.

Each task becomes a job of the name `module.function` when it is defined. Django makes one backend per thread, so what
lasts, the app, is kept here by alias. What a worker needs beyond this is in `target.py`.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from importlib import import_module
from inspect import iscoroutinefunction
from threading import Lock
from typing import Any
from uuid import UUID

from django.apps import apps
from django.core import checks
from django.db import close_old_connections, transaction
from django.utils import timezone
from django.utils.module_loading import autodiscover_modules

from procession.client import Procession
from procession.context import current_job
from procession.enqueuer import Call
from procession.errors import ConfigError
from procession.events import Event
from procession.integrations.django.connections import FreshConnections
from procession.integrations.django.interface import (
    Base,
    InvalidTask,
    Task,
    TaskContext,
    TaskResult,
    TaskResultDoesNotExist,
    TaskResultStatus,
    normalize_json,
    task_backends,
    task_enqueued,
    task_finished,
    task_started,
)
from procession.integrations.django.results import result_of
from procession.job import new_jid
from procession.names import check_queue
from procession.registry import Registered
from procession.retry import Retry
from procession.runtime.target import load_app

OURS = ("app", "enqueue_on_commit", "using", "modules")
"""Options of the backend itself; all others are arguments of `Procession`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessionTask(Task):
    """Django's `Task`, and what `@task(…)` takes beside its own words here. None leaves it to the app."""

    retry: Retry | bool | int | None = None
    timeout: float | str | None = None
    tags: tuple[str, ...] = ()
    enqueue_on_commit: bool | None = None


class ProcessionBackend(Base):
    """See above. `OPTIONS`, each of which may be left out:

    - `app`: "shop.jobs:app", the app to use; else one is made of the options that are not ours, which `Procession(…)`
      takes: `url`, `namespace`, `retry`, any setting.
    - `enqueue_on_commit`: True (the default) hands a task over when the transaction that is open commits; `using` says
      in which database, "default" if not given.
    - `modules`: what a worker imports beside the `tasks` module of each installed app.
    """

    task_class = ProcessionTask
    supports_defer = True
    supports_async_task = True
    supports_get_result = True
    supports_priority = True

    def __init__(self, alias: str, params: dict[str, Any]) -> None:
        super().__init__(alias, params)
        self.app = _app(alias, self.options)
        self._on_commit: bool = self.options.get("enqueue_on_commit", True)
        self._using: str | None = self.options.get("using")

    def validate_task(self, task: Any) -> None:
        """Whether it can be performed here; the first time, it becomes a job."""
        super().validate_task(task)
        self._registered(task)

    def enqueue(self, task: Any, args: Any, kwargs: Any) -> Any:
        """Store it, or arrange for that when the open transaction commits: `enqueued_at` is None until then.

        Raises:
            InvalidTask: it cannot be performed here.
            EnqueueError: an argument cannot be kept; or the store cannot be used, which may come out of the commit.
        """
        self.validate_task(task)
        jid = new_jid()
        result = TaskResult(
            task=task,
            id=str(jid),
            status=TaskResultStatus.READY,
            enqueued_at=None,
            started_at=None,
            last_attempted_at=None,
            finished_at=None,
            args=args,
            kwargs=kwargs,
            backend=self.alias,
            errors=[],
            worker_ids=[],
        )
        call = self._call(task, jid, result.args, result.kwargs)
        wanted = getattr(task, "enqueue_on_commit", None)
        wanted = self._on_commit if wanted is None else wanted
        if wanted and transaction.get_connection(self._using).in_atomic_block:
            transaction.on_commit(partial(self._store, call, result), using=self._using)
        else:
            self._store(call, result)
        return result

    def get_result(self, result_id: str) -> Any:
        """The task as it is stored now. Raises TaskResultDoesNotExist."""
        try:
            job = self.app.find_job(result_id)
        except ConfigError:
            job = None
        task = None if job is None else self._task(job.name)
        if job is None or task is None:
            raise TaskResultDoesNotExist(result_id)
        return result_of(job, task, self.alias)

    def check(self, **kwargs: Any) -> list[Any]:
        """Django's system check: queues that cannot be used."""
        found = [*super().check(**kwargs)]
        for queue in sorted(self.queues):
            try:
                check_queue(queue)
            except ConfigError as error:
                hint = f'Change QUEUES of TASKS["{self.alias}"].'
                found.append(checks.Error(str(error), hint=hint, id="procession.E001"))
        return found

    # Within

    def _store(self, call: Call[Any], result: Any) -> None:
        self.app.enqueue(call)
        object.__setattr__(result, "enqueued_at", timezone.now().astimezone(UTC))
        task_enqueued.send_robust(type(self), task_result=result)

    def _call(self, task: Any, jid: UUID, args: list[Any], kwargs: dict[str, Any]) -> Call[Any]:
        run_after = task.run_after
        if run_after is not None and timezone.is_naive(run_after):  # Django lets it pass where USE_TZ is off
            run_after = timezone.make_aware(run_after)
        caller = self.app.caller(self._registered(task).source)
        return caller.using(jid=jid, queue=task.queue_name, priority=task.priority, at=run_after).bind(*args, **kwargs)

    def _registered(self, task: Any) -> Registered:
        with _lock:
            known = self.app.registry.get(task.module_path)
            defined = getattr(known.source, "task", None) if known is not None else None
            if known is not None and defined is not None and defined.func == task.func:
                return known
            options: dict[str, Any] = {"retry": getattr(task, "retry", None), "tags": getattr(task, "tags", ())}
            if getattr(task, "timeout", None) is not None:
                options["timeout"] = task.timeout
            return self.app.registry.define(
                _performing(task, self),
                name=task.module_path,
                queue=task.queue_name,
                priority=task.priority,
                **options,
            )

    def discover(self) -> None:
        """Import every module of tasks, so that all of them are known; those defined for another alias, too, for they
        may be enqueued with this one."""
        autodiscover_modules("tasks")
        modules = [import_module(module) for module in self.options.get("modules", ())]
        found = [f"{config.name}.tasks" for config in apps.get_app_configs()]
        modules += [sys.modules[module] for module in found if module in sys.modules]
        for task in [value for module in modules for value in vars(module).values() if isinstance(value, Task)]:
            with suppress(InvalidTask):  # this alias does not take it
                task.using(backend=self.alias)

    def _task(self, name: str) -> Any:
        """The task of this name; None for a job that is none of Django's. The name comes from the store, so nothing is
        imported by it: only what the project itself lists."""
        registered = self.app.registry.get(name)
        if registered is None:
            self.discover()
            registered = self.app.registry.get(name)
        return None if registered is None else getattr(registered.source, "task", None)

    def tell_failed(self, event: Event) -> None:
        """Django's signal for a task that is not to run again; those that succeed say it where they ran."""
        job = self.app.find_job(event.jid)
        task = self._task(event.name)
        if job is not None and task is not None:
            task_finished.send_robust(type(self), task_result=result_of(job, task, self.alias))


def _performing(task: Any, backend: ProcessionBackend) -> Any:
    """What a worker calls for a task: takes its arguments as they are, gives the context, says the signals."""

    if iscoroutinefunction(task.func):

        async def perform_async(*args: Any, **kwargs: Any) -> Any:
            result = _begun(task, backend, args, kwargs)
            await task_started.asend_robust(type(backend), task_result=result)
            given = (TaskContext(task_result=result), *args) if task.takes_context else args
            value = _succeeded(await task.func(*given, **kwargs), result)
            await task_finished.asend_robust(type(backend), task_result=result)
            return value

        perform_async.task = task  # type: ignore[attr-defined]
        return perform_async

    def perform(*args: Any, **kwargs: Any) -> Any:
        result = _begun(task, backend, args, kwargs)
        task_started.send_robust(type(backend), task_result=result)
        given = (TaskContext(task_result=result), *args) if task.takes_context else args
        value = _succeeded(task.func(*given, **kwargs), result)
        task_finished.send_robust(type(backend), task_result=result)
        return value

    perform.task = task  # type: ignore[attr-defined]
    return perform


def _begun(task: Any, backend: ProcessionBackend, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The result of a run that begins, from what is known here: nobody is asked, so an outage does not matter."""
    job, now = current_job(), datetime.now(UTC)
    return TaskResult(
        task=task,
        id=str(job.jid),
        status=TaskResultStatus.RUNNING,
        enqueued_at=datetime.fromtimestamp((job.jid.int >> 80) / 1_000, UTC),  # a UUIDv7 begins with its milliseconds
        started_at=now,
        last_attempted_at=now,
        finished_at=None,
        args=[*args],
        kwargs=kwargs,
        backend=backend.alias,
        errors=[],
        worker_ids=[""] * (job.attempt - 1) + [job.worker],
    )


def _succeeded(value: Any, result: Any) -> Any:
    """The value as it is kept; the result knows it from here on."""
    plain = normalize_json(value)
    object.__setattr__(result, "_return_value", plain)
    object.__setattr__(result, "status", TaskResultStatus.SUCCESSFUL)
    object.__setattr__(result, "finished_at", datetime.now(UTC))
    return plain


_lock = Lock()
_apps: dict[str, tuple[dict[str, Any], Procession]] = {}


def _app(alias: str, options: dict[str, Any]) -> Procession:
    """The app of an alias: the same in all threads, while its options stay the same."""
    with _lock:
        known = _apps.get(alias)
        if known is not None and known[0] == options:
            return known[1]
        if "app" in options:
            app = load_app(options["app"])
        else:
            app = Procession(**{name: value for name, value in options.items() if name not in OURS})
        if not any(isinstance(it, FreshConnections) for it in app.registry.policies.middleware):
            app.use(FreshConnections())
            for kind in ("failed", "cancelled"):
                app.on(kind)(partial(_tell_failed, alias))
        _apps[alias] = (options, app)
        return app


def _tell_failed(alias: str, event: Event) -> None:
    try:
        task_backends[alias].tell_failed(event)
    finally:
        close_old_connections()  # a receiver of the signal may have used one, in this thread of the library
