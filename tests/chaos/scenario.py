"""What a scenario is, and the list of all of them. A file `scenarios_*.py` adds its own when it is imported."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from tests.chaos.machine import APPENDED
from tests.chaos.verdict import Marks

if TYPE_CHECKING:
    from tests.chaos.stage import Stage

ROOMS = ("workers", "limits", "calls", "store", "network", "deploys", "order", "soak")
"""The files of scenarios, in the order in which they are played."""
STRUCK_OFTEN = {"max_crashes": 20}
"""A strike falls on who is busy, which may be who was handed the jobs of the one struck last: three such in a row
would make a job `poison`, as they should, and that is not what such a scenario looks for. For all that strike at
random, or about as often as a lease ends: then a strike may find the jobs of the one before."""


class Scenario(Struct, frozen=True, kw_only=True):
    """A fault and when it counts as survived."""

    name: str
    about: str
    """One phrase for the table."""
    act: Callable[[Stage], None]
    marks: Marks = Marks()
    server: tuple[str, ...] = APPENDED
    settings: dict[str, Any] = {}
    """Settings of every worker; the stock ones where a figure is promised."""
    site: Callable[[], AbstractContextManager[Any]] | None = None
    """A store that is more than one server, with its `url`; then `server` is not started."""
    forgetful: bool = False
    faketime: bool = False
    """Needs libfaketime; the server's clock can be set."""
    afterwards: Callable[[Stage], list[str]] | None = None
    """Looks at the store when all workers have gone, and says what is wrong there."""
    retained: bool = True
    """False where the store forgets finished jobs meanwhile: then its history says what became of them."""
    long: bool = False
    """Played only when asked for by name."""
    short: bool = False
    """Part of `make chaos SHORT=1`."""


SCENARIOS: dict[str, Scenario] = {}
"""All scenarios by name, in the order in which they are defined."""


def scenario(about: str, **given: Any) -> Callable[[Callable[[Stage], None]], Scenario]:
    """Make a function a scenario; its name becomes the scenario's."""

    def made(act: Callable[[Stage], None]) -> Scenario:
        it = Scenario(name=act.__name__.replace("_", "-"), about=about, act=act, **given)
        SCENARIOS[it.name] = it
        return it

    return made


def chosen(only: Sequence[str] = (), *, short: bool = False) -> list[Scenario]:
    """The scenarios that are asked for: by their names or a part of them, or the short ones, or all but the long."""
    if only:
        parts = {part for part in only if part not in SCENARIOS}
        return [it for it in SCENARIOS.values() if it.name in only or any(part in it.name for part in parts)]
    found = [it for it in SCENARIOS.values() if (it.short or not short) and not it.long]
    return sorted(found, key=lambda it: ROOMS.index(it.act.__module__.rpartition("_")[2]))
