"""`procession workers`: who is alive; and orders to them: quiet, resume, stop, stack."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import click

from procession.cli.shared import (
    Overview,
    json_option,
    moment,
    open_app,
    print_json,
    print_table,
    store_options,
    tell,
    user,
)
from procession.cli.trail import signed
from procession.client import Procession
from procession.database import WorkerInfo
from procession.errors import UnknownWorker


@click.group(cls=Overview, invoke_without_command=True)
@store_options
@json_option
@click.pass_context
def workers(context: click.Context, url: str | None, namespace: str | None, as_json: bool) -> None:
    """The queue workers that are alive; tell them to be quiet, to resume, to stop, or to show their stack.

    WORKER is a worker's name, or an ending of it that no other has.
    """
    if context.invoked_subcommand is not None:
        return
    found = open_app(url, namespace).workers()
    if as_json:
        print_json(found)
        return
    rows = [
        (
            it.id, ",".join(it.queues), f"{it.running}/{it.concurrency}", it.lost, f"{it.memory / 1e6:.0f} MB",
            moment(it.beat_at), _quiet(it),
        )
        for it in found
    ]  # fmt: skip
    print_table(("worker", "queues", "running", "lost", "memory", "last beat", ""), rows)


def _quiet(worker: WorkerInfo) -> str:
    by = f" by {worker.quiet_by}" if worker.quiet_by else ""
    return f"quiet since {moment(worker.quiet_at)}{by}" if worker.quiet_at else ""


def _order_options(command: Any) -> Any:
    command = json_option(store_options(command))
    command = click.option("--by", help="Who; by default the name of the user.")(command)
    command = click.option("--all", "all_", is_flag=True, help="Every worker that is alive.")(command)
    return click.argument("names", nargs=-1, metavar="[WORKER]...")(command)


@workers.command()
@_order_options
def quiet(**words: Any) -> None:
    """Claim nothing more; what runs finishes. The worker stays alive until `resume` or `stop`."""
    _tell("quiet", "is told to be quiet", lambda app: app.quiet_worker, **words)


@workers.command()
@_order_options
def resume(**words: Any) -> None:
    """Undo quiet."""
    _tell("resume", "is told to claim again", lambda app: app.resume_worker, **words)


@workers.command()
@_order_options
def stop(**words: Any) -> None:
    """Finish what runs, within the grace, and end. Its supervisor starts no other in its place."""
    _tell("stop", "is told to stop", lambda app: app.stop_worker, **words)


@workers.command()
@click.argument("worker")
@click.option("--jid", help="Only this job.")
@click.option("--timeout", default="10s", show_default=True, help="How long to wait for the answer.")
@store_options
@json_option
def stack(
    worker: str, jid: str | None, timeout: str, url: str | None, namespace: str | None, as_json: bool
) -> None:
    """Where the code of what runs on WORKER is now: threads, tasks and job processes."""
    app = open_app(url, namespace)
    (name,) = _named(app, [worker])
    found = app.stack(name, jid, timeout, by=user())
    signed(app, "stack", name)
    if as_json:
        print_json({"worker": name, "at": found.at, "stack": found.text})
    else:
        tell(found.text)


def _tell(
    verb: str,
    said: str,
    call: Callable[[Procession], Callable[..., None]],
    *,
    names: tuple[str, ...],
    all_: bool,
    by: str | None,
    url: str | None,
    namespace: str | None,
    as_json: bool,
) -> None:
    if bool(names) == all_:
        raise click.UsageError(f"name workers, or --all: procession workers {verb} WORKER")
    app, who = open_app(url, namespace), user() if by is None else by
    found = [it.id for it in app.workers()] if all_ else _named(app, names)
    for name in found:
        call(app)(name, who)
    if found:
        what = verb if verb == "quiet" else f"{verb}-worker"  # queues are resumed, too
        signed(app, what, " ".join(found), changed=len(found), asked=len(found), who=who)
    if as_json:
        print_json(dict.fromkeys(found, True))
    else:
        for name in found:
            tell(f"{name} {said}")


def _named(app: Procession, names: Sequence[str]) -> list[str]:
    return [*map(partial(_one, [it.id for it in app.workers()]), names)]


def _one(known: Sequence[str], name: str) -> str:
    fitting = [it for it in known if it == name] or [it for it in known if it.endswith(name)]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise click.BadParameter(f"{name!r} is the ending of {len(fitting)} workers: {', '.join(fitting[:3])} …")
    raise UnknownWorker(f"no worker {name!r} is alive; `procession workers` lists those that are")
