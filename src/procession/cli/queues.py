"""`procession stats`, `queues` and `flush`: the whole at a glance."""

from __future__ import annotations

import click

from procession.cli.completion import queue_names
from procession.cli.shared import (
    Overview,
    json_option,
    moment,
    open_app,
    print_json,
    print_table,
    say,
    store_options,
    user,
)
from procession.cli.trail import signed
from procession.database import QueueInfo
from procession.errors import ConfigError


@click.command()
@store_options
@json_option
def stats(url: str | None, namespace: str | None, as_json: bool) -> None:
    """What was processed, what failed, what is scheduled."""
    found = open_app(url, namespace).stats().as_dict()
    if as_json:
        print_json(found)
    else:
        print_table(("", "jobs"), list(found.items()))


@click.group(cls=Overview, invoke_without_command=True)
@store_options
@json_option
@click.pass_context
def queues(context: click.Context, url: str | None, namespace: str | None, as_json: bool) -> None:
    """List the queues; pause, resume or purge one."""
    if context.invoked_subcommand is not None:
        return
    found = open_app(url, namespace).queues()
    if as_json:
        print_json(found)
        return
    rows = [
        (it.name, it.queued, moment(it.oldest), _paused(it))
        for it in found
    ]
    print_table(("queue", "queued", "oldest", ""), rows)


def _paused(queue: QueueInfo) -> str:
    by = f" by {queue.paused_by}" if queue.paused_by else ""
    return f"paused since {moment(queue.paused_at)}{by} {queue.reason}".rstrip() if queue.paused else ""


@queues.command()
@click.argument("queue", shell_complete=queue_names)
@click.option("--reason", default="", help="Why, for whoever wonders.")
@click.option("--by", help="Who; by default the name of the user.")
@store_options
@json_option
def pause(
    queue: str, reason: str, by: str | None, url: str | None, namespace: str | None, as_json: bool
) -> None:
    """Let nothing more be claimed from QUEUE."""
    app, who = open_app(url, namespace), user() if by is None else by
    app.pause(queue, reason, who)
    signed(app, "pause", queue, who=who)
    say({"paused": queue}, f"{queue} is paused; `procession queues resume {queue}` undoes it", as_json)


@queues.command()
@click.argument("queue", shell_complete=queue_names)
@store_options
@json_option
def resume(queue: str, url: str | None, namespace: str | None, as_json: bool) -> None:
    """Let QUEUE be served again."""
    app = open_app(url, namespace)
    app.resume(queue)
    signed(app, "resume", queue)
    say({"resumed": queue}, f"{queue} is served again", as_json)


@queues.command()
@click.argument("queue", shell_complete=queue_names)
@click.option("--yes", is_flag=True, help="Do not ask.")
@store_options
@json_option
def purge(queue: str, yes: bool, url: str | None, namespace: str | None, as_json: bool) -> None:
    """Remove all queued jobs of QUEUE."""
    if not yes:
        click.confirm(f"remove every queued job of {queue}?", abort=True, err=True)
    app = open_app(url, namespace)
    removed = app.purge(queue)
    signed(app, "purge", queue, changed=removed, asked=removed)
    say({"removed": removed}, f"removed {removed} jobs", as_json)


@click.command()
@click.option("--confirm", required=True, metavar="NAMESPACE", help="The namespace's name, once more.")
@store_options
@json_option
def flush(confirm: str, url: str | None, namespace: str | None, as_json: bool) -> None:
    """Remove everything in the namespace."""
    app = open_app(url, namespace)
    if confirm != app.settings.namespace:
        raise ConfigError(f"flush removes every job; confirm it with --confirm {app.settings.namespace}")
    app.flush(confirm=confirm)
    signed(app, "flush", confirm)
    say({"flushed": confirm}, f"{confirm} is empty", as_json)
