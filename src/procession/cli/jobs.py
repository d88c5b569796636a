"""`procession enqueue` and `procession jobs`: put a job in, and look after single ones."""

from __future__ import annotations

from typing import Any

import click
import msgspec

from procession.bulk import Verb
from procession.cli.calling import Words, called, open_target
from procession.cli.filtered import FilterGroup, change, filter_options, list_jobs
from procession.cli.shared import (
    jid_of,
    job_fields,
    json_option,
    moment,
    open_app,
    print_json,
    say,
    store_options,
    tell,
)
from procession.cli.trail import signed
from procession.client import Procession
from procession.enqueuer import Options, check_options
from procession.errors import JobNotFound
from procession.handle import JobHandle
from procession.job import Crash


@click.command(cls=Words, context_settings={"ignore_unknown_options": True})
@click.argument("target", metavar="MODULE:APP")
@click.argument("name")
@click.argument("arguments", nargs=-1)
@click.option("--queue", help="Where it waits (that of the job).")
@click.option("--delay", help='Run it no sooner than after this time, such as "5m".')
@click.option("--priority", type=int, help="-100 to 100; the higher goes first (that of the job).")
@click.option("--attempts", type=int, help="Runs at most (those of the job).")
@click.option("--timeout", help='How long a run may take, such as "30s" (that of the job); 0 lifts it.')
@click.option("--expires", help="Cancel it if its first run has not begun within this time (never).")
@click.option("--jid", help="Its id, a UUID: enqueued twice, it is there once.")
@click.option("--tag", "tags", multiple=True, help="A tag to find it by (repeatable).")
@click.option("--durability", type=click.Choice(["memory", "fsync", "replica"]), help="What to wait for (memory).")
@store_options
@json_option
def enqueue(
    target: str,
    name: str,
    arguments: tuple[str, ...],
    url: str | None,
    namespace: str | None,
    as_json: bool,
    tags: tuple[str, ...],
    **options: Any,
) -> None:
    """Enqueue the job NAME of MODULE:APP. ARGUMENTS are JSON, a bare word is a string; `key=value` goes by name.

    Behind a lone `--` all words are ARGUMENTS.
    """
    app = open_target(target, url, namespace)
    given: Options = check_options({**options, "tags": list(tags) or None})  # type: ignore[typeddict-item]
    handle: JobHandle[Any] = app.enqueue(called(app, name, arguments, given))
    line = f"{handle.jid}{' (was there already)' if handle.duplicate else ''}"
    say({"jid": handle.jid, "duplicate": handle.duplicate}, line, as_json)


@click.group(cls=FilterGroup)
def jobs() -> None:
    """List, show, retry, cancel and remove jobs. `jobs FILTER` is short for `jobs list FILTER`."""


jobs.add_command(list_jobs)


@jobs.command()
@click.argument("jid")
@store_options
@json_option
def show(jid: str, url: str | None, namespace: str | None, as_json: bool) -> None:
    """Everything that is stored of one job."""
    job = open_app(url, namespace).find_job(jid_of(jid))
    if job is None:
        raise JobNotFound(f"no job {jid}")
    if as_json:
        print_json(job_fields(job))
        return
    fields = job_fields(job)
    fields.pop("failures")
    for field, value in fields.items():
        if field.endswith("_at"):
            value = moment(value)
        tell(f"{field:>13}  {bytes(value).decode() if isinstance(value, msgspec.Raw) else value}")
    for failure in job.failures:
        tell(f"attempt {failure.attempt}: {failure.type}: {failure.message}\n{failure.traceback}")
        if failure.crash is not None:
            tell(told(failure.crash))


def told(crash: Crash) -> str:
    """The dossier of a crash as lines to read: what is not known is not mentioned."""
    facts = [
        f"how it ended: {crash.how}",
        f"process {crash.pid} on {crash.host}" if crash.pid else "",
        f"peak memory: {crash.memory / 1e6:.0f} MB" if crash.memory else "",
        f"jobs beside it: {crash.beside}" if crash.beside else "",
    ]
    lines = [f"  {fact}" for fact in facts if fact]
    if crash.log:
        lines += ["  its last log lines:", *(f"    {line}" for line in crash.log)]
    if crash.stack:
        lines += ["  its stacks:", *(f"    {line}" for line in crash.stack.splitlines())]
    return "\n".join(lines)


def _each(
    jids: tuple[str, ...], text: str | None, yes: bool, verb: Verb, done: str, app: Procession, as_json: bool
) -> None:
    """One verb on the jids given, or on all jobs of a filter."""
    if bool(jids) == (text is not None):
        raise click.UsageError(f"give jids, or --filter: procession jobs {verb} --filter 'state:failed queue:mail'")
    if text is not None:
        change(app, verb, text, yes=yes, as_json=as_json)
        return
    answers = {str(jid): bool(getattr(app, verb)(jid)) for jid in dict.fromkeys(map(jid_of, jids))}
    signed(app, verb, " ".join(answers), changed=sum(answers.values()), asked=len(answers))
    if as_json:
        print_json(answers)
    else:
        for jid, changed in answers.items():
            click.echo(f"{jid} {done if changed else 'left as it is: not there, or not in a state for this'}")
    if not all(answers.values()):
        raise click.exceptions.Exit(3)


@jobs.command()
@click.argument("jids", nargs=-1)
@filter_options
@click.option("--args", "edited", metavar="JSON", help='With other arguments, all of them: {"to": "ada@example.org"}.')
@click.option("--app", "target", metavar="MODULE:APP", help="With --args: whose job it is, so that they are checked.")
@store_options
@json_option
def retry(
    jids: tuple[str, ...],
    text: str | None,
    yes: bool,
    edited: str | None,
    target: str | None,
    url: str | None,
    namespace: str | None,
    as_json: bool,
) -> None:
    """Queue finished jobs again: JIDS, or all that a filter lets through. Exit code 3 when one was not finished."""
    if edited is None:
        if target is not None:
            raise click.UsageError("--app says whose arguments --args are; give both")
        _each(jids, text, yes, "retry", "queued again", open_app(url, namespace), as_json)
        return
    if len(jids) != 1 or text is not None:
        raise click.UsageError("--args are those of one job: procession jobs retry JID --args JSON")
    app = open_app(url, namespace) if target is None else open_target(target, url, namespace)
    changed = app.retry(jid_of(jids[0]), args=_object(edited))
    signed(app, "edit", jids[0], changed=int(changed))
    line = "queued again" if changed else "left as it is: not there, not finished, or its unique key is taken"
    say({jids[0]: changed}, f"{jids[0]} {line}", as_json)
    if not changed:
        raise click.exceptions.Exit(3)


def _object(text: str) -> dict[str, Any]:
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise click.BadParameter(f"--args is not a JSON object of parameter names: {error}") from None


@jobs.command()
@click.argument("jids", nargs=-1)
@filter_options
@store_options
@json_option
def cancel(
    jids: tuple[str, ...], text: str | None, yes: bool, url: str | None, namespace: str | None, as_json: bool
) -> None:
    """Cancel jobs, whatever their state. Exit code 3 when one was finished already."""
    _each(jids, text, yes, "cancel", "cancelled, or told to stop where it runs", open_app(url, namespace), as_json)


@jobs.command()
@click.argument("jids", nargs=-1)
@filter_options
@store_options
@json_option
def remove(
    jids: tuple[str, ...], text: str | None, yes: bool, url: str | None, namespace: str | None, as_json: bool
) -> None:
    """Forget jobs altogether. Exit code 3 when one is running or not there."""
    _each(jids, text, yes, "remove", "removed", open_app(url, namespace), as_json)
