"""Every `procession …` line of the README and the pages is one that the command line understands."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from procession.cli import cli

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PLACES = ("JID", "FILE", "FILTER", "NAME", "…")
"""What stands for something else on a page."""


def lines_of(page: Path) -> Iterator[str]:
    for block in re.findall(r"```console.*?\n(.*?)```", page.read_text("utf-8"), re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            command = line.removeprefix("$ ").partition(" #")[0].partition(" | ")[0].strip()
            if command.startswith("procession "):
                yield command


def understood(words: list[str]) -> None:
    """Raises ClickException where the command line would."""
    command: click.Command = cli
    context = click.Context(cli, info_name="procession")
    while isinstance(command, click.Group) and words:
        _, found, words = command.resolve_command(context, words)
        assert found is not None
        command, context = found, click.Context(found, parent=context)
    if not isinstance(command, click.Group):
        command.make_context(command.name, words, resilient_parsing=bool(set(words) & set(PLACES)))


def test_what_the_command_line_does_not_know_is_noticed() -> None:
    for wrong in ("worker", "workers --nope", "schedules vanish nightly", "web --port many"):
        with pytest.raises(click.ClickException):
            understood(shlex.split(wrong))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_commands_of_a_page_are_understood(page: Path) -> None:
    for line in lines_of(page):
        try:
            understood(shlex.split(line)[1:])
        except click.ClickException as error:
            pytest.fail(f"{line}: {error.format_message()}")
