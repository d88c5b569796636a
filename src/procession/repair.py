"""The walk through a whole store that finds, and mends when asked, whatever contradicts itself.

Pure: a generator that yields questions and is sent the answers, so that one text serves `app.repair`, its async twin
and the tests, which hold every store against the same check. What is checked is written in `database/health.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator

from msgspec import Struct

from procession.database import Audit, Database, Finding, Operation

PAGE = 1_000
"""Records, entries or keys that one step looks at: about two milliseconds of the server's time."""
STRANDED_PAGE = 20_000
"""Records that one step holds against all entries of one shelf, when that is known to lack some."""


class Report(Struct, frozen=True, kw_only=True):
    """What a walk found."""

    findings: list[Finding]
    checked: int
    """Records, entries and keys looked at; a job is looked at in each place where it is."""
    unchecked: list[str] = []
    """What could not be checked, in the store's words."""

    @property
    def clean(self) -> bool:
        """True when nothing was wrong."""
        return not self.findings


def walk(database: Database, *, mend: bool, lease: int) -> Generator[Operation[Audit], Audit, Report]:
    """All pages of the audit, then a closer look at each queue or final state that has more records than entries.

    Exact when nothing moves; while jobs move nothing is accused wrongly, and something may be overlooked. `lease`, in
    milliseconds, is what a queue worker without one gets.
    """
    findings: list[Finding] = []
    unchecked: list[str] = []
    records: Counter[str] = Counter()
    entries: Counter[str] = Counter()
    checked = 0
    cursor: str | None = None
    while True:
        page = yield database.audit(cursor, limit=PAGE, mend=mend, lease=lease)
        findings += page.findings
        checked += page.checked
        records.update(page.records)
        entries.update(page.entries)
        if page.unchecked:
            unchecked.append(page.unchecked)
        if (cursor := page.cursor) is None:
            break
    for shelf in sorted(shelf for shelf, number in records.items() if number > entries[shelf]):
        findings += yield from _stranded(database, shelf, mend=mend, lease=lease)
    return Report(findings=findings, checked=checked, unchecked=unchecked)


def _stranded(
    database: Database, shelf: str, *, mend: bool, lease: int
) -> Generator[Operation[Audit], Audit, list[Finding]]:
    findings: list[Finding] = []
    cursor: str | None = None
    while True:
        page = yield database.audit(cursor, limit=STRANDED_PAGE, mend=mend, lease=lease, shelf=shelf)
        findings += page.findings
        if (cursor := page.cursor) is None:
            return findings
