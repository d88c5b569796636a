"""How a command ends that could not do what it was asked: a line on stderr and an exit code, whoever runs the commands:
`procession`, Flask or Django. Knows our errors; prints nothing that went well.
"""

from __future__ import annotations

from typing import IO, Any

import click

from procession.cli.shared import FAILED, NOT_FOUND, UNAVAILABLE, USAGE
from procession.errors import (
    ConfigError,
    DatabaseError,
    EnqueueError,
    JobNotFound,
    ProcessionError,
    Refused,
    UnknownJob,
    UnknownSchedule,
    UnknownWorker,
)
from procession.terminal import plain


class Ended(click.ClickException):
    """It ends with this line and this code."""

    def __init__(self, line: str, code: int) -> None:
        super().__init__(line)
        self.exit_code = code  # type: ignore[misc]  # to click it is the class that has one

    def show(self, file: IO[Any] | None = None) -> None:
        """See `click.ClickException.show`."""
        click.echo(plain(f"procession: {self.message}"), file=file, err=True)


class CommandLine(click.Group):
    """Commands whose errors of ours end them as those of click do."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """See `click.Command.parse_args`."""
        for word in args:
            if any("\ud800" <= it <= "\udfff" for it in word):  # bytes that the system's encoding has no letters for
                raise click.UsageError(f"{word!r} is no text", ctx)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """See `click.Group.invoke`."""
        try:
            return super().invoke(ctx)
        except ProcessionError as error:
            raise Ended(str(error), _code(error)) from error


def _code(error: ProcessionError) -> int:
    if isinstance(error, JobNotFound | UnknownJob | UnknownSchedule | UnknownWorker):
        return NOT_FOUND
    if isinstance(error, DatabaseError | Refused) or isinstance(error.__cause__, DatabaseError):
        return UNAVAILABLE
    if isinstance(error, ConfigError | EnqueueError):
        return USAGE
    return FAILED
