"""`procession config`: the settings that hold here, and where each comes from."""

from __future__ import annotations

import click

from procession.cli.shared import json_option, print_json, print_table, store_options
from procession.config import Settings


@click.command()
@click.option("--explain", is_flag=True, help="Say where each comes from.")
@store_options
@json_option
def config(explain: bool, url: str | None, namespace: str | None, as_json: bool) -> None:
    """The settings as they hold in this directory: arguments, PROCESSION_* variables, pyproject.toml, defaults.

    What an app passes to Procession(…) in its own code comes before all of these, and is not seen here.
    """
    found = Settings.explain(url=url, namespace=namespace)
    if as_json:
        said = {name: {"value": value, "from": source} if explain else value for name, (value, source) in found.items()}
        print_json(said)
    elif explain:
        print_table(("setting", "value", "from"), [(name, value, source) for name, (value, source) in found.items()])
    else:
        print_table(("setting", "value"), [(name, value) for name, (value, _) in found.items()])
