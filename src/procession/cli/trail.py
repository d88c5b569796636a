"""`procession trail`: what people did. The commands that change something write it down with `signed`."""

from __future__ import annotations

import click

from procession.cli.shared import json_option, moment, open_app, print_json, print_table, store_options, user
from procession.client import Procession
from procession.errors import DatabaseError
from procession.trail import deed


def signed(
    app: Procession, what: str, on: str, *, changed: int = 1, asked: int = 1, who: str | None = None
) -> None:
    """Write down what was done at this terminal. It is done, so a store that is away now is a warning only."""
    try:
        app.write_trail(deed(user() if who is None else who, what, on, changed=changed, asked=asked, via="cli"))
    except DatabaseError as error:
        click.echo(f"procession: done, but not written into the trail: {error}", err=True)


@click.command()
@click.option("--limit", type=click.IntRange(1, 1_000), default=50, show_default=True)
@click.option("--before", type=click.IntRange(0), default=0, help="Only deeds with a smaller number.")
@store_options
@json_option
def trail(limit: int, before: int, url: str | None, namespace: str | None, as_json: bool) -> None:
    """What people did through the dashboard, its API and this command line: who, what, on what, when."""
    found = open_app(url, namespace).trail(before=before, limit=limit)
    if as_json:
        print_json([{name: getattr(it, name) for name in it.__struct_fields__} for it in found])
        return
    rows = [
        (it.number, moment(it.at), it.who or "-", it.via, it.what, f"{it.changed}/{it.asked}", it.on) for it in found
    ]
    print_table(("", "when", "who", "via", "what", "changed", "on"), rows)
