"""`make bench-compare BASE=<rev>`: this work tree against another revision, so that a regression is seen early.

BASE is checked out into a folder of its own with a virtual environment of its own; both revisions are measured by the
*same* bench, the one of this work tree, in turns. Prints a ratio per figure with its span. Exit code 1 when a figure is
clearly worse: its median ratio is past the threshold *and* the worst round of BASE beats the best round of this tree,
so that the noise of a busy machine alone does not fail it. 2 when BASE cannot be had.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from contestants import OURS, Contestant, found
from figures import Row
from run import HERE, measured, rows

THRESHOLD = 0.10
"""A tenth: what runs of one revision against itself stay within on an idle machine."""
STEADY = ("worker_us", "server_us", "client_us", "script_us", "life_us")
"""Processor time per job: compared beside each rate, since other work on the machine hardly moves it."""
DEFAULT = ("drain", "drain-2", "enqueue", "latency", "bytes-waiting")


@contextmanager
def checked_out(base: str) -> Iterator[tuple[str, str]]:
    """The interpreter and the source folder of another revision."""
    top = HERE.parent
    with tempfile.TemporaryDirectory(prefix="bench-base-") as folder:
        tree, venv = Path(folder) / "tree", Path(folder) / "venv"
        subprocess.run(["git", "-C", str(top), "worktree", "add", "--detach", "--quiet", str(tree), base], check=True)
        try:
            print(f"# setting up {base}", flush=True)
            subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
            install = [
                str(venv / "bin" / "pip"),
                "install",
                "--quiet",
                "--disable-pip-version-check",
                f"{tree}[embedded]",
                "redis",  # with which the bench reads the store
            ]
            subprocess.run(install, check=True)
            yield str(venv / "bin" / "python"), str(tree / "src")
        finally:
            subprocess.run(["git", "-C", str(top), "worktree", "remove", "--force", str(tree)], check=False)


def better(new: float, old: float, *, higher: bool) -> float:
    """How many times as good the new number is: 1.1 is a tenth better, whichever way better goes."""
    if not new or not old:
        return 1.0
    return new / old if higher else old / new


def verdicts(
    row: Row, new: list[dict[str, float]], old: list[dict[str, float]]
) -> list[tuple[str, float, float, float, bool]]:
    """Per number of a row: its name, the median ratio, the span, and whether it is clearly worse. Pure."""
    taken = []
    for name in (row.value, *(it for it in row.more if it in STEADY)):
        higher = row.higher if name == row.value else False
        news, olds = [it[name] for it in new if name in it], [it[name] for it in old if name in it]
        if not news or not olds:
            continue
        ratio = better(statistics.median(news), statistics.median(olds), higher=higher)
        spans = [better(one, other, higher=higher) for one, other in zip(news, olds, strict=False)]
        apart = max(news) < min(olds) if higher else min(news) > max(olds)
        taken.append((name, ratio, min(spans), max(spans), ratio < 1 - THRESHOLD and apart))
    return taken


def main() -> int:
    """Compare, print, and say by the exit code whether something is clearly worse."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("base", help="a revision of this repository")
    parser.add_argument("--only", action="append", default=[], help="rows whose names begin so (repeatable)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--whole", action="store_true", help="as many jobs as `make bench`, instead of few")
    asked = parser.parse_args()
    wanted = [row for row in rows(asked.only or list(DEFAULT)) if row.modes and row.name != "rss-slope"]
    here = found([OURS])[0]
    try:
        with checked_out(asked.base) as (python, source):
            base = here._replace(python=python)
            worse = _compare(wanted, here, base, str(HERE.parent / "src"), source, asked.rounds, small=not asked.whole)
    except subprocess.CalledProcessError as error:
        print(f"{asked.base} cannot be set up: {error}", file=sys.stderr)
        return 2
    print(f"\n{len(worse)} clearly worse than {asked.base}" + (f": {', '.join(worse)}" if worse else ""))
    return 1 if worse else 0


def _compare(
    wanted: list[Row], here: Contestant, base: Contestant, ours: str, theirs: str, rounds: int, *, small: bool
) -> list[str]:
    worse = []
    print(f"{'figure':<20} {'number':<12} {'ratio':>7}   span of {rounds} rounds   (above 1 is better than BASE)")
    for row in wanted:
        news: list[dict[str, float]] = []
        olds: list[dict[str, float]] = []
        for turn in range(rounds):
            pairs = [(here, ours, news), (base, theirs, olds)]
            for contestant, path, taken in pairs if turn % 2 else reversed(pairs):
                numbers = measured(contestant, row, "none", small=small, path=path)
                if numbers is not None:
                    taken.append(numbers)
        for name, ratio, low, high, bad in verdicts(row, news, olds):
            print(
                f"{row.name:<20} {name:<12} {ratio:7.2f}   {low:.2f} – {high:.2f}{'   CLEARLY WORSE' if bad else ''}",
                flush=True,
            )
            if bad:
                worse.append(f"{row.name} {name}")
    return worse


if __name__ == "__main__":
    sys.exit(main())
