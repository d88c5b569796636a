"""A row of the negative controls: a guard, how it is taken out, and the scenario that notices."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

from tests.guards.removal import function_without, script_without

Removal = Callable[[], AbstractContextManager[None]]


class Guard(NamedTuple):
    """One guard, how to take it out, and who notices."""

    name: str
    where: str
    removals: tuple[Removal, ...]
    scenario: Callable[..., None]
    given: Mapping[str, Any] = MappingProxyType({})

    def also(self, where: str | Callable[..., Any], guard: str, instead: str = "") -> Guard:
        """A second guard stands behind it, in a script or a function; either is enough, so both are taken out."""
        make = script if isinstance(where, str) else function
        other: Guard = make(self.name, where, guard, instead, self.scenario)  # type: ignore[operator]
        return self._replace(
            where=f"{self.where}, and again {other.where}", removals=(*self.removals, *other.removals)
        )


def script(
    name: str, file: str, guard: str, instead: str, scenario: Callable[..., None], **given: Any
) -> Guard:
    """A guard in a script of the store."""
    return Guard(name, f"lua/{file}", (partial(script_without, file, guard, instead),), scenario, given)


def function(
    name: str, where: Callable[..., Any], guard: str, instead: str, scenario: Callable[..., None], **given: Any
) -> Guard:
    """A guard in a function of the runtime, the client or a connection."""
    removal = partial(function_without, where, guard, instead)
    return Guard(name, f"{where.__module__}.{where.__qualname__}", (removal,), scenario, given)
