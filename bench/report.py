"""Numbers to tables: medians, the span of the rounds, and ratios to ours. Pure but for `write`; called by `run.py`."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from contestants import OURS, Contestant
from figures import Row

BEGIN, END = "<!-- figures -->", "<!-- /figures -->"
Rounds = Sequence[Mapping[str, float]]


def median(rounds: Rounds, name: str) -> float:
    """The median of one number over the rounds that have it."""
    return statistics.median([it[name] for it in rounds if name in it] or [float("nan")])


def shown(value: float) -> str:
    """A number as a person reads it: three digits at least, thousands apart."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:,.1f}" if abs(value) >= 10 else f"{value:,.2f}"


def tables(
    about: Mapping[str, str],
    contestants: Sequence[Contestant],
    rows: Sequence[Row],
    taken: Mapping[tuple[str, str, str], Rounds],
    *,
    rounds: int,
    command: str,
) -> str:
    """One table per row and mode, and what it was taken on."""
    head = [
        f"`{command}`, {rounds} rounds, interleaved: "
        + ", ".join(f"{name} {what}" for name, what in about.items())
        + ".",
        "",
    ]
    head += ["| contestant | version | killed worker's jobs | set up |", "|---|---|---|---|"]
    for it in contestants:
        head.append(f"| {it.name} | {it.version} | {'come back' if it.least_once else 'are lost'} | {it.settings} |")
    parts = ["\n".join(head)]
    for row in rows:
        for mode in row.modes:
            mine = {
                it.name: taken[row.name, mode, it.name] for it in contestants if taken.get((row.name, mode, it.name))
            }
            if mine:
                parts.append(_table(row, mode, mine, {it.name: it.least_once for it in contestants}))
    return "\n\n".join(parts)


def _table(row: Row, mode: str, mine: Mapping[str, Rounds], least_once: Mapping[str, bool]) -> str:
    disk = {"none": "no persistence", "everysec": "append-only file, everysec"}[mode]
    lines = [
        f"**{row.title}** ({row.unit}; {disk})", "",
        f"| | median | min – max | ours is |{''.join(f' {name} |' for name in row.more)}",
        f"|---|---:|---:|---:|{'---:|' * len(row.more)}",
    ]  # fmt: skip
    ours = median(mine[OURS], row.value) if OURS in mine else float("nan")
    order = sorted(mine, key=lambda name: median(mine[name], row.value), reverse=row.higher)
    for name in order:
        values = [it[row.value] for it in mine[name] if row.value in it]
        if not values:
            continue
        value = statistics.median(values)
        ratio = "" if name == OURS or not value else f"{ours / value:,.2f} ×"
        more = "".join(f" {shown(median(mine[name], it))} |" for it in row.more)
        label = f"**{name}**" if name == OURS else name if least_once[name] else f"{name} (at most once)"
        lines.append(f"| {label} | {shown(value)} | {shown(min(values))} – {shown(max(values))} | {ratio} |{more}")
    return "\n".join(lines).replace("nan", "–")


def write(path: Path, text: str) -> None:
    """Put the tables between the two marks of a page."""
    page = path.read_text("utf-8")
    before, _, rest = page.partition(BEGIN)
    after = rest.partition(END)[2]
    path.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", "utf-8")
