"""`procession enqueue` and `procession jobs`: put a job in, and look after single ones."""

from __future__ import annotations

from typing import Any

import click
import msgspec

from procession.bulk import Verb
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
)
from procession.cli.trail import signed
from procession.client import Procession
from procession.enqueuer import Call, Options, check_options
from procession.errors import BadArguments, JobNotFound, UnknownJob
from procession.handle import JobHandle
from procession.job import Crash


def _value(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("target", metavar="MODULE:APP")
@click.argument("name")
@click.argument("arguments", nargs=-1)
@click.option("--queue")
@click.option("--delay", help='Such as "5m".')
@click.option("--priority", type=int)
@click.option("--attempts", type=int)
@click.option("--timeout")
@click.option("--expires")
@click.option("--jid")
@click.option("--tag", "tags", multiple=True)
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
    """Enqueue the job NAME of MODULE:APP. ARGUMENTS are JSON, a bare word is a string; `key=value` goes by name."""
    import os

    from procession.runtime.target import load_app

    for variable, value in (("PROCESSION_URL", url), ("PROCESSION_NAMESPACE", namespace)):
        if value is not None:
            os.environ[variable] = value
    app = load_app(target)
    registered = app.registry.get(name)
    if registered is None:
        raise UnknownJob(f"no job {name!r} in {target}; it has {', '.join(app.registry.names()) or 'none'}")
    args = [_value(it) for it in arguments if not _is_named(it)]
    kwargs = {key: _value(value) for key, _, value in (it.partition("=") for it in arguments if _is_named(it))}
    encoded = _encoded(registered, args, kwargs)
    given: Options = check_options({**options, "tags": list(tags) or None})  # type: ignore[typeddict-item]
    handle: JobHandle[Any] = app.enqueue(Call(registered, encoded, given))
    line = f"{handle.jid}{' (was there already)' if handle.duplicate else ''}"
    say({"jid": handle.jid, "duplicate": handle.duplicate}, line, as_json)


def _encoded(registered: Any, args: list[Any], kwargs: dict[str, Any]) -> bytes:
    """JSON from the command line, read by the annotations so that a date or a bytes value can be given as text."""
    signature = registered.signature
    try:
        named = signature.signature.bind(*args, **kwargs).arguments
    except TypeError as error:
        raise BadArguments(f"{signature}: {error}") from None
    values, by_name = signature.decode(msgspec.json.encode(named))
    encoded: bytes = signature.encode(values, by_name)
    return encoded


def _is_named(text: str) -> bool:
    key, equals, _ = text.partition("=")
    return bool(equals) and key.isidentifier()


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
        click.echo(f"{field:>13}  {bytes(value).decode() if isinstance(value, msgspec.Raw) else value}")
    for failure in job.failures:
        click.echo(f"attempt {failure.attempt}: {failure.type}: {failure.message}\n{failure.traceback}")
        if failure.crash is not None:
            click.echo(told(failure.crash))


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
    answers = {jid: bool(getattr(app, verb)(jid_of(jid))) for jid in jids}
    signed(app, verb, " ".join(jids), changed=sum(answers.values()), asked=len(answers))
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
@store_options
@json_option
def retry(
    jids: tuple[str, ...], text: str | None, yes: bool, url: str | None, namespace: str | None, as_json: bool
) -> None:
    """Queue finished jobs again: JIDS, or all that a filter lets through. Exit code 3 when one was not finished."""
    _each(jids, text, yes, "retry", "queued again", open_app(url, namespace), as_json)


@jobs.command()
@click.argument("jids", nargs=-1)
@filter_options
@store_options
@json_option
def cancel(
    jids: tuple[str, ...], text: str | None, yes: bool, url: str | None, namespace: str | None, as_json: bool
) -> None:
    """Cancel jobs, whatever their state. Exit code 3 when one was finished already."""
    _each(jids, text, yes, "cancel", "cancelled", open_app(url, namespace), as_json)


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
