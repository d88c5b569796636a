"""`procession check`: does the code to be deployed fit what is in the store?"""

from __future__ import annotations

import click
import msgspec

from procession.check import Checked
from procession.cli.calling import open_target
from procession.cli.shared import FAILED, json_option, print_json, store_options, tell
from procession.inquiry import CHECKED


@click.command()
@click.argument("target", metavar="MODULE:APP")
@click.option(
    "-q", "--queue", "queues", multiple=True, help="A queue that the new workers serve, as they are told (repeatable)."
)
@click.option(
    "--limit", type=click.IntRange(0), default=CHECKED, show_default=True, help="Jobs of each state to look at; 0: all."
)
@store_options
@json_option
def check(
    target: str, queues: tuple[str, ...], limit: int, url: str | None, namespace: str | None, as_json: bool
) -> None:
    """Compare MODULE:APP with the jobs and schedules in the store, before a deploy. Changes nothing.

    Looks for names that the code does not have, arguments that no longer fit, queues that nobody serves, and schedules
    of jobs that are gone. Exit code 1 when there is a problem. What has failed already is only warned of, and so are
    schedules that stood in code and do not any more.
    """
    app = open_target(target, url, namespace)
    checked = app.check(queues=queues, limit=limit or None)
    if as_json:
        where = {"store": app.settings.shown_url, "namespace": app.settings.namespace}
        print_json({"fits": checked.fits, **where, **msgspec.structs.asdict(checked)})
    else:
        _show(checked, f"{app.settings.shown_url}, namespace {app.settings.namespace}")
    if not checked.fits:
        raise click.exceptions.Exit(FAILED)


def _show(checked: Checked, where: str) -> None:
    for it in checked.findings:
        sign = "PROBLEM" if it.grade == "problem" else "warning"
        states = ", ".join(f"{number:,} {state}" for state, number in it.states.items())
        what = f"{it.kind} {it.name}" if it.kind in ("schedule", "queue") else it.name or "?"
        tell(f"{sign:>8}  {what}: {it.says}")
        tell(f"{'':>10}{states}{': ' if it.samples else ''}{', '.join(it.samples)}")
        tell(f"{'':>10}→ {it.do}")
    if checked.left_out:
        click.echo(f"{'':>10}and {checked.left_out:,} jobs with other findings; mend these first")
    looked_at = ", ".join(f"{number:,} {what}" for what, number in checked.looked_at.items() if number)
    more = "" if checked.complete else "; there are more jobs (--limit 0 looks at all)"
    verdict = "the code fits what is in the store" if checked.fits else "the code does not fit what is in the store"
    click.echo(f"{verdict} ({where}); looked at {looked_at or 'nothing: it is empty'}{more}")
