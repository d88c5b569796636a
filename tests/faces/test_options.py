"""What is written where on the command line, as processes on a real server."""

from __future__ import annotations

import json

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
