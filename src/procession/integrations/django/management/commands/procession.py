"""`manage.py procession worker`, and every other command of `procession`, with the store of Django's settings."""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any

import click
from django.core.management.base import BaseCommand, CommandError, CommandParser

from procession.cli import cli
from procession.cli.shared import FAILED, USAGE
from procession.errors import ConfigError
from procession.integrations.django.target import backend_of

NEED_A_TARGET = ("worker", "enqueue", "check")


class Command(BaseCommand):
    """See above."""

    help = "Procession's command line (worker, jobs, queues, stats, web …) with the store of TASKS."

    def add_arguments(self, parser: CommandParser) -> None:
        """Everything behind `procession` is for its own command line."""
        parser.add_argument("--backend", default="default", help="An alias of TASKS; say it before the command.")
        parser.add_argument("words", nargs=argparse.REMAINDER, help="worker, jobs, stats, web …; --help says more.")

    def handle(self, *args: Any, words: list[str], backend: str, **options: Any) -> None:
        """Run one command of ours."""
        try:
            chosen = backend_of(backend)
            settings = chosen.app.settings
        except ConfigError as error:
            raise CommandError(str(error), returncode=USAGE) from error
        os.environ["PROCESSION_URL"], os.environ["PROCESSION_NAMESPACE"] = settings.url, settings.namespace
        if words and words[0] in NEED_A_TARGET and "--help" not in words:
            words = [words[0], f"procession.integrations.django.target:{backend}", *words[1:]]
            told = settings.queues or any(it == "--queue" or it.startswith(("-q", "--queue=")) for it in words)
            if words[0] == "worker" and not told:
                for queue in sorted(chosen.queues):
                    words += ["-q", queue]
        try:
            code = cli(words, prog_name="manage.py procession", standalone_mode=False)
        except click.ClickException as error:
            raise CommandError(error.format_message(), returncode=error.exit_code) from error
        except click.Abort as error:
            raise CommandError("aborted", returncode=FAILED) from error
        if isinstance(code, int) and code:
            sys.exit(code)
