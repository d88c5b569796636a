"""What a test leaves open is found in that test, not in whichever runs when the collector does."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def nothing_is_left_open() -> Iterator[None]:
    yield
    gc.collect()
