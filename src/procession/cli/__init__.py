"""The command line: thin calls of `Procession`, one file per group of commands.

Exit codes: 0 done · 1 it failed · 2 wrong usage or setting · 3 not found · 4 the store is away or refuses. Errors of
ours are one line on stderr. `--json` on everything that prints.
"""

from __future__ import annotations

import errno
import os
import sys
from io import TextIOWrapper
from pathlib import Path

import click

from procession.cli import (
    check,
    completion,
    config,
    demo,
    doctor,
    insight,
    jobs,
    logs,
    queues,
    schedules,
    server,
    trail,
    web,
    why,
    worker,
    workers,
)
from procession.cli.ending import CommandLine
from procession.cli.shared import FAILED, tell
from procession.cli.top import top

EPILOG = """Exit codes: 0 done, 1 it failed, 2 wrong usage or setting, 3 not found, 4 the store is away or refuses.

Settings: arguments, then PROCESSION_* variables, then [tool.procession] in pyproject.toml, then defaults."""


@click.group(cls=CommandLine, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="procession")
def cli() -> None:
    """Background jobs on Redis or Valkey: run workers, enqueue, look, steer."""


for command in (
    worker.worker,
    jobs.enqueue,
    jobs.jobs,
    logs.logs,
    logs.watch,
    why.why,
    queues.stats,
    queues.queues,
    workers.workers,
    trail.trail,
    queues.flush,
    schedules.schedules,
    insight.errors,
    insight.history,
    check.check,
    doctor.doctor,
    doctor.repair,
    server.server,
    demo.demo,
    web.web,
    top,
    config.config,
    completion.completion,
):
    cli.add_command(command)


def main() -> None:
    """Run the command line."""
    if sys.stdout is None:  # whoever closed it wants to read nothing
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115  # it is needed to the end
    if isinstance(sys.stdout, TextIOWrapper):  # a terminal of another encoding is shown escapes, as stderr does it
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        cli()
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # so that the exit does not write it once more
        tell(f"procession: what was said cannot be written: {error}", err=True)
        sys.exit(FAILED)
