"""What is written where on the command line, as processes on a real server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.faces.test_cli import Run, run

__all__ = ["run"]


def test_options_before_a_subcommand_hold_for_it_and_those_behind_it_are_nearer(run: Run) -> None:
    other = ("--namespace", "other", "--json")
    assert json.loads(run("queues", *other, "pause", "mail").stdout) == {"paused": "mail"}
    assert json.loads(run("queues", "--json").stdout) == []
    assert [it["name"] for it in json.loads(run("queues", *other).stdout)] == ["mail"]
    run("queues", *other, "pause", "news", "--namespace", "third")
    assert [it["name"] for it in json.loads(run("queues", *other).stdout)] == ["mail"]
    assert json.loads(run("workers", *other, "quiet", "--all").stdout) == {}
    assert json.loads(run("schedules", *other, "list").stdout) == []


def test_a_mistyped_option_of_enqueue_enqueues_nothing(run: Run) -> None:
    assert "--delay" in run("enqueue", "shop:app", "shop.send", "ada", "--dely=1h", code=2).stderr
    assert "--delay" in run("enqueue", "--dely=1h", "shop:app", "shop.send", code=2).stderr
    run("enqueue", "shop:app", "shop.send", "ada", "-q", "mail", code=2)
    assert json.loads(run("stats", "--json").stdout)["queued"] == 0
    run("enqueue", "shop:app", "shop.send", "--delay", "1h", "--tag", "--x", "--", "--dely=1h", "-3")
    (job,) = json.loads(run("jobs", "state:delayed", "--json").stdout)["jobs"]
    assert (job["args"], job["tags"]) == ({"to": "--dely=1h", "count": -3}, ["--x"])
    run("enqueue", "shop:app", "shop.send", "ada", "-3")


def test_the_arguments_of_a_schedule_are_written_as_those_of_enqueue(run: Run) -> None:
    make = ("schedules", "set", "daily", "ada", "-3", "--app", "shop:app", "--job", "shop.send")
    assert "--every" in run(*make, "--evry=1d", code=2).stderr
    run(*make, "--every", "1d")
    assert json.loads(run("schedules", "show", "daily", "--json").stdout)["args"] == {"to": "ada", "count": -3}


def test_what_people_do_here_is_in_the_trail(run: Run) -> None:
    run("schedules", "set", "nightly", "ada", "--app", "shop:app", "--job", "shop.send", "--cron", "0 3 * * *")
    jid = run("schedules", "run", "nightly").stdout.strip()
    run("jobs", "cancel", jid)
    run("jobs", "retry", jid, "--args", '{"to": "eve"}')
    run("repair", "--apply")
    told = json.loads(run("trail", "--json").stdout)
    assert [(it["what"], it["on"], it["changed"], it["via"]) for it in reversed(told)] == [
        ("save-schedule", "nightly", 1, "cli"),
        ("run-schedule", "nightly", 1, "cli"),
        ("cancel", jid, 1, "cli"),
        ("edit", jid, 1, "cli"),
        ("repair", "procession", 0, "cli"),
    ]
    run("flush", "--confirm", "procession")
    assert [it["what"] for it in json.loads(run("trail", "--json").stdout)] == ["flush"]


def test_a_store_that_no_other_process_sees_is_warned_of(run: Run) -> None:
    for words in (("enqueue", "shop:app", "shop.send", "ada"), ("worker", "shop:app", "--burst")):
        assert "no other process sees what is in memory://x" in run(*words, "--url", "memory://x").stderr
        assert "no other process" not in run(*words).stderr


@pytest.mark.parametrize(
    "words", [("enqueue", "fixed:app", "send"), ("worker", "fixed:app", "--burst"), ("check", "fixed:app")]
)
def test_a_store_on_the_command_line_is_the_one_that_is_asked_or_none_is(
    run: Run, words: tuple[str, ...], tmp_path: Path, valkey_url: str, namespace: str
) -> None:
    (tmp_path / "fixed.py").write_text(
        f"from procession import Procession\napp = Procession({valkey_url!r}, namespace={namespace!r})\n"
        "@app.job(name='send')\ndef send() -> None: ...\n"
    )
    refused = run(*words, "--url", "redis://ada:secret@127.0.0.1:1/0", code=2).stderr
    assert f"fixed:app names its store itself, {valkey_url}; --url does not reach it" in refused
    assert "names its namespace itself" in run(*words, "--namespace", "other", code=2).stderr
    there = valkey_url.replace("redis://", "redis://default:@")
    run(*words, "--url", there, "--namespace", namespace)


@pytest.mark.parametrize(("command", "code"), [("worker", 3), ("check", 1), ("enqueue", 1)])
@pytest.mark.parametrize(
    ("app", "says"),
    [
        ("import late", "ModuleNotFoundError: No module named 'late'"),  # not late_jobs, as which the app is asked for
        ("raise RuntimeError('no disk')", "RuntimeError: no disk"),
        ("app = (", "SyntaxError: '(' was never closed"),
    ],
)
def test_an_app_that_cannot_be_imported_is_shown_with_its_own_frames_alone(
    run: Run, tmp_path: Path, command: str, code: int, app: str, says: str
) -> None:
    (tmp_path / "late_jobs.py").write_text(f"{app}\n")
    said = run(command, "late_jobs", *["shop.send"] * (command == "enqueue"), code=code).stderr.splitlines()
    assert says in said
    assert said[-1] == "procession: cannot load late_jobs: the error above is its own"
    assert [line.split(",")[0] for line in said if line.startswith("  File ")] == [f'  File "{tmp_path}/late_jobs.py"']
