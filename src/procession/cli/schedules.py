"""`procession schedules`: what runs when, and doing something about it."""

from __future__ import annotations

from itertools import islice
from typing import Any

import click

from procession.cli.completion import schedule_names
from procession.cli.scheduling import set_
from procession.cli.shared import Overview, json_option, moment, open_app, print_json, print_table, say, store_options
from procession.cli.trail import signed
from procession.clock import spelled, wall
from procession.cron import at_zone
from procession.errors import ConfigError, UnknownSchedule
from procession.schedule import ScheduleInfo

LATEST_SHOWN = 10
DURATIONS = ("every", "timeout", "expires", "deadline", "jitter")


@click.group(cls=Overview, invoke_without_command=True)
@store_options
@json_option
@click.pass_context
def schedules(context: click.Context, url: str | None, namespace: str | None, as_json: bool) -> None:
    """List the schedules; set, show, pause, resume, run, backfill or remove one."""
    if context.invoked_subcommand is None:
        _list(url, namespace, as_json)


schedules.add_command(set_)


@schedules.command("list")
@store_options
@json_option
def list_(url: str | None, namespace: str | None, as_json: bool) -> None:
    """Every schedule, and when it is due next, in UTC."""
    _list(url, namespace, as_json)


@schedules.command()
@click.argument("name", shell_complete=schedule_names)
@store_options
@json_option
def show(name: str, url: str | None, namespace: str | None, as_json: bool) -> None:
    """What NAME runs and when, and its last runs."""
    info = _found(name, url, namespace)
    if as_json:
        print_json(_fields(info))
        return
    fields = _fields(info)
    runs = fields.pop("runs")
    for other in ("cron", "every"):
        if not fields[other]:
            del fields[other]  # it goes by the other of the two
    print_table(("", info.name), [(key, _text(key, value)) for key, value in fields.items() if key != "name"])
    if runs:
        click.echo()
        print_table(("due", "job", ""), [(moment(it.at), it.jid or "-", it.note) for it in runs[-LATEST_SHOWN:]])


@schedules.command("next")
@click.argument("name", shell_complete=schedule_names)
@click.option("-n", "number", type=click.IntRange(1, 1_000), default=5, help="How many (5).")
@store_options
@json_option
def next_(name: str, number: int, url: str | None, namespace: str | None, as_json: bool) -> None:
    """When NAME is due next, by its own clocks and in UTC."""
    schedule = _found(name, url, namespace).schedule
    slots = [*islice(schedule.upcoming(wall()), number)]
    here = [at_zone(slot, schedule.tz).strftime("%a %Y-%m-%d %H:%M:%S %z") for slot in slots]
    if as_json:
        print_json([{"at": slot, "there": text, "utc": moment(slot)} for slot, text in zip(slots, here, strict=True)])
    else:
        print_table((schedule.tz, "UTC"), [(text, moment(slot)) for slot, text in zip(slots, here, strict=True)])


@schedules.command()
@click.argument("name", shell_complete=schedule_names)
@click.option("--reason", default="", help="Why, for whoever wonders.")
@store_options
@json_option
def pause(name: str, reason: str, url: str | None, namespace: str | None, as_json: bool) -> None:
    """Let NAME not be due."""
    app = open_app(url, namespace)
    app.schedules.pause(name, reason)
    signed(app, "pause-schedule", name)
    say({"paused": name}, f"{name} is paused; `procession schedules resume {name}` undoes it", as_json)


@schedules.command()
@click.argument("name", shell_complete=schedule_names)
@store_options
@json_option
def resume(name: str, url: str | None, namespace: str | None, as_json: bool) -> None:
    """Let NAME be due again, from its next instant on."""
    app = open_app(url, namespace)
    app.schedules.resume(name)
    signed(app, "resume-schedule", name)
    say({"resumed": name}, f"{name} is due again", as_json)


@schedules.command()
@click.argument("name", shell_complete=schedule_names)
@store_options
@json_option
def run(name: str, url: str | None, namespace: str | None, as_json: bool) -> None:
    """Enqueue one run of NAME now."""
    app = open_app(url, namespace)
    jid = app.schedules.run_now(name)
    signed(app, "run-schedule", name)
    say({"jid": jid}, str(jid), as_json)


@schedules.command()
@click.argument("name", shell_complete=schedule_names)
@click.option("--after", type=click.DateTime(), required=True, help="Later than this moment, by its own clocks.")
@click.option("--until", type=click.DateTime(), required=True, help="Until this moment, included.")
@store_options
@json_option
def backfill(name: str, after: Any, until: Any, url: str | None, namespace: str | None, as_json: bool) -> None:
    """Enqueue a run of NAME for each instant between two moments, at most 100."""
    tz = at_zone(0, _found(name, url, namespace).schedule.tz).tzinfo
    app = open_app(url, namespace)
    jids = app.schedules.backfill(name, after.replace(tzinfo=tz), until.replace(tzinfo=tz))
    signed(app, "backfill-schedule", name, changed=len(jids), asked=len(jids))
    say({"jids": jids}, "\n".join(map(str, jids)) or "no instant lies between", as_json)


@schedules.command()
@click.argument("name", shell_complete=schedule_names)
@store_options
@json_option
def remove(name: str, url: str | None, namespace: str | None, as_json: bool) -> None:
    """Forget NAME and its history; its jobs stay. What stands in code comes back when a worker begins."""
    app = open_app(url, namespace)
    if not app.schedules.remove(name):
        raise UnknownSchedule(f"there is no schedule {name!r}")
    signed(app, "remove-schedule", name)
    say({"removed": name}, f"removed {name}", as_json)


def _list(url: str | None, namespace: str | None, as_json: bool) -> None:
    found = open_app(url, namespace).schedules.list()
    if as_json:
        print_json([_fields(info) for info in found])
    else:
        print_table(("schedule", "job", "when", "next", ""), [_row(info) for info in found])


def _found(name: str, url: str | None, namespace: str | None) -> ScheduleInfo:
    info = open_app(url, namespace).schedules.find(name)
    if info is None:
        raise UnknownSchedule(f"there is no schedule {name!r}; `procession schedules` lists them")
    return info


def _row(info: ScheduleInfo) -> tuple[str, ...]:
    try:
        job, when = info.schedule.job, info.schedule.describe()
    except ConfigError:
        job, when = "?", "cannot be read by this version"
    return info.name, job, when, moment(info.next_at), _standing(info)


def _standing(info: ScheduleInfo) -> str:
    if info.paused:
        return f"paused since {moment(info.paused_at)} {info.reason}".rstrip()
    if info.lapsed(wall()):
        return f"rests: no worker has declared it since {moment(info.declared_at)}"
    return "a run waits for the one before" if info.waiting else ""


def _fields(info: ScheduleInfo) -> dict[str, Any]:
    schedule = info.schedule
    asked = {name: getattr(schedule, name) for name in schedule.__struct_fields__}
    known = {name: getattr(info, name) for name in info.__struct_fields__ if name != "asked"}
    return {**asked, "describe": schedule.describe(), **known}


def _text(key: str, value: Any) -> str:
    if key.endswith("_at"):
        return moment(value)
    if key in DURATIONS and value:
        return spelled(value)
    return bytes(value).decode() if key == "args" else str(value)
