"""One scenario from the raising of the stage to the verdict, and the gathering of the evidence in between."""

from __future__ import annotations

import os
import time
import traceback
from collections import Counter

from procession import State
from procession.testing.contract.invariants import all_jobs, check_invariants
from tests.chaos.history import accepted
from tests.chaos.machine import FAKETIME
from tests.chaos.scenario import Scenario
from tests.chaos.stage import NAMESPACE, Stage
from tests.chaos.verdict import Evidence, Report, judge

ODD = r"never retrieved|never awaited|Exception in callback|Unhandled exception|ResourceWarning|CRITICAL"
"""Lines that no log of a worker should have."""
FENCED = r"counts no more|another worker owns it"


def play(scenario: Scenario, seed: int, *, drain: float = 90.0) -> Report:
    """One scenario from the raising of the stage to the verdict. What goes wrong on the way is a breach."""
    began = time.monotonic()
    if scenario.faketime and not FAKETIME.exists():
        why = f"NOT PLAYED: {FAKETIME} is missing (apt-get install faketime)"
        return Report(name=scenario.name, seed=seed, skipped=why, breaches=[why] if os.environ.get("CI") else [])
    stage = Stage(scenario, seed)
    try:
        for step in (lambda: scenario.act(stage), lambda: stage.drain(drain)):
            try:
                step()
            except Exception as error:
                traceback.print_exc()
                stage.complaints.append(f"stopped: {error!r}")
        report = judge(scenario.name, seed, evidence(stage), stage.marks())
    finally:
        stage.close()
    report.skipped = stage.skipped
    report.notes += stage.notes
    report.seconds = round(time.monotonic() - began, 1)
    return report


def evidence(stage: Stage) -> Evidence:
    """Tell the workers to go, and put together what is known."""
    codes = stage.fleet.retire(stage.fleet.alive)
    complaints = [*stage.complaints, *(f"a worker ended with exit code {code}" for code in codes if code)]
    complaints += _contradictions(stage)
    jobs = {state: all_jobs(stage.app.database, stage.app.ask, state) for state in State}
    found = {state: [job.jid for job in of_state] for state, of_state in jobs.items()}
    final = {jid: state for state, jids in found.items() if state.final for jid in jids}
    appends = stage.site is None and "yes" in stage.server.options
    history = accepted(stage.server.folder, f"{{{NAMESPACE}:0}}") if appends else None
    if history is not None and not stage.scenario.retained:
        final = {**{jid: outcomes[-1] for jid, outcomes in history.items()}, **final}
    counts = stage.app.counts()
    if stage.scenario.afterwards is not None:
        complaints += stage.scenario.afterwards(stage)
    for family in stage.fleet.families:
        complaints += [f"{family.log.name}: {line}" for line in family.lines(ODD, after=20)[:3]]
    complaints += [f"{count} callers got {what}" for what, count in Counter(stage.ledger.oddities).items()]
    return Evidence(
        entries=stage.ledger.entries(),
        runs=stage.runs.by_job(),
        events=stage.events,
        final=final,
        reasons={job.jid: f"{job.reason} after {job.crashes} deaths of its worker" for job in jobs[State.FAILED]},
        unfinished=[jid for state, jids in found.items() if not state.final for jid in jids],
        counts=counts,
        accepted=None if history is None else {jid: len(outcomes) for jid, outcomes in history.items()},
        fenced=sum(len(family.lines(FENCED)) for family in stage.fleet.families),
        forgetful=stage.scenario.forgetful,
        excused=frozenset(stage.excused),
        complaints=complaints,
    )


def _contradictions(stage: Stage) -> list[str]:
    """What `procession repair` finds, keys that nobody owns among it, and anything that had to be mended meanwhile."""
    try:
        check_invariants(stage.app.database, stage.app.ask)
    except AssertionError as error:
        return [f"the store contradicts itself: {error}"]
    return []
