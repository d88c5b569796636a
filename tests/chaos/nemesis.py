"""The nemesis: faults as values, and a schedule of them that a seed decides.

`schedule` is pure: the same seed gives the same strikes, so a run that failed is told by one number. `strike` carries
one out against a stage.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from tests.chaos.stage import Stage


class Fault(Struct, frozen=True):
    """One kind of harm. `do` gets the stage and a number in [0, 1) that picks its victim and its size."""

    name: str
    do: Callable[[Stage, float], None]


class Strike(Struct, frozen=True):
    """One fault at one moment, in seconds from the beginning."""

    at: float
    fault: Fault
    chance: float


def schedule(seed: int, faults: Sequence[Fault], *, seconds: float, every: float) -> list[Strike]:
    """Strikes over `seconds`, one each `every` seconds on average. Each fault comes once before any comes again."""
    dice = random.Random(seed)
    strikes: list[Strike] = []
    bag: list[Fault] = []
    at = dice.uniform(0, every)
    while at < seconds:
        if not bag:
            bag = dice.sample([*faults], len(faults))
        strikes.append(Strike(at, bag.pop(), dice.random()))
        at += dice.uniform(0.5 * every, 1.5 * every)
    return strikes


def carry_out(stage: Stage, strikes: Sequence[Strike]) -> None:
    """Each strike at its moment; a late one at once."""
    began = time.monotonic()
    for strike in strikes:
        time.sleep(max(began + strike.at - time.monotonic(), 0))
        stage.event(strike.fault.name)
        strike.fault.do(stage, strike.chance)


# The faults


def _picked(stage: Stage, chance: float) -> int:
    return int(chance * len(stage.fleet.serving))


def vanish(stage: Stage, chance: float) -> None:
    """A whole worker family is gone, and another is started."""
    stage.vanish(stage.fleet.serving[_picked(stage, chance)])
    stage.worker()


def kill_child(stage: Stage, chance: float) -> None:
    """One worker process is killed; its supervisor sees it."""
    stage.kill_child(stage.fleet.serving[_picked(stage, chance)])


def suspend(stage: Stage, chance: float) -> None:
    """A family sleeps for longer than its lease, and wakes."""
    stage.suspend(stage.fleet.serving[_picked(stage, chance)], stage.lease * (1.2 + chance))


def nap(stage: Stage, chance: float) -> None:
    """A family sleeps for less than its lease: nothing may come of it."""
    stage.suspend(stage.fleet.serving[_picked(stage, chance)], stage.lease * 0.4 * chance)


def replace(stage: Stage, chance: float) -> None:
    """A deploy: one family is told to go, another is started."""
    family = stage.fleet.serving[_picked(stage, chance)]
    stage.worker()
    family.process.terminate()


def flush_scripts(stage: Stage, chance: float) -> None:
    """The server forgets every script."""
    with stage.server.client() as client:
        client.script_flush()


def kill_clients(stage: Stage, chance: float) -> None:
    """The server cuts every connection."""
    with stage.server.client() as client:
        client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")


def server_sleeps(stage: Stage, chance: float) -> None:
    """The server answers nobody for a while."""
    with stage.server.client() as client:
        client.execute_command("DEBUG", "SLEEP", f"{0.3 + 2 * chance:.2f}")
    stage.event("server awake", heals=True)


def restart_server(stage: Stage, chance: float) -> None:
    """The server is killed and comes back on its files."""
    stage.restart_server(down=2 * chance)


def reset(stage: Stage, chance: float) -> None:
    """Every connection through the proxy is cut."""
    stage.proxy.reset()


def drop_replies(stage: Stage, chance: float) -> None:
    """For a second, one answer in a few is lost with its connection."""
    stage.proxy.drop_every = 3 + int(chance * 10)
    time.sleep(1.0)
    stage.proxy.drop_every = 0


def silence(stage: Stage, chance: float) -> None:
    """Nothing passes, in one direction or both, and nothing is closed."""
    way = int(chance * 3)
    stage.proxy.silent_up, stage.proxy.silent_down = way != 1, way != 0
    time.sleep(0.5 + 2 * chance)
    stage.proxy.swallow(False)
    stage.event("network healed", heals=True)


def slow_down(stage: Stage, chance: float) -> None:
    """Each packet takes up to 50 ms more."""
    stage.proxy.delay = 0.05 * chance
    time.sleep(1.0)
    stage.proxy.delay = 0.0


WORKERS = (Fault("vanish", vanish), Fault("kill child", kill_child), Fault("suspend", suspend), Fault("nap", nap))
DEPLOYS = (Fault("replace", replace),)
SERVER = (
    Fault("flush scripts", flush_scripts),
    Fault("kill clients", kill_clients),
    Fault("server sleeps", server_sleeps),
    Fault("restart server", restart_server),
)
NETWORK = (
    Fault("reset", reset),
    Fault("drop replies", drop_replies),
    Fault("silence", silence),
    Fault("slow down", slow_down),
)
EVERYTHING = (*WORKERS, *DEPLOYS, *SERVER, *NETWORK)
