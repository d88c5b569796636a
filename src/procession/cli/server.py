"""`procession server`: the embedded Valkey of this project."""

from __future__ import annotations

import signal

import click
import msgspec

from procession.cli.shared import FAILED, json_option, print_json, say


@click.group()
def server() -> None:
    """Run, stop or look at the embedded Valkey of this project."""


@server.command()
@click.pass_context
def run(context: click.Context) -> None:
    """Run it in the foreground. Programs of the project start it by themselves, too."""
    from procession.database.redis.embedded import Server

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: the server ends, too
    context.exit(Server().run())


@server.command()
@json_option
def stop(as_json: bool) -> None:
    """Stop it; its data stays. Exit code 1 when none was running."""
    from procession.database.redis.embedded import Server

    stopped = Server().stop()
    say({"stopped": stopped}, "stopped" if stopped else "the embedded Valkey is not running", as_json)
    if not stopped:
        raise click.exceptions.Exit(FAILED)


@server.command()
@json_option
def status(as_json: bool) -> None:
    """Whether it runs. Exit code 1 when not."""
    from procession.database.redis.embedded import Server

    found = Server().status()
    if as_json:
        print_json(found)
    else:
        for name, value in msgspec.structs.asdict(found).items():
            click.echo(f"{name:>8}  {value}")
    if not found.running:
        raise click.exceptions.Exit(FAILED)
