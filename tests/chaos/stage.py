"""The stage of one scenario: a server, a proxy before it, worker families and producers.

A scenario is a function that gets a stage, does harm, and returns; `drain` then heals everything, waits until nothing
waits or runs, and sees that every living worker still takes work.
"""

from __future__ import annotations

import os
import random
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any
from uuid import UUID

from procession import Procession
from procession.clock import milliseconds
from procession.errors import DatabaseError
from procession.worker import Caller
from tests.chaos.fleet import Family, Fleet, journal_at, members
from tests.chaos.journal import Event, Ledger, Runs
from tests.chaos.machine import Machine
from tests.chaos.producer import Order, Producer, enqueue_all
from tests.chaos.proxy import Proxy
from tests.chaos.scenario import Scenario
from tests.chaos.shop import Shop
from tests.chaos.verdict import Marks

NAMESPACE = "chaos"
SLACK = float(os.environ.get("CHAOS_SLACK", "1"))
"""Marks for seconds are multiplied by it; more than 1 where other work shares the machine."""


class Stage:
    """What a scenario acts on."""

    def __init__(self, scenario: Scenario, seed: int) -> None:
        self.random = random.Random(seed)
        self.seed = seed
        self.scenario = scenario
        self.folder = Path(tempfile.mkdtemp(prefix="procession-stage-"))
        self.ledger = Ledger()
        self.runs = Runs(self.folder / "journal")
        self.events: list[Event] = []
        self.excused: set[UUID] = set()
        self.complaints: list[str] = []
        self.notes: list[str] = []
        self.server = self.predecessor = Machine(scenario.server, faked=scenario.faketime)
        self._machines = [self.server]
        self.skipped = ""
        self._forced = 0
        self._pending: list[threading.Thread] = []
        self._producers: list[Producer] = []
        self._proxy: Proxy | None = None
        self._through: tuple[Procession, Shop] | None = None
        self.concurrency = 10
        environment = {f"PROCESSION_{name.upper()}": str(value) for name, value in scenario.settings.items()}
        environment |= {"PROCESSION_NAMESPACE": NAMESPACE, "PROCESSION_HOME": str(self.folder)}
        environment |= journal_at(self.folder / "journal")
        self.fleet = Fleet(self.folder, environment)
        self._ends = ExitStack()
        self.site: Any = None
        """Where the store is when it is not one server: a cluster, a pair with its sentinels."""
        if scenario.site is not None:
            self.site = self._ends.enter_context(scenario.site())
        else:
            self.server.start()
        self.app = Procession(self.url, namespace=NAMESPACE, **scenario.settings)
        self.shop = Shop(self.app)
        self.lease = milliseconds(self.app.settings.lease) / 1_000

    # The way to the store

    @property
    def url(self) -> str:
        """Where the store is, by the direct way."""
        found: str = self.server.url if self.site is None else self.site.url
        return found

    @property
    def proxy(self) -> Proxy:
        """The proxy before the server, made when it is first needed."""
        if self._proxy is None:
            self._proxy = Proxy(self.server.path, self.seed)
        return self._proxy

    @property
    def distant(self) -> Shop:
        """The jobs of an app that enqueues through the proxy."""
        if self._through is None:
            app = Procession(self.proxy.url, namespace=NAMESPACE, **self.scenario.settings)
            self._through = app, Shop(app)
        return self._through[1]

    def another_machine(self) -> Machine:
        """A second server, started, empty."""
        machine = Machine(self.scenario.server)
        self._machines.append(machine)
        machine.start()
        return machine

    def promote(self, machine: Machine) -> None:
        """Make another machine the primary. Nobody but us knows its way yet."""
        with machine.client() as client:
            client.execute_command("REPLICAOF", "NO", "ONE")
        self.predecessor, self.server = self.server, machine
        self.app.close()
        self.app = Procession(machine.url, namespace=NAMESPACE, **self.scenario.settings)
        self.shop = Shop(self.app)

    def lead_to(self, machine: Machine) -> None:
        """Let the proxy's address lead to another machine."""
        self.proxy.aim(machine.path)
        self.proxy.reset()

    # Workers

    def worker(self, *options: str, distant: bool | None = None, **environment: str) -> Family:
        """Start one more family; it is not waited for. `distant` ones speak through the proxy, if there is one."""
        if distant is None:
            distant = self._proxy is not None
        url = self.proxy.url if distant else self.url
        options = ("--concurrency", str(self.concurrency), *options)
        return self.fleet.start(*options, environment={"PROCESSION_URL": url, **environment})

    def workers(self, count: int, *options: str, **given: Any) -> list[Family]:
        """Start families and wait until all are at work."""
        families = [self.worker(*options, **given) for _ in range(count)]
        self.until(lambda: all(self.is_at_work(family) for family in families), 30)
        return families

    def is_at_work(self, family: Family) -> bool:
        """The store knows it as a worker."""
        assert family.alive, f"a worker ended at once: {family.log.read_text()[-500:]}"
        pids = family.pids
        return any(worker.pid in pids for worker in self.app.workers())

    # Jobs

    def orders(self, count: int, caller: Caller | None = None, *arguments: Any, **given: Any) -> list[Order]:
        """Orders of one job, to be enqueued later."""
        return [Order(caller or self.shop.note, *arguments, **given) for _ in range(count)]

    def enqueue(self, count: int, caller: Caller | None = None, *arguments: Any, **given: Any) -> list[Order]:
        """Enqueue many at once, by a direct way."""
        orders = self.orders(count, caller, *arguments, **given)
        enqueue_all(orders, self.ledger)
        return orders

    def producing(
        self, count: int, caller: Caller | None = None, *arguments: Any, rate: float, patience: float = 60.0
    ) -> Producer:
        """Start a producer of `count` jobs, `rate` a second; `patience` as in `producer.enqueue`."""
        orders = (Order(caller or self.shop.note, *arguments) for _ in range(count))
        producer = Producer(orders, self.ledger, rate=rate, patience=patience)
        self._producers.append(producer)
        producer.start()
        return producer

    # Harm

    def event(self, what: str, victims: Iterable[int] = (), *, heals: bool = False) -> None:
        """Write down a fault, or its end."""
        self.events.append(Event(time.monotonic(), what, frozenset(victims), heals))

    def forced(self, runs: int | None = None) -> None:
        """A fault makes up to so many jobs run again: by default all that fit into one worker."""
        self._forced += self.concurrency if runs is None else runs

    def vanish(self, family: Family, *, holding: int | None = None) -> None:
        """SIGKILL a whole family."""
        self.forced(holding)
        victims = family.vanish()
        self.event("vanished", victims)

    def kill_child(self, family: Family) -> None:
        """SIGKILL what is below a supervisor."""
        self.forced()
        victims = family.children
        for pid in victims:
            with suppress(ProcessLookupError):
                os.kill(pid, 9)
        self.event("child killed", victims)

    def suspend(self, family: Family, seconds: float) -> None:
        """SIGSTOP a family, and SIGCONT after a while. Does not wait."""
        if seconds > self.lease / 2:
            self.forced()
        self.event("suspended", family.stop())

        def wake() -> None:
            family.go_on()
            self.event("woken")

        self.later(seconds, wake)

    def restart_server(self, down: float, *, idle: bool = False) -> None:
        """SIGKILL the server and start it again on its files. `idle`: nothing waits to be begun when it is back."""
        self.event("server killed")
        self.server.restart(down)
        self.event("server back", heals=not idle)

    def later(self, seconds: float, do: Callable[[], None]) -> None:
        """Do something after a while; the drain waits for it."""
        timer = threading.Timer(seconds, do)
        timer.daemon = True
        timer.start()
        self._pending.append(timer)

    # Waiting

    def until(self, condition: Callable[[], Any], seconds: float = 60.0) -> Any:
        """What `condition` returns once it is true. A store that is away counts as false."""
        deadline = time.monotonic() + seconds * max(SLACK, 1)
        while time.monotonic() < deadline:
            with suppress(DatabaseError):
                found = condition()
                if found:
                    return found
            time.sleep(0.02)
        raise AssertionError(f"not within {seconds:.0f} s: {self._state()}")

    def running(self, count: int = 1) -> bool:
        """True when so many bodies run."""
        return sum(not run.ended for run in self.runs.read()) >= count

    def goes_on(self) -> None:
        """Wait until a job begins after the last event: the next fault is not to be counted as this one's recovery."""
        since = self.events[-1].at
        self.until(lambda: any(run.started > since for run in self.runs.read()))

    def processed(self, count: int, seconds: float = 60.0) -> None:
        """Wait for so many processed jobs."""
        self.until(lambda: self.app.stats().processed >= count, seconds)

    def ended(self, orders: Sequence[Order]) -> bool:
        """True when all of these are final."""
        found = self.app.ask(self.app.database.find([order.jid for order in orders]))
        return all(job is not None and job.state.final for job in found)

    def _state(self) -> str:
        try:
            return f"{self.app.stats()}, {len(self.fleet.alive)} families"
        except DatabaseError as error:
            return str(error)

    # The end

    def drain(self, seconds: float = 90.0) -> None:
        """Heal everything, let producers end, wait until nothing waits or runs, and see that all still serve."""
        for timer in self._pending:
            timer.join(60)
        if self.site is None and not self.server.up:
            self.server.start()
        if self._proxy is not None:
            self._proxy.swallow(False)
            self._proxy.drop_every = self._proxy.rate = 0
            self._proxy.delay = self._proxy.jitter = self._proxy.reset_every = 0.0
        for family in self.fleet.alive:
            family.go_on()
        for producer in self._producers:
            producer.finish()
        if not self.fleet.alive:
            self.worker()
        self.until(self.nothing_left, seconds)
        self._all_serve()

    def nothing_left(self) -> bool:
        """True when the store says that no job waits or runs; a store that is away says nothing."""
        try:
            stats = self.app.stats()
        except DatabaseError:
            return False
        return stats.scheduled == stats.running == 0

    def _all_serve(self) -> None:
        """Every living worker takes work again: no fault needs a restart by hand."""
        began = time.monotonic()
        waiting = {family.mark: family for family in self.fleet.alive}
        deadline = began + 30 * SLACK
        while waiting and time.monotonic() < deadline:
            self.enqueue(1, self.shop.note, 0.1)
            time.sleep(0.05)
            served = {run.pid for run in self.runs.read() if run.started > began}
            waiting = {mark: it for mark, it in waiting.items() if not members(mark) & served and it.alive}
        self.complaints += [f"{family.log.name} takes no work any more" for family in waiting.values()]
        self.until(self.nothing_left, 30)

    def marks(self) -> Marks:
        """The scenario's marks, with what its faults forced and the slack of this machine."""
        marks = self.scenario.marks
        recovery = None if marks.recovery is None else marks.recovery * SLACK
        return Marks(recovery=recovery, run_twice=marks.run_twice + self._forced)

    def close(self) -> None:
        """Leave nothing behind."""
        for producer in self._producers:
            with suppress(BaseException):
                producer.stop()
        for timer in self._pending:
            if isinstance(timer, threading.Timer):
                timer.cancel()
        self.fleet.close()
        self.app.close()
        if self._through is not None:
            self._through[0].close()
        if self._proxy is not None:
            self._proxy.close()
        self._ends.close()
        for machine in self._machines:
            machine.close()
        if not os.environ.get("CHAOS_KEEP"):
            shutil.rmtree(self.folder, ignore_errors=True)
