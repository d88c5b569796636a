"""`procession completion SHELL`, and what a shell offers for names that only the store knows.

Called with each press of Tab, so nothing here may fail, print, take long, or start a server: a store that does not
answer at once has no names to offer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import click
from click.shell_completion import CompletionItem, get_completion_class

from procession.client import Procession
from procession.config import Settings
from procession.database.redis.embedded import Server
from procession.errors import ProcessionError
from procession.job import State
from procession.query import KEYS

BUDGET = 0.3
"""Seconds that the store has to answer."""


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print what makes SHELL complete commands, options, and names of queues and schedules.

    \b
    bash: eval "$(procession completion bash)"     in ~/.bashrc
    zsh:  eval "$(procession completion zsh)"      in ~/.zshrc
    fish: procession completion fish | source      in ~/.config/fish/config.fish
    """
    from procession.cli import cli

    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(cli, {}, "procession", "_PROCESSION_COMPLETE").source())


def queue_names(context: click.Context, _: click.Parameter, begun: str) -> list[CompletionItem]:
    """The queues that the store knows."""
    return _offered(context, begun, lambda app: [it.name for it in app.queues()])


def schedule_names(context: click.Context, _: click.Parameter, begun: str) -> list[CompletionItem]:
    """The schedules."""
    return _offered(context, begun, lambda app: [it.schedule.name for it in app.schedules.list()])


def filter_terms(context: click.Context, parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """What a filter is made of: its keys, the states behind `state:`, the queues behind `queue:`."""
    key, colon, value = begun.partition(":")
    if not colon:
        return [CompletionItem(it.removesuffix("…") if "…" in it else f"{it}:") for it in KEYS if it.startswith(begun)]
    if key == "state":
        return [CompletionItem(f"state:{it}") for it in State if it.startswith(value)]
    if key == "queue":
        return [CompletionItem(f"queue:{it.value}") for it in queue_names(context, parameter, value)]
    return []


def _offered(context: click.Context, begun: str, names: Callable[[Procession], Iterable[str]]) -> list[CompletionItem]:
    url, namespace = context.params.get("url"), context.params.get("namespace")
    try:
        if Settings.load(url=url).url == "embedded" and not Server().status().running:
            return []
        app = Procession(url, namespace=namespace, budget=BUDGET)
        return [CompletionItem(name) for name in names(app) if name.startswith(begun)]
    except (ProcessionError, OSError):
        return []
