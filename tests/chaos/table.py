"""The table of a chaos run, as it stands in docs/reliability.md."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from tests.chaos.machine import bundled_binary
from tests.chaos.scenario import SCENARIOS
from tests.chaos.verdict import Report

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"
HEAD = ("fault", "jobs", "lost", "run twice", "settled twice", "refused", "recovery s p50 / max", "verdict")


def table(reports: Sequence[Report]) -> str:
    """Markdown, one row per scenario."""
    lines = [f"| {' | '.join(HEAD)} |", f"|---|{'---:|' * (len(HEAD) - 2)}---|"]
    lines += [f"| {' | '.join(_cells(report))} |" for report in reports]
    return "\n".join(lines)


def write(reports: Sequence[Report], page: Path = PAGE) -> None:
    """Put the table into the docs, with what a reader needs to judge it: when, where, on what, and how to repeat it."""
    text = page.read_text("utf-8")
    before, rest = text.split("<!-- chaos -->\n")
    _, after = rest.split("<!-- end of chaos -->\n")
    server = subprocess.run([bundled_binary(), "--version"], capture_output=True, text=True, check=True).stdout.split()
    today = datetime.now(UTC).strftime("%Y-%m-%d")
    where = f"{os.cpu_count()} cores, Linux {platform.release().partition('-')[0]}, CPython {platform.python_version()}"
    minutes = sum(report.seconds for report in reports) / 60
    version = server[2].removeprefix("v=")
    caption = f"`make chaos SEED={reports[0].seed}`, {today}, {where}, Valkey {version}, {minutes:.0f} minutes"
    page.write_text(f"{before}<!-- chaos -->\n{table(reports)}\n\n{caption}\n<!-- end of chaos -->\n{after}", "utf-8")


def _cells(report: Report) -> list[str]:
    scenario = SCENARIOS.get(report.name)
    stated = f" (+ {report.excused} stated)" if report.excused else ""
    broken = "; ".join(report.breaches).replace("|", "/")[:300]
    return [
        scenario.about if scenario else report.name,
        f"{report.jobs:,}",
        f"{report.lost}{stated}",
        f"{report.run_twice:,}",
        str(report.settled_twice),
        str(report.fenced),
        "–" if report.recovery_max is None else f"{report.recovery_p50:.1f} / {report.recovery_max:.1f}",
        f"**BROKEN**: {broken}" if broken else "; ".join([report.skipped or "held", *report.notes]),
    ]
