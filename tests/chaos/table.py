"""The table of a chaos run, as it stands in docs/reliability.md."""

from __future__ import annotations

from collections.abc import Sequence

from tests.chaos.stage import SCENARIOS
from tests.chaos.verdict import Report

HEAD = ("fault", "jobs", "lost", "run twice", "settled twice", "refused", "recovery s p50 / max", "verdict")


def table(reports: Sequence[Report]) -> str:
    """Markdown, one row per scenario."""
    lines = [f"| {' | '.join(HEAD)} |", f"|---|{'---:|' * (len(HEAD) - 2)}---|"]
    lines += [f"| {' | '.join(_cells(report))} |" for report in reports]
    return "\n".join(lines)


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
        f"**BROKEN**: {broken}" if broken else report.skipped or "held",
    ]
