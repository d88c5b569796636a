"""`make bench`: every figure of every contestant, interleaved, several rounds, medians into the tables.

A round measures each row of each contestant once, in an order that turns from row to row, on a fresh server each time;
so what disturbs the machine for a while disturbs all alike. Only ratios within one run mean something.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import machine
import report
import server
from contestants import FASTEST, FLOORS, OURS, Contestant, found
from figures import KINDS, Row

HERE = Path(__file__).resolve().parent
SECONDS = 4
"""No figure gives a contestant more jobs than it does in about this time."""
LIMIT = 240.0
Taken = dict[tuple[str, str, str], list[dict[str, float]]]
"""(row, mode, contestant) → the numbers of each round."""


def rows(only: list[str]) -> list[Row]:
    """The rows of all figures; or those named in `only`, where a name that no row has means all that begin with it."""
    every = [row for kind in KINDS for row in importlib.import_module(f"figures.{kind}").ROWS]
    names = {row.name for row in every}
    return [
        row
        for row in every
        if not only or any(row.name == it or (it not in names and row.name.startswith(it)) for it in only)
    ]


def kind_of(row: Row) -> str:
    """The file of figures that a row is from."""
    return next(
        kind for kind in KINDS if row.name in {it.name for it in importlib.import_module(f"figures.{kind}").ROWS}
    )


@contextmanager
def _stores(contestant: Contestant, row: Row, mode: str) -> Iterator[dict[str, str]]:
    """A fresh store, with a proxy in front where the row says so; yields the environment that names it."""
    if contestant.store == "postgres":
        with server.postgres(mode) as dsn, _proxied(dsn, row.trip) as seen:
            yield {"BENCH_URL": "", "BENCH_STORE": "", "BENCH_DSN": seen}
    else:
        with server.valkey(mode) as url, _proxied(url, row.trip) as seen:
            yield {"BENCH_URL": seen, "BENCH_STORE": url}


@contextmanager
def _proxied(url: str, trip: float | None) -> Iterator[str]:
    if trip is None:
        yield url
        return
    head, _, tail = url.rpartition(":")
    port, _, rest = tail.partition("/")
    command = [sys.executable, str(HERE / "proxy.py"), port, str(trip)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as proxy:
        try:
            assert proxy.stdout is not None
            yield f"{head}:{proxy.stdout.readline().strip()}/{rest}"
        finally:
            proxy.kill()


def measured(contestant: Contestant, row: Row, mode: str, *, small: bool, path: str = "") -> dict[str, float] | None:
    """One figure, once; None when it failed, which is printed. `path` is looked in first for modules."""
    options = {**row.options, **(row.small if small else {})}
    if "jobs" in options and "per_second" in row.value:
        options["jobs"] = min(options["jobs"], max(contestant.pace * SECONDS, 300))
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, _stores(contestant, row, mode) as stores:
        environment = {
            **os.environ,
            **stores,
            "BENCH_STAMPS": f"{folder}/stamps",
            "PYTHONPATH": os.pathsep.join(filter(None, (path, str(HERE)))),
            "PROCESSION_HOME": folder,
        }
        command = [contestant.python, "-m", "measure", kind_of(row), contestant.module, json.dumps(options)]
        try:
            said = _run(command, environment)
            return {name: float(value) for name, value in json.loads(said.splitlines()[-1]).items()}
        except subprocess.TimeoutExpired:
            print(f"! {row.name} of {contestant.name}: no end within {LIMIT:g} s", flush=True)
        except (subprocess.CalledProcessError, IndexError, ValueError) as error:
            said = (getattr(error, "stderr", "") or str(error)).strip().splitlines() or ["no word"]
            print(f"! {row.name} of {contestant.name}: {said[-1][:200]}", flush=True)
    return None


def _run(command: list[str], environment: dict[str, str]) -> str:
    """What a measurement prints. In a session of its own, so that nothing of it outlives a timeout or a Ctrl-C."""
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, cwd=HERE, env=environment, stdout=pipe, stderr=pipe, text=True, start_new_session=True
    ) as process:
        try:
            out, err = process.communicate(timeout=LIMIT)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command, out, err)
    return out


def takes_part(contestant: Contestant, row: Row) -> bool:
    """Whether a contestant has what a row needs."""
    if row.only and contestant.name not in row.only:
        return False
    return all(contestant.words & {*need.split()} for need in row.needs)


def run(contestants: list[Contestant], wanted: list[Row], *, rounds: int, small: bool) -> Taken:
    """All rounds. Whoever fails a row twice is not asked for it again."""
    taken: Taken = defaultdict(list)
    failures: dict[tuple[str, str], int] = defaultdict(int)
    began = time.monotonic()
    for turn in range(rounds):
        for position, row in enumerate(wanted):
            able = [it for it in contestants if takes_part(it, row)]
            first = (turn + position) % len(able) if able else 0
            for mode in row.modes:
                for contestant in able[first:] + able[:first]:
                    if failures[contestant.name, row.name] >= 2:
                        continue
                    numbers = measured(contestant, row, mode, small=small)
                    if numbers is None:
                        failures[contestant.name, row.name] += 1
                        continue
                    taken[row.name, mode, contestant.name].append(numbers)
                    clock = time.monotonic() - began
                    print(
                        f"{clock:6.0f} s  {turn + 1}/{rounds}  {row.name:<18} {mode:<9} {contestant.name:<11}"
                        f" {numbers[row.value]:>12,.2f} {row.unit}",
                        flush=True,
                    )
    return taken


def main() -> None:
    """Read the command line, measure, write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--only", action="append", default=[], help="this row, or rows whose names begin so (repeatable)"
    )
    parser.add_argument("--mode", choices=server.MODES, help="under this persistence only")
    parser.add_argument("--with", dest="names", action="append", default=[], help="these contestants only (repeatable)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--small", action="store_true", help="few jobs; ourselves, the floors and the fastest two peers"
    )
    parser.add_argument(
        "--json", type=Path, help="where the raw figures go (default: bench/figures.json; --small: nowhere)"
    )
    asked = parser.parse_args()
    names = asked.names or ([OURS, *FLOORS, *FASTEST] if asked.small else [])
    contestants = found(names)
    about = machine.described()
    wanted = rows(asked.only)
    if asked.mode:
        wanted = [replace(row, modes=(asked.mode,)) for row in wanted if asked.mode in row.modes]
    taken = run(contestants, wanted, rounds=asked.rounds, small=asked.small)
    whole = not (asked.small or asked.only or asked.names or asked.mode)
    command = "make bench" if whole else f"python bench/run.py {shlex.join(sys.argv[1:])}"
    text = report.tables(about, contestants, wanted, taken, rounds=asked.rounds, command=command)
    print(f"\n{text}")
    if whole:
        report.write(HERE / "README.md", text)
    if asked.json or whole:
        raw = {
            "machine": about,
            "figures": [{"row": r, "mode": m, "contestant": c, "rounds": it} for (r, m, c), it in taken.items()],
        }
        (asked.json or HERE / "figures.json").write_text(json.dumps(raw, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
