"""A shop whose jobs die, hang and hog, and the worker families that serve it."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from procession import Procession
from tests.process.family import SHOP, Families


@pytest.fixture
def shop(valkey_url: str, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The module that the workers import, imported here to enqueue."""
    path = tmp_path / "shop.py"
    path.write_text(SHOP)
    monkeypatch.setenv("PROCESSION_URL", valkey_url)
    monkeypatch.setenv("PROCESSION_NAMESPACE", namespace)
    spec = importlib.util.spec_from_file_location(f"shop_{namespace.replace('.', '_')}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    module.app.close()
    del sys.modules[spec.name]


@pytest.fixture
def app(shop: ModuleType) -> Procession:
    """The app of the shop."""
    app: Procession = shop.app
    return app


@pytest.fixture
def worker(app: Procession, tmp_path: Path) -> Iterator[Families]:
    """Starts `procession worker`."""
    families = Families(tmp_path, {"url": app.settings.url, "namespace": app.settings.namespace})
    yield families
    families.close()
