"""`procession schedules`, as real processes on a real embedded server."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from procession.database.redis.embedded import Server

APP = """
from procession import Procession
app = Procession()

@app.cron("30 2 * * *", tz="Europe/Paris", name="nightly", args=["eu"])
@app.every("1s", name="tick", args=["now"], overlap="skip")
@app.job(name="report")
def report(region: str) -> str:
    return region
"""
DRIVE = """
import sys, shop
shop.app.schedules.upsert("weekly", shop.report.bind("us"), cron="0 9 * * MON", tz="America/New_York")
"""
Run = Callable[..., str]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    (tmp_path / "shop.py").write_text(APP)
    environment = {**os.environ, "PROCESSION_HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", DRIVE], cwd=tmp_path, env=environment, check=True, timeout=50)

    def run(*words: str, code: int = 0) -> str:
        command = [sys.executable, "-m", "procession", *words]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=50, check=False
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    yield run
    Server(tmp_path).stop()


def test_a_schedule_is_listed_shown_steered_and_removed(run: Run) -> None:
    assert "At 09:00 on Monday, America/New_York" in run("schedules")
    assert json.loads(run("schedules", "list", "--json"))[0]["name"] == "weekly"
    upcoming = run("schedules", "next", "weekly", "-n", "30")
    assert "09:00:00 -0500" in upcoming
    assert "09:00:00 -0400" in upcoming
    run("schedules", "pause", "weekly", "--reason", "holiday")
    assert "holiday" in run("schedules")
    run("schedules", "resume", "weekly")
    jid = run("schedules", "run", "weekly").strip()
    words = ("--after", "2026-01-01", "--until", "2026-01-31")
    filled = json.loads(run("schedules", "backfill", "weekly", *words, "--json"))["jids"]
    assert len(filled) == 4
    shown = json.loads(run("schedules", "show", "weekly", "--json"))
    assert [it[1] for it in shown["runs"]] == [jid, *filled]
    told = run("schedules", "show", "weekly")
    assert jid in told
    assert not re.search(r"^every", told, re.MULTILINE)
    assert json.loads(run("stats", "--json"))["queued"] == 5
    run("schedules", "remove", "weekly")
    assert "there is no schedule 'weekly'" in run("schedules", "show", "weekly", code=3)


def test_a_schedule_is_made_and_changed_where_it_is_named_and_what_cannot_be_says_what_to_do(run: Run) -> None:
    make = ("daily", "--app", "shop:app", "--job", "report", "--tz", "Asia/Tokyo", "--priority", "3")
    assert "At 07:30 every day" in run("schedules", "set", *make, "region=us", "--cron", "30 7 * * *")
    assert "nothing changed" in run("schedules", "set", "daily", "--priority", "3")
    run("schedules", "set", "daily", "--every", "90s", "--jitter", "5s", "--queue", "night", "--overlap", "skip")
    run("schedules", "set", "daily", "asia", "--app", "shop:app")
    shown = json.loads(run("schedules", "show", "daily", "--json"))
    kept = {
        "job": "report", "cron": "", "every": 90_000, "tz": "Asia/Tokyo", "jitter": 5_000, "queue": "night",
        "priority": 3, "overlap": "skip", "args": {"region": "asia"},
    }  # fmt: skip
    assert {key: shown[key] for key in kept} == kept
    told = run("schedules", "show", "daily")
    assert re.search(r"^every +1 m 30 s$", told, re.MULTILINE)
    assert re.search(r"^jitter +5 s$", told, re.MULTILINE)
    assert not re.search(r"^cron", told, re.MULTILINE)
    for words, code, message in (
        (("new", "--every", "1h"), 2, "give --app MODULE:APP"),
        (("new", "--app", "shop:app", "--every", "1h"), 2, "say what it runs with --job"),
        (("new", "--app", "shop:app", "--job", "report", "--every", "1h"), 2, "region"),
        (("new", "--app", "shop:app", "--job", "nothing", "--every", "1h"), 3, "it has report"),
        (("daily", "eu"), 2, "give --app MODULE:APP"),
    ):
        assert message in run("schedules", "set", *words, code=code)
