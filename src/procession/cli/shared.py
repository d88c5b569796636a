"""What the commands share: the store options, exit codes, tables and JSON. Prints; decides nothing."""

from __future__ import annotations

import getpass
import json
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar
from uuid import UUID

import click
import msgspec

from procession.client import Procession
from procession.job import Job
from procession.terminal import in_a_line, plain

F = TypeVar("F", bound=Callable[..., Any])

DONE, FAILED, USAGE, NOT_FOUND, UNAVAILABLE = 0, 1, 2, 3, 4


def store_options(command: F) -> F:
    """`--url` and `--namespace`, on every command that asks a store."""
    command = click.option("--namespace", help="Namespace in the store.")(command)
    return click.option("--url", help="The store; default: PROCESSION_URL, pyproject.toml, the embedded Valkey.")(
        command
    )


def json_option(command: F) -> F:
    """`--json`, on every command that prints."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)


class Overview(click.Group):
    """A group that lists when it is called alone. What is said before a subcommand holds for it, too."""

    def invoke(self, ctx: click.Context) -> Any:
        """Hand on what was said here."""
        given = {name: value for name, value in ctx.params.items() if value is not None}
        ctx.default_map = dict.fromkeys(self.commands, given)
        return super().invoke(ctx)


def open_app(url: str | None, namespace: str | None) -> Procession:
    """An app without jobs: enough to look and steer."""
    return Procession(url, namespace=namespace)


def user() -> str:
    """The name of whoever sits at the terminal, for what is written down."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container whose user has no name; Python before 3.13 raised KeyError
        return ""


def print_json(value: Any) -> None:
    """One JSON document on stdout."""
    click.echo(json_text(msgspec.json.format(msgspec.json.encode(value)).decode()))


def json_text(document: str) -> str:
    """The same JSON, in which what a terminal would obey, or stdout cannot say, is written as an escape of JSON."""

    def escaped(found: re.Match[str]) -> str:
        one = found[0]
        try:
            one.encode(sys.stdout.encoding or "utf-8")
        except UnicodeEncodeError:
            return json.dumps(one)[1:-1]
        return one if one.isprintable() else json.dumps(one)[1:-1]

    return re.sub(r"[^ -~\n]", escaped, document)


def say(value: Any, line: str, as_json: bool) -> None:
    """What a command did: a line for people, or JSON."""
    if as_json:
        print_json(value)
    else:
        tell(line)


def tell(text: str, *, err: bool = False) -> None:
    """Lines for people. Whatever strangers wrote in them, a terminal obeys none of it."""
    click.echo(plain(text), err=err)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """A table: with rich on a terminal where it is installed and the table fits, in plain columns otherwise; a terminal
    breaks long lines itself, and whoever needs an id finds it whole."""
    lines = [list(columns), *([in_a_line(str(value)) for value in row] for row in rows)]
    by_column = [*zip(*lines, strict=True)]
    if sys.stdout.isatty():
        try:
            from rich.cells import cell_len
            from rich.console import Console
            from rich.table import Table
        except ImportError:
            pass
        else:
            console = Console(markup=False, emoji=False)
            if sum(2 + max(map(cell_len, column)) for column in by_column) <= console.width:
                table = Table(*columns, box=None, header_style="bold")
                for line in lines[1:]:
                    table.add_row(*line)
                console.print(table)
                return
    widths = [max(map(len, column)) for column in by_column]
    for line in lines:
        click.echo("  ".join(value.ljust(width) for value, width in zip(line, widths, strict=True)).rstrip())


def moment(milliseconds: int) -> str:
    """An instant for people, in UTC."""
    if not milliseconds:
        return "-"
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")


def job_fields(job: Job) -> dict[str, Any]:
    """A job as JSON shows it: everything that is stored."""
    fields = {name: getattr(job, name) for name in job.__struct_fields__ if name not in ("result", "raw")}
    fields["result"] = job.result
    if job.raw:
        fields["raw"] = job.raw.decode(errors="replace")
    return fields


def jid_of(text: str) -> UUID:
    """A jid given on the command line."""
    try:
        return UUID(text)
    except ValueError:
        raise click.BadParameter(f"{text!r} is not a jid") from None
