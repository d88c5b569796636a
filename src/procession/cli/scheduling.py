"""`procession schedules set`: make a schedule, or change one, from the command line. A part of `schedules.py`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args

import click

from procession.cli.calling import Words, called, open_target
from procession.cli.shared import json_option, moment, open_app, say, store_options
from procession.cli.trail import signed
from procession.client import Procession
from procession.cron import Dst
from procession.enqueuer import Call, Options
from procession.errors import ConfigError
from procession.schedule import Missed, Overlap, ScheduleInfo
from procession.schedules import Edit


@click.command("set", cls=Words, context_settings={"ignore_unknown_options": True})
@click.argument("name")
@click.argument("arguments", nargs=-1)
@click.option("--app", "target", metavar="MODULE:APP", help="Where its job is defined; to make one, or for ARGUMENTS.")
@click.option("--job", help="The name of the job to run; needed for one that is new.")
@click.option("--cron", metavar="RULE", help='When, as in crontab(5): "0 3 * * *"; six fields begin with seconds.')
@click.option("--every", metavar="PERIOD", help='Or how often: "90s".')
@click.option("--tz", help='Whose clocks count, such as "Europe/Paris" (UTC).')
@click.option("--dst", type=click.Choice(get_args(Dst)), help="Where clocks change (once).")
@click.option("--missed", type=click.Choice(get_args(Missed)), help="What becomes of missed instants (once).")
@click.option("--catch-up", type=click.IntRange(1), help="How many missed instants run at most, with --missed all.")
@click.option("--overlap", type=click.Choice(get_args(Overlap)), help="While a run is not finished (allow).")
@click.option("--jitter", metavar="PERIOD", help="Put each run off by a part of this.")
@click.option("--queue", help="Where its jobs wait (that of the job).")
@click.option("--priority", type=int, help="How urgent they are (that of the job).")
@store_options
@json_option
def set_(
    name: str,
    arguments: tuple[str, ...],
    target: str | None,
    job: str | None,
    url: str | None,
    namespace: str | None,
    as_json: bool,
    **asked: Any,
) -> None:
    """Make the schedule NAME, or change what is given here of the one that is there.

    ARGUMENTS are those of the job: JSON, a bare word is a string, `key=value` goes by name. An edit counts from now.
    What stands in code comes back when a worker begins. With the name of another --job it is made anew.
    """
    app = open_target(target, url, namespace) if target else open_app(url, namespace)
    given = {key: value for key, value in asked.items() if value is not None}
    there = app.schedules.find(name)
    if target is None and (there is None or job is not None or arguments):
        raise ConfigError("give --app MODULE:APP, in which the job is defined, so that its arguments can be checked")
    if there is None or job not in (None, there.schedule.job):
        changed = _made(app, name, job, arguments, given)
    else:
        changed = _changed(app, there, arguments, given)
    signed(app, "save-schedule", name, changed=int(changed))
    info = app.schedules.find(name)
    assert info is not None
    line = f"{name}: {info.schedule.describe()}, next {moment(info.next_at)}" + ("" if changed else "; nothing changed")
    say({"name": name, "changed": changed, "next_at": info.next_at}, line, as_json)


def _made(app: Procession, name: str, job: str | None, words: Sequence[str], given: dict[str, Any]) -> bool:
    if job is None:
        raise ConfigError(f"there is no schedule {name!r}; to make it, say what it runs with --job")
    options = Options(**{key: given.pop(key) for key in ("queue", "priority") if key in given})  # type: ignore[typeddict-item]
    return app.schedules.upsert(name, called(app, job, words, options), **given)


def _changed(app: Procession, there: ScheduleInfo, words: Sequence[str], given: dict[str, Any]) -> bool:
    changes = Edit(**given)  # type: ignore[typeddict-item]
    if not words:
        return app.schedules.edit(there.name, **changes)
    call: Call[Any] = called(app, there.schedule.job, words, Options())
    args, kwargs = call.registered.signature.decode(call.arguments)
    return app.schedules.edit(there.name, args=args, kwargs=kwargs, **changes)
