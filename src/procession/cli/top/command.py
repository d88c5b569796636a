"""The command `procession top` and its loop: look, draw, hear a key, do what it says."""

from __future__ import annotations

import sys
from contextlib import suppress
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import click
from msgspec.structs import replace

from procession.cli.shared import json_option, open_app, print_json, store_options, user
from procession.cli.top.facts import Facts, Watcher
from procession.cli.top.keys import Action, Keyboard, Screen, pressed
from procession.client import Procession
from procession.clock import monotonic
from procession.errors import ConfigError, DatabaseError, FilterError, ProcessionError
from procession.trail import deed

if TYPE_CHECKING:
    from rich.console import Console

EVERY = 1.0
"""Seconds between two looks at the store. A key is answered at once."""


@click.command()
@click.option("--once", is_flag=True, help="Print one look and end.")
@click.option("--filter", "text", metavar="FILTER", default="state:running", show_default=True, help="Jobs to list.")
@store_options
@json_option
def top(once: bool, text: str, url: str | None, namespace: str | None, as_json: bool) -> None:
    """Queues, workers, jobs and errors, live, with keys to act. --json prints one look as JSON."""
    app = open_app(url, namespace)
    watcher = Watcher(app)
    if as_json:
        print_json(_document(watcher.look(text)))
        return
    if not find_spec("rich"):
        raise ConfigError('top draws with rich: pip install "procession[terminal]"; --json needs nothing')
    from rich.console import Console

    from procession.cli.top.view import drawn

    console, title = Console(), f"{app.settings.namespace} at {app.settings.shown_url}"
    if once:
        height = max(console.height - 1, 12)
        console.print(drawn(watcher.look(text), Screen(filter=text), title=title, height=height))
    elif sys.stdin.isatty() and sys.stdout.isatty():
        with suppress(KeyboardInterrupt):
            _live(app, watcher, text, console, title)
    else:
        raise ConfigError("top needs a terminal for its keys and its screen; --once prints one look, --json as JSON")


def _document(facts: Facts) -> dict[str, Any]:
    document = {name: getattr(facts, name) for name in facts.__struct_fields__}
    shown = ("jid", "state", "name", "queue", "attempt", "enqueued_at", "due_at", "start_at", "finish_at")
    return document | {"jobs": [{name: getattr(it, name) for name in shown} for it in facts.jobs]}


def _live(app: Procession, watcher: Watcher, text: str, console: Console, title: str) -> None:
    from rich.live import Live

    from procession.cli.top.view import drawn

    screen, facts, trouble = Screen(filter=text), watcher.look(text), ""
    looked = monotonic()
    with Keyboard() as keyboard, Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            picture = drawn(facts, screen, title=title, height=console.height, trouble=trouble)
            live.update(picture, refresh=True)
            try:
                keys = keyboard.keys(max(0.0, looked + EVERY - monotonic()))
            except EOFError:
                return
            filter_before = screen.filter
            for key in keys:
                screen, action = pressed(screen, key, facts)
                if action is not None and action.do == "quit":
                    return
                if action is not None:
                    screen = _done(app, screen, action)
                    looked = 0.0
            if screen.filter != filter_before:
                looked = 0.0
            if monotonic() >= looked + EVERY:
                facts, trouble = _looked(watcher, screen.filter, facts)
                looked = monotonic()


def _looked(watcher: Watcher, text: str, before: Facts) -> tuple[Facts, str]:
    """A new look, or the one before with the reason why there is none."""
    try:
        return watcher.look(text), ""
    except FilterError as error:
        return before, str(error)
    except DatabaseError as error:
        return before, f"not as of now: {error}"


def _done(app: Procession, screen: Screen, action: Action) -> Screen:
    do, what = action.do, action.what
    try:
        if do == "why":
            says = app.why(what).text
        elif do == "pause":
            app.pause(what, by=user())
            says = f"{what} is paused"
        elif do == "resume":
            app.resume(what)
            says = f"{what} is served again"
        else:
            changed = app.cancel(what) if do == "cancel" else app.retry(what)
            came_to = ("cancelled" if do == "cancel" else "queued again") if changed else "it has moved on meanwhile"
            says = f"{what}: {came_to}"
        if do != "why":
            app.write_trail(deed(user(), do, what, via="cli"))
    except ProcessionError as error:
        says = str(error)
    return replace(screen, says=says)
