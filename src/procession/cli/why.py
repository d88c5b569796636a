"""`procession why JID`: why a job is where it is. Prints what `app.why` says."""

from __future__ import annotations

import click

from procession.cli.shared import jid_of, json_option, open_app, say, store_options


@click.command()
@click.argument("jid")
@store_options
@json_option
def why(jid: str, url: str | None, namespace: str | None, as_json: bool) -> None:
    """Why the job JID waits, runs or ended, and what to do about it."""
    found = open_app(url, namespace).why(jid_of(jid))
    say(found, found.text, as_json)
