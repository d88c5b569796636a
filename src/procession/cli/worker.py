"""`procession worker`: the supervisor and its queue workers."""

from __future__ import annotations

import logging
import os
import signal
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from procession.cli.calling import open_target
from procession.cli.reload import reloading
from procession.cli.shared import store_options

if TYPE_CHECKING:
    from procession.runtime.condition import Told


@click.command()
@click.argument("target", metavar="MODULE:APP")
@click.option(
    "-q",
    "--queue",
    "queues",
    multiple=True,
    metavar="QUEUE[:SHARE]",
    help="Serve this queue (repeatable); default: all that the app's jobs name. Shares say how many jobs of each are"
    " begun while all have work: -q critical:6 -q low:1.",
)
@click.option("--strict", is_flag=True, help="Serve a queue only when those given before it have nothing.")
@click.option("--ageing", help='Count a waiting job one priority higher per such time, such as "10m" (never).')
@click.option("--concurrency", type=click.IntRange(1), help="Jobs at once in one process (100).")
@click.option("--threads", type=click.IntRange(1), help="Threads for `def` jobs in one process (16).")
@click.option("--processes", type=click.IntRange(1), help="Worker processes (1).")
@click.option("--max-jobs", type=click.IntRange(0), help="Renew a process after this many jobs (never).")
@click.option("--max-age", help='Renew a process after this time, such as "12h" (never).')
@click.option("--max-rss", help='Renew a process that holds this much memory, such as "500MB" (never).')
@click.option(
    "--job-processes", type=click.IntRange(1), help="Processes for jobs with executor='process' (one for each CPU)."
)
@click.option("--burst", is_flag=True, help="End when nothing is ready any more.")
@click.option("--reload", is_flag=True, help="For development: renew the processes when Python files here change.")
@click.option("--allow-eviction", is_flag=True, help="Begin even if the store throws keys away when it is full.")
@click.option("--health", metavar="[HOST:]PORT", help="Answer /livez, /readyz and /scaling there (HOST: 127.0.0.1).")
@click.option("-v", "--verbose", is_flag=True, help="Log every job, however fast they come.")
@click.option("--quiet", is_flag=True, help="Log warnings and failures only.")
@store_options
@click.pass_context
def worker(
    context: click.Context,
    target: str,
    queues: tuple[str, ...],
    strict: bool,
    ageing: str | None,
    concurrency: int | None,
    threads: int | None,
    processes: int | None,
    max_jobs: int | None,
    max_age: str | None,
    max_rss: str | None,
    job_processes: int | None,
    burst: bool,
    reload: bool,
    allow_eviction: bool,
    health: str | None,
    verbose: bool,
    quiet: bool,
    url: str | None,
    namespace: str | None,
) -> None:
    """Perform the jobs of MODULE:APP, such as shop.jobs:app.

    The first SIGTERM or Ctrl-C finishes what runs (25 s), the second releases it at once. SIGHUP renews the processes
    one by one, the replacement first, so that they run the code that is there now.

    Exit codes: 0 ended as asked, 1 a process died or had to be killed while it ended, 3 none could begin.
    """
    _open_streams()
    # Until the supervisor listens there is nothing to finish.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: os._exit(0))
    from procession.clock import milliseconds
    from procession.integrations.systemd import Notify
    from procession.runtime.child import CANNOT_BEGIN
    from procession.runtime.joblog import log_to_stderr
    from procession.runtime.supervisor import Supervisor
    from procession.runtime.wear import Wear
    from procession.serving import check_order, shares_of

    # The children read the same settings as we do, so what was given here reaches them as environment.
    given = {"JOB_PROCESSES": job_processes, "ALLOW_EVICTION": "true" if allow_eviction else None}
    os.environ.update({f"PROCESSION_{name}": str(value) for name, value in given.items() if value is not None})
    level = logging.WARNING if quiet else logging.INFO
    log_to_stderr(level)
    shares = shares_of(queues)
    app = open_target(target, url, namespace, CANNOT_BEGIN)
    check_order("strict" if strict else app.settings.queue_order, shares or shares_of(app.settings.queues))
    milliseconds(ageing or 0, "ageing")
    Wear.of(app.settings, max_jobs=max_jobs, max_age=max_age, max_rss=max_rss)  # wrong ones are refused here
    with ExitStack() as stack:
        told: list[Told] = [*Notify.of(os.environ)]
        if health is not None:
            from procession.integrations.health import HealthServer

            told.append(stack.enter_context(HealthServer(app, health)))
        supervisor = Supervisor(
            app,
            target,
            queues=queues,
            queue_order="strict" if strict else None,
            ageing=ageing,
            concurrency=concurrency,
            threads=threads,
            processes=processes,
            wear={"max_jobs": max_jobs, "max_age": max_age, "max_rss": max_rss},
            burst=burst,
            verbose=verbose,
            log_level=level,
            told=told,
        )
        if reload:
            stack.enter_context(reloading(Path.cwd(), supervisor.reload))
        code = supervisor.run()
    # Nothing is left to finish, and Python takes handlers away before it ends: one more signal must not kill it.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    context.exit(code)


def _open_streams() -> None:
    """Standard streams that were closed lead nowhere from now on, here and in what we start: what takes their numbers
    would be written to by whatever prints."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # it gets the lowest number that is free
