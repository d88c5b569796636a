"""What a worker process imports: `procession.integrations.django.target:default`, the app of a backend by its alias.

Sets Django up, imports every module of tasks, and so knows all jobs. `manage.py procession worker` names it.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from importlib import import_module
from typing import Any

import django
from django.apps import apps
from django.utils.module_loading import autodiscover_modules

from procession.errors import ConfigError
from procession.integrations.django.backend import ProcessionBackend
from procession.integrations.django.interface import InvalidTask, Task, task_backends

if not apps.ready:
    django.setup()


def backend_of(alias: str) -> ProcessionBackend:
    """The backend behind an alias of TASKS. Raises ConfigError when it is none of ours."""
    backend = task_backends[alias]
    if not isinstance(backend, ProcessionBackend):
        raise ConfigError(f'TASKS["{alias}"] is not served by Procession: its BACKEND is {type(backend).__qualname__}')
    return backend


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    backend = backend_of(name)
    autodiscover_modules("tasks")
    modules = [import_module(module) for module in backend.options.get("modules", ())]
    modules += [sys.modules[it] for config in apps.get_app_configs() if (it := f"{config.name}.tasks") in sys.modules]
    for task in [value for module in modules for value in vars(module).values() if isinstance(value, Task)]:
        with suppress(InvalidTask):  # one that this alias does not take
            task.using(backend=name)  # defined for another alias, it may be enqueued with this one all the same
    return backend.app
