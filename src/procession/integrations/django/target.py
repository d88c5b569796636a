"""What a worker process imports: `procession.integrations.django.target:default`, the app of a backend by its alias.

Sets Django up, imports every module of tasks, and so knows all jobs. `manage.py procession worker` names it.
"""

from __future__ import annotations

from typing import Any

import django
from django.apps import apps

from procession.errors import ConfigError
from procession.integrations.django.backend import ProcessionBackend
from procession.integrations.django.interface import task_backends

if not apps.ready:
    django.setup()


def backend_of(alias: str) -> ProcessionBackend:
    """The backend behind an alias of TASKS. Raises ConfigError when there is none, or it is none of ours."""
    if alias not in [*task_backends]:
        raise ConfigError(f"TASKS has no {alias!r}; it has {', '.join(task_backends)}")
    backend = task_backends[alias]
    if not isinstance(backend, ProcessionBackend):
        raise ConfigError(f'TASKS["{alias}"] is not served by Procession: its BACKEND is {type(backend).__qualname__}')
    return backend


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    backend = backend_of(name)
    backend.discover()
    return backend.app
