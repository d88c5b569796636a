"""`procession errors` and `procession history`: what went wrong, and what happened when."""

from __future__ import annotations

import click
from msgspec.structs import asdict

from procession.cli.shared import Overview, json_option, moment, open_app, print_json, print_table, say, store_options
from procession.cli.trail import signed
from procession.database.measures import ErrorGroup
from procession.errors import JobNotFound
from procession.insight import Percentiles


@click.group(cls=Overview, invoke_without_command=True)
@click.option("--limit", type=click.IntRange(1, 500), default=50, show_default=True)
@store_options
@json_option
@click.pass_context
def errors(context: click.Context, limit: int, url: str | None, namespace: str | None, as_json: bool) -> None:
    """Failed attempts grouped by error, the one seen last first; mute one."""
    if context.invoked_subcommand is not None:
        return
    found = open_app(url, namespace).errors(limit)
    if as_json:
        print_json([{**asdict(it), "sample": it.sample} for it in found])
        return
    rows = [
        (it.fingerprint, it.count, moment(it.last_at), _line(it), it.where, it.names[-1], it.sample) for it in found
    ]
    print_table(("fingerprint", "count", "last seen", "error", "where", "name", "a job"), rows)


@errors.command()
@click.argument("fingerprint")
@click.option("--for", "for_", default="1d", show_default=True, help='For how long, such as "2h"; 0s ends it.')
@store_options
@json_option
def mute(fingerprint: str, for_: str, url: str | None, namespace: str | None, as_json: bool) -> None:
    """Say that an error is known."""
    app = open_app(url, namespace)
    if not app.mute_error(fingerprint, for_):
        raise JobNotFound(f"no error {fingerprint}; `procession errors` lists them")
    signed(app, "mute", fingerprint)
    say({"muted": fingerprint, "for": for_}, f"{fingerprint} is muted for {for_}", as_json)


@click.command()
@click.option("--since", default="1h", show_default=True, help="Up to 24h by minute, up to 7d by hour.")
@click.option("--queue")
@click.option("--name", help="A job's name.")
@store_options
@json_option
def history(
    since: str, queue: str | None, name: str | None, url: str | None, namespace: str | None, as_json: bool
) -> None:
    """What happened in each minute or hour, and how long jobs waited and ran (p50/p95/p99 in ms)."""
    found = open_app(url, namespace).history(since, queue=queue, name=name)
    if as_json:
        print_json(found)
        return
    rows = [
        (
            *(moment(it.at), it.enqueued, it.processed, it.failed, it.retried, it.cancelled),
            *("-" if it.depth is None else f"{it.depth:g}", _told(it.wait), _told(it.run)),
        )
        for it in found.points
        if it.run or it.enqueued or it.processed or it.failed or it.retried or it.cancelled or it.depth
    ]
    print_table(("from", "enqueued", "processed", "failed", "retried", "cancelled", "depth", "wait", "run"), rows)


def _line(it: ErrorGroup) -> str:
    return f"{it.type}: {it.message}".splitlines()[0][:80]


def _told(it: Percentiles | None) -> str:
    return f"{it.p50:.0f}/{it.p95:.0f}/{it.p99:.0f}" if it else "-"
