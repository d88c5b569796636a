"""`procession doctor` and `procession repair`: what is wrong with the store, and mending what can be mended."""

from __future__ import annotations

import click

from procession.cli.shared import FAILED, json_option, open_app, print_json, print_table, store_options, tell
from procession.cli.trail import signed
from procession.repair import Report

SIGNS = {"ok": "ok", "warning": "warning", "problem": "PROBLEM", "unknown": "unknown"}


@click.command()
@store_options
@json_option
def doctor(url: str | None, namespace: str | None, as_json: bool) -> None:
    """Look at the server and the queues, and say what to do. Changes nothing. Exit code 1 when there is a problem."""
    checks = open_app(url, namespace).doctor()
    if as_json:
        print_json(checks)
    else:
        for it in checks:
            tell(f"{SIGNS[it.grade]:>8}  {it.name}: {it.says}" + (f"\n{'':>10}→ {it.do}" if it.do else ""))
    if any(it.grade == "problem" for it in checks):
        raise click.exceptions.Exit(FAILED)


@click.command()
@click.option("--apply", is_flag=True, help="Mend it. Without this nothing is changed.")
@store_options
@json_option
def repair(apply: bool, url: str | None, namespace: str | None, as_json: bool) -> None:
    """Find where the store contradicts itself, and with --apply mend it. Exit code 1 when something was wrong."""
    app = open_app(url, namespace)
    report = app.repair(apply=apply)
    if apply:
        mended = sum(it.mended for it in report.findings)
        signed(app, "repair", app.settings.namespace, changed=mended, asked=len(report.findings))
    if as_json:
        found = [{"kind": it.kind, "where": it.where, "jid": it.jid, "mended": it.mended} for it in report.findings]
        print_json({"findings": found, "checked": report.checked, "unchecked": report.unchecked})
    else:
        _show(report, apply)
    if not report.clean:
        raise click.exceptions.Exit(FAILED)


def _show(report: Report, apply: bool) -> None:
    if report.clean:
        click.echo(f"nothing is wrong; {report.checked:,} records, entries and keys were looked at")
    else:
        rows = [(it.kind, it.where, it.jid or "", "mended" if it.mended else "") for it in report.findings]
        print_table(("what", "where", "jid", ""), rows)
        for kind, what in sorted({(it.kind, it.what) for it in report.findings}):
            tell(f"{kind}: {what}")
        if not apply:
            click.echo("nothing was changed; `procession repair --apply` mends it")
    for why in report.unchecked:
        tell(f"not checked: {why}")
