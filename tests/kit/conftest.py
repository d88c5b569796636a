"""The fixture's own route in this suite: each test makes its app, and the kit around it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from procession import Procession
from procession.testing import Kit

STRICT = ("-W", "error", "-W", "ignore::pytest.PytestAssertRewriteWarning")
"""Any warning is an error, but for the one that a pytest inside of pytest gives: the plugin was imported before."""


@pytest.fixture
def app() -> Procession:
    """An app whose store cannot be reached: what leaks to it is an error."""
    return Procession("redis://127.0.0.1:1", budget=0.2)


@pytest.fixture
def kit(app: Procession) -> Iterator[Kit]:
    with Kit(app) as kit:
        yield kit
