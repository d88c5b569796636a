"""`procession jobs FILTER`, and `jobs retry|cancel|remove --filter FILTER`: many jobs by what they are.

Prints what `search.py` finds and steps through what `bulk.py` changes. Commands on single jids are in `jobs.py`.
"""

from __future__ import annotations

import sys
from typing import Any

import click

from procession.bulk import Preview, Verb
from procession.cli.completion import filter_terms
from procession.cli.shared import (
    job_fields,
    json_option,
    moment,
    open_app,
    print_json,
    print_table,
    store_options,
    tell,
)
from procession.cli.trail import signed
from procession.client import Procession
from procession.job import Job, State
from procession.query import Every, Filter, Term, parse

DONE: dict[Verb, str] = {"retry": "queued again", "cancel": "cancelled", "remove": "removed"}


class FilterGroup(click.Group):
    """A group whose first word is a filter when it is none of its commands: `jobs 'state:failed'` lists."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if self.get_command(ctx, args[0]) is None:
            args = ["list", *args]
        return super().resolve_command(ctx, args)


def filter_options(command: Any) -> Any:
    """`--filter` and `--yes`, on the commands that change many jobs."""
    command = click.option("--yes", is_flag=True, help="Do not ask.")(command)
    return click.option(
        "--filter", "text", metavar="FILTER", help="All jobs that it lets through.", shell_complete=filter_terms
    )(command)


@click.command("list")
@click.argument("text", nargs=-1, metavar="[FILTER]...", shell_complete=filter_terms)
@click.option("--state", type=click.Choice([state.value for state in State]), help="The same as state:…")
@click.option("--queue", help="The same as queue:…")
@click.option("--name", help="The same as job:…")
@click.option("--cursor", help="Go on where the last page ended.")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True)
@store_options
@json_option
def list_jobs(
    text: tuple[str, ...],
    state: str | None,
    queue: str | None,
    name: str | None,
    cursor: str | None,
    limit: int,
    url: str | None,
    namespace: str | None,
    as_json: bool,
) -> None:
    """The jobs that FILTER lets through, such as `state:failed queue:mail since:2h`; without any, the failed ones."""
    tree = _rewritten(" ".join(text), state=state, queue=queue, job=name)
    found = open_app(url, namespace).search(tree, cursor=cursor, limit=limit)
    if as_json:
        jobs = [job_fields(job) for job in found.jobs]
        print_json({"filter": str(tree), "jobs": jobs, "cursor": found.cursor, "scanned": found.scanned})
        return
    rows = [
        (job.jid, job.state, job.name or "(undecodable)", job.queue, job.attempt, moment(_when(job)), _note(job))
        for job in found.jobs
    ]
    print_table(("jid", "state", "name", "queue", "attempt", "since", "note"), rows)
    if found.cursor:
        looked = "" if found.jobs else f"none among the first {found.scanned:,} jobs; "
        click.echo(f"{looked}more: --cursor {found.cursor}")


def _rewritten(text: str, **options: str | None) -> Filter:
    """The filter of the words and of the options, which say the same in a longer way."""
    given = [Term(key, (value,)) for key, value in options.items() if value]
    if not text.strip() and not given:
        given.append(Term("state", ("failed",)))
    parts = ([parse(text)] if text.strip() else []) + given
    return parts[0] if len(parts) == 1 else Every(tuple(parts))


def _when(job: Job) -> int:
    return job.finish_at or (job.due_at if job.state is State.DELAYED else 0) or job.start_at or job.enqueued_at


def _note(job: Job) -> str:
    text = (job.error if job.state is State.FAILED else None) or job.reason
    return text.splitlines()[0][:80] if text else ""


def change(app: Procession, verb: Verb, text: str, *, yes: bool, as_json: bool) -> None:
    """Preview, ask, and step through, with progress on stderr."""
    bulk = app.bulk(verb, text)
    if not yes:
        _show(bulk.preview(), DONE[verb])
        click.confirm(f"{verb} them?", abort=True, err=True)
    try:
        for progress in bulk:
            if sys.stderr.isatty():
                click.echo(f"\r{progress.changed:,} {DONE[verb]}, {progress.scanned:,} looked at", err=True, nl=False)
    finally:  # what was changed before somebody stopped it is changed
        if sys.stderr.isatty():
            click.echo("", err=True)
        if bulk.progress.done or bulk.progress.changed:
            signed(app, verb, text, changed=bulk.progress.changed, asked=bulk.progress.changed)
    if as_json:
        print_json(bulk.progress)
    else:
        click.echo(f"{bulk.progress.changed:,} jobs {DONE[verb]}")


def _show(preview: Preview, done: str) -> None:
    about = "" if preview.exact else "at least "
    click.echo(f"{about}{preview.count:,} jobs would be {done}:", err=True)
    for name, count in [*preview.names.items()][:20]:
        tell(f"  {count:>9,}  {name}", err=True)
    for job in preview.samples:
        tell(f"  for example {job.jid}  {job.state}  {job.name}  {_note(job)}".rstrip(), err=True)
