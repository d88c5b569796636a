"""`python -m tests.chaos`: play the scenarios, print a JSON line for each and the table, exit 1 on a breach.

`--seed N` repeats a run; `--only PART` picks scenarios by name; `--short` is what CI runs; `--list` names them;
`--write` puts the table into docs/reliability.md; `--controls` takes guards out and wants to see scenarios break.
"""

from __future__ import annotations

import argparse
import os
import random
import sys

import msgspec

from tests.chaos import (  # noqa: F401 - importing a file registers its scenarios
    scenarios_calls,
    scenarios_deploys,
    scenarios_limits,
    scenarios_network,
    scenarios_order,
    scenarios_soak,
    scenarios_store,
    scenarios_workers,
)
from tests.chaos.controls import play_all
from tests.chaos.play import play
from tests.chaos.scenario import SCENARIOS, chosen
from tests.chaos.table import table, write
from tests.signals import as_usual


def main() -> int:
    """Play what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--only", action="append", default=[], metavar="PART")
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--drain", type=float, default=90.0, help="seconds that the final drain may take")
    parser.add_argument("--controls", action="store_true")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--list", action="store_true")
    asked = parser.parse_args()
    if asked.list:
        for it in SCENARIOS.values():
            print(f"{it.name:32} {it.about}")
        return 0
    as_usual()
    for name in [name for name in os.environ if name.startswith("PROCESSION_")]:
        del os.environ[name]
    seed = random.randrange(1_000_000) if asked.seed is None else asked.seed
    if asked.controls:
        return bool(play_all(seed))
    scenarios = chosen(asked.only, short=asked.short)
    print(f"seed {seed}, {len(scenarios)} scenarios; repeat with: make chaos SEED={seed}", flush=True)
    reports = []
    for it in scenarios:
        report = play(it, seed, drain=asked.drain)
        reports.append(report)
        print(msgspec.json.encode(report).decode(), flush=True)
    print()
    print(table(reports))
    if asked.write:
        write(reports)
    broken = [report.name for report in reports if not report.passed]
    played = [report for report in reports if not report.skipped]
    print(f"\n{len(played) - len(broken)} of {len(played)} held{'; not: ' * bool(broken)}{', '.join(broken)}")
    if len(played) < len(reports):
        print("NOT PLAYED: " + ", ".join(report.name for report in reports if report.skipped))
    return 1 if broken or not played else 0


if __name__ == "__main__":
    sys.exit(main())
