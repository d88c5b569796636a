"""Where an app is, as `module:name`: what another process imports to have the same app. Found, and loaded."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from procession.client import Procession
from procession.errors import ConfigError
from procession.names import main_module


def load_app(target: str) -> Procession:
    """The app behind `module:name` (name `app` by default). The working directory is importable. Raises ConfigError."""
    module, _, name = target.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    wrong = ConfigError(f"cannot import {module!r} from {here}; write module:app, such as shop.jobs:app")
    if not module or module.startswith("."):  # a path such as ./shop/jobs.py
        raise wrong
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):  # a module that it imports
            raise
        raise wrong from None
    app = getattr(found, name or "app", None)
    if not isinstance(app, Procession):
        raise ConfigError(f"{target}: {name or 'app'} is not a Procession app of module {module!r}")
    return app


def target_of(app: Procession) -> str:
    """The module and name under which this app can be imported, looked for in what is imported now.

    Raises:
        ConfigError: it is no module's attribute, or only that of a `__main__` which no other process can import.
    """
    here = [(module, name) for module, name in _holders(app) if module != "__main__"]
    if here:
        return ":".join(min(here))
    for _, name in _holders(app):
        return f"{main_module(name)}:{name}"
    raise ConfigError(
        "job processes import the app by name, and no imported module holds this one: assign it in a module, such as"
        " app = Procession(), or give QueueWorker a target= such as 'shop.jobs:app'"
    )


def found_target(app: Procession, *, needed: bool) -> str | None:
    """The same, or None where nobody can say; raises ConfigError only if it is `needed`."""
    try:
        return target_of(app)
    except ConfigError:
        if needed:
            raise
        return None


def _holders(app: Procession) -> list[tuple[str, str]]:
    return [
        (module, name)
        for module, held in [*sys.modules.items()]
        for name, value in [*getattr(held, "__dict__", {}).items()]
        if value is app
    ]
