"""The contract of the seam as tests: what every backend must do, sentence by sentence of the protocol's docstrings.

The author of a backend writes one file: a star import of this package, and a fixture `database` (docs/backends.md).
The same text binds our own backends. Only test suites import it; it needs pytest.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import pytest

PARTS = (
    "queue", "ageing", "faults", "recovery", "deadline", "unique", "limits", "shelf", "revision", "notes",
    "schedules", "measures", "finding", "orders",
)  # fmt: skip
"""The modules of the suite, the hot verbs first."""

pytest.register_assert_rewrite(*(f"{__name__}.{part}" for part in (*PARTS, "invariants")))


def _is_fixture(it: Any) -> bool:
    return "fixture" in type(it).__name__.lower() or hasattr(it, "_pytestfixturefunction")  # since pytest 8.4; before


def _collected() -> dict[str, Any]:
    """Every test, and the fixtures that they ask for, under their own names: what a star import hands on."""
    found: dict[str, Any] = {}
    for part in ("fixtures", *PARTS):
        module = import_module(f"{__name__}.{part}")
        own = {name: it for name, it in vars(module).items() if getattr(it, "__module__", "") == module.__name__}
        for name, it in own.items():
            if name.startswith("test_") or name == "Clock" or _is_fixture(it):
                if name in found and found[name] is not it:
                    raise ImportError(f"two parts of the contract have a {name}: rename the one in {part}.py")
                found[name] = it
        if part == "fixtures":
            found |= {"NOW": module.NOW, "POLICY": module.POLICY}
    return found


globals().update(_collected())
__all__ = [*_collected()]  # pyright: ignore[reportUnsupportedDunderAll]
