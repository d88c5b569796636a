"""Negative controls: a guard is taken out of a copy of the sources, and the scenario that guards it must break.

A fault test that cannot fail proves nothing. The copy is played in a process of its own, the harness and the workers
alike; the library itself has no switch for this. Where the text of a guard has changed, the control says so.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec
from msgspec import Struct

from tests.chaos.fleet import ROOT
from tests.chaos.verdict import Report

LUA = "procession/database/redis/lua"
ONE_JOB_AGAIN = "call('HSET', T .. ':jobs', jid, record) > 1"


class Control(Struct, frozen=True):
    """One guard: what it is, which scenario watches over it, and how its text is made harmless."""

    guard: str
    scenario: str
    edits: tuple[tuple[str, str, str], ...]
    """File below `src/`, the text of the guard, what takes its place."""


CONTROLS = (
    Control(
        "only the current claim may settle",
        "suspended-at-random",
        (
            (f"{LUA}/settle.lua", "if find(raw, before, at + 6, true) ~= at + 6 then return false end", ""),
            (f"{LUA}/settle.lua", "head = sub(raw, 1, from - 1)", "head = sub(raw, 1, 2)"),
            (f"{LUA}/settle.lua", "r.state == RUNNING and r.token == token", "true"),
        ),
    ),
    Control(
        "a jid that is known is not enqueued again",
        "producer-replies-dropped",
        (
            (f"{LUA}/enqueue.lua", "if raws[i] or there[jid] then", "if there[jid] then"),
            (f"{LUA}/lib/one_job.lua", "call('HSETNX', T .. ':jobs', jid, record) == 0", ONE_JOB_AGAIN),
        ),
    ),
    Control(
        "after an outage one lease is waited before anything is taken back",
        "outage-beyond-the-lease",
        ((f"{LUA}/lib/duties.lua", "if math.abs(now - last) > lease / 2 then", "if false then"),),
    ),
    Control(
        "dead workers are looked for at each heartbeat",
        "machine-vanishes",
        ((f"{LUA}/heartbeat.lua", "#dead_recovered(limit, lease, max_crashes)", "0"),),
    ),
    Control(
        "a job is ready only with a slot of its limit",
        "limit-short",
        ((f"{LUA}/lib/limits.lua", "it.taken(limit) < (said or most)", "true"),),
    ),
    Control(
        "every call has a deadline",
        "silence-short",
        (("procession/config.py", "budget: float | str = 2.0", "budget: float | str = 60.0"),),
    ),
)


def without(control: Control) -> dict[str, str]:
    """The files of a guard, by their path below `src/`, without it. Raises AssertionError when it stands there no more,
    or more than once."""
    texts: dict[str, str] = {}
    for name, guard, harmless in control.edits:
        text = texts.get(name) or (ROOT / "src" / name).read_text("utf-8")
        assert text.count(guard) == 1, f"{name} has no such guard any more: {guard}"
        texts[name] = text.replace(guard, harmless)
    return texts


def play_without(control: Control, seed: int) -> str:
    """Play a scenario without its guard. Returns what broke; "" when nothing did, which is the bad outcome."""
    with tempfile.TemporaryDirectory(prefix="procession-control-") as folder:
        source = Path(folder) / "src"
        shutil.copytree(ROOT / "src", source, ignore=shutil.ignore_patterns("__pycache__"))
        for name, text in without(control).items():
            (source / name).write_text(text, "utf-8")
        command = [sys.executable, "-m", "tests.chaos", "--seed", str(seed), "--only", control.scenario]
        command += ["--drain", "20"]
        environment = {**os.environ, "PYTHONPATH": f"{source}:{ROOT}"}
        played = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600)
    lines = [line for line in played.stdout.splitlines() if line.startswith("{")]
    assert lines, played.stdout + played.stderr
    return "; ".join(msgspec.json.decode(lines[0], type=Report).breaches)


def play_all(seed: int) -> list[str]:
    """Every control; prints what broke without each guard, and returns the guards that nothing missed."""
    unmissed = []
    for control in CONTROLS:
        broken = play_without(control, seed)
        print(f"without “{control.guard}”: {broken[:200] or 'NOTHING BROKE'}", flush=True)
        if not broken:
            unmissed.append(control.guard)
    return unmissed
