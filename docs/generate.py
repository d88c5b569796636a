"""Print what the code knows into the pages: moves, keys, rights, answers, commands, settings and metrics.

With `--check`, fail if a page is not current.
"""

from __future__ import annotations

import asyncio
import inspect
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import fill

import click

from procession import Procession
from procession.cli import cli
from procession.config import Settings
from procession.database.redis.keys import KEYS
from procession.database.redis.replies import ANSWERS
from procession.database.redis.scripts import commands
from procession.moves import MOVES
from procession.web.health import metrics_text

HERE = Path(__file__).parent
DIRECTLY = ("EVALSHA", "EVAL", "BLPOP", "HSETNX", "HGET", "HSET", "SELECT", "WAIT", "WAITAOF", "ROLE")
"""What connections say themselves, beside what the scripts call; the last four only where they are used."""


def moves() -> str:
    """The table of moves as a diagram."""
    rows = [
        f"    {source or '[*]'} --> {row.target or '[*]'}: {move}"
        for move, row in MOVES.items()
        for source in sorted(row.sources, key=str)
    ]
    return "\n".join(["```mermaid", "stateDiagram-v2", *rows, "```"])


def keys() -> str:
    """The table of keys."""
    rows = [f"| `{key.name}` | {key.type} | {key.holds} | {key.bound} | {key.expiry} |" for key in KEYS]
    return "\n".join(["| key | type | holds | bound | goes away |", "|---|---|---|---|---|", *rows])


def rights() -> str:
    """An ACL user that may do what is needed and nothing else."""
    names = sorted({*DIRECTLY, *commands()})
    granted = fill(" ".join(f"+{name.lower()}" for name in names), 110, initial_indent="  ", subsequent_indent="  ")
    return f"```\nACL SETUSER jobs on >secret ~{{procession:* resetchannels -@all\n{granted}\n```"


def answers() -> str:
    """The table of what a server's errors mean."""
    rows = [f"| `{it.text}` | {it.meaning} | {it.then.value} |" for it in ANSWERS]
    return "\n".join(["| the server says | it means | what is done |", "|---|---|---|", *rows])


def _commands(command: click.Command, context: click.Context) -> Iterator[tuple[str, click.Command, click.Context]]:
    yield context.command_path, command, context
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            one = command.get_command(context, name)
            if one is not None and not one.hidden:
                yield from _commands(one, click.Context(one, info_name=name, parent=context))


def _help(command: click.Command) -> str:
    """Its text, without the indentation that Python 3.13 takes away itself; what click is not to wrap is indented."""
    paragraphs = inspect.cleandoc(command.help or "").split("\n\n")
    return "\n\n".join(
        "\n".join(f"    {line}" for line in it.splitlines()[1:]) if it.startswith("\b") else it for it in paragraphs
    )


def command_line() -> str:
    """Every command with its options."""
    parts = []
    for path, command, context in _commands(cli, click.Context(cli, info_name="procession")):
        parts.append(f"{'##' if path.count(' ') < 2 else '###'} {path}\n\n{_help(command)}")
        if not isinstance(command, click.Group):
            words = " ".join(it.make_metavar(context) for it in command.params if isinstance(it, click.Argument))
            parts.append(f"```\n{path} [options] {words}".rstrip() + "\n```")
        options = [it for it in command.params if isinstance(it, click.Option)]
        records = [record for it in options if (record := it.get_help_record(context))]
        if records:
            rows = [f"| `{option.replace('|', '∣')}` | {says.replace('|', '∣')} |" for option, says in records]
            parts.append("\n".join(["| option | |", "|---|---|", *rows]))
    return "\n\n".join(parts)


def settings() -> str:
    """The tables of settings and limits, which stand in the README, and the name of each in the environment."""
    text = (HERE.parent / "README.md").read_text("utf-8")
    section = re.search(r"## Settings\n\n(.*?)\n(?:Redis ≥|## )", text, re.DOTALL)
    assert section is not None
    for name in Settings.__struct_fields__:
        prefix = name.rpartition("_")[0]
        assert f"`{name}`" in section[1] or f"`{prefix}_…`" in section[1] or name in {"host", "port", "database"}, name
    return section[1].strip().replace("(docs/", "(../")


def metrics() -> str:
    """What `/metrics` of the dashboard tells."""
    text = asyncio.run(metrics_text(Procession("memory://metrics")))
    rows = [
        f"| `{name}` | {kind} | {says} |"
        for name, says, kind in re.findall(r"# HELP (\S+) (.*)\n# TYPE \S+ (\w+)", text)
    ]
    return "\n".join(["| metric | type | |", "|---|---|---|", *rows])


PAGES = {
    "internals.md": {"moves": moves, "keys": keys},
    "connecting.md": {"rights": rights, "answers": answers},
    "reference/cli.md": {"commands": command_line},
    "reference/settings.md": {"settings": settings},
    "reference/metrics.md": {"metrics": metrics},
}


def generated(page: str, parts: dict[str, Callable[[], str]]) -> str:
    """A page with its parts as they are now."""
    for name, part in parts.items():
        block = f"<!-- {name} -->\n\n{part()}\n\n<!-- end of {name} -->"
        page = re.sub(f"<!-- {name} -->.*?<!-- end of {name} -->", lambda _, block=block: block, page, flags=re.DOTALL)
    return page


if __name__ == "__main__":
    for name, parts in PAGES.items():
        path = HERE / name
        now = path.read_text("utf-8")
        if "--check" in sys.argv and now != generated(now, parts):
            sys.exit(f"{name} is not current: run python docs/generate.py")
        path.write_text(generated(now, parts), "utf-8")
