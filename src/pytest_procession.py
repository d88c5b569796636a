"""The pytest plugin: the fixture `procession`, a test kit around your app. See docs/testing.md.

pytest imports this file in every run of every project that has the library installed, so it stands outside of the
package and imports nothing of it before a test asks for the fixture.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from procession import Procession
    from procession.testing import Kit

MARKER = (
    "procession(app=…, store=…, inline=…, now=…, concurrency=…, patience=…): how the `procession` fixture of this test"
    " is set up: the app or apps (or their module:name); 'memory', 'embedded' or a URL; the other words are those of"
    " procession.testing.Kit"
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--procession-store`, and the ini options."""
    group = parser.getgroup("procession")
    group.addoption(
        "--procession-store",
        metavar="STORE",
        help="Where jobs of tests are stored: 'memory' (default), 'embedded' (a Valkey of this test run), or a URL.",
    )
    parser.addini("procession_app", "App of the `procession` fixture: shop.jobs:app; several are taken.", "args")
    parser.addini("procession_store", "Default of --procession-store.")


def pytest_configure(config: pytest.Config) -> None:
    """The marker."""
    config.addinivalue_line("markers", MARKER)


@pytest.fixture
def procession_app(request: pytest.FixtureRequest) -> Any:
    """The app under test, or several: that of the marker, else of the ini option `procession_app`. Write a fixture of
    this name to make it otherwise."""
    found = _marked(request).get("app") or request.config.getini("procession_app")
    if not found:
        raise pytest.UsageError(
            "which app? Write `procession_app = shop.jobs:app` under [tool.pytest.ini_options] (or [pytest]), or a"
            " fixture `procession_app` that returns it"
        )
    return found


@pytest.fixture(scope="session")
def _procession_embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Valkey for this test run, from the wheel; stopped at its end."""
    from procession.database.redis.embedded import Server

    server = Server(Path(tmp_path_factory.mktemp("procession")))
    yield server.ensure()
    server.stop()


@pytest.fixture
def procession(request: pytest.FixtureRequest, procession_app: Any) -> Iterator[Kit]:
    """A test kit around the app: its jobs go into a store of this test and run when the test says so."""
    from procession.testing import Kit

    options = {name: value for name, value in _marked(request).items() if name != "app"}
    store = (
        options.pop("store", None) or request.config.getoption("procession_store")
        or request.config.getini("procession_store") or "memory"
    )  # fmt: skip
    if store == "embedded":
        store = request.getfixturevalue("_procession_embedded")
    with Kit(*_apps(procession_app), store=store, **options) as kit:
        yield kit


def _marked(request: pytest.FixtureRequest) -> dict[str, Any]:
    """What the markers say, the nearest last."""
    options: dict[str, Any] = {}
    for marker in reversed([*request.node.iter_markers("procession")]):
        options |= marker.kwargs
    unknown = options.keys() - {"app", "store", "inline", "now", "concurrency", "patience"}
    if unknown:
        raise pytest.UsageError(f"@pytest.mark.procession does not know {min(unknown)!r}")
    return options


def _apps(given: Any) -> list[Procession]:
    from procession.runtime.target import load_app

    found = [given] if not isinstance(given, list | tuple) else [*given]
    return [load_app(it) if isinstance(it, str) else it for it in found]
