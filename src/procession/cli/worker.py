"""`procession worker`: the supervisor and its queue workers."""

from __future__ import annotations

import logging
import os

import click

from procession.cli.shared import store_options


@click.command()
@click.argument("target", metavar="MODULE:APP")
@click.option(
    "-q",
    "--queue",
    "queues",
    multiple=True,
    help="Serve this queue (repeatable); default: all that the app's jobs name.",
)
@click.option("--concurrency", type=click.IntRange(1), help="Jobs at once in one process (100).")
@click.option("--threads", type=click.IntRange(1), help="Threads for `def` jobs in one process (16).")
@click.option("--processes", type=click.IntRange(1), help="Worker processes (1).")
@click.option(
    "--job-processes", type=click.IntRange(1), help="Processes for jobs with executor='process' (one for each CPU)."
)
@click.option("--burst", is_flag=True, help="End when nothing is ready any more.")
@click.option("-v", "--verbose", is_flag=True, help="Log every job, however fast they come.")
@click.option("--quiet", is_flag=True, help="Log warnings and failures only.")
@store_options
@click.pass_context
def worker(
    context: click.Context,
    target: str,
    queues: tuple[str, ...],
    concurrency: int | None,
    threads: int | None,
    processes: int | None,
    job_processes: int | None,
    burst: bool,
    verbose: bool,
    quiet: bool,
    url: str | None,
    namespace: str | None,
) -> None:
    """Perform the jobs of MODULE:APP, such as shop.jobs:app.

    The first SIGTERM or Ctrl-C finishes what runs (25 s), the second releases it at once.
    """
    from procession.names import check_queue
    from procession.runtime.joblog import log_to_stderr
    from procession.runtime.supervisor import Supervisor
    from procession.runtime.target import load_app

    # The children read the same settings as we do, so what was given here reaches them as environment.
    given = {"URL": url, "NAMESPACE": namespace, "JOB_PROCESSES": job_processes}
    os.environ.update({f"PROCESSION_{name}": str(value) for name, value in given.items() if value is not None})
    level = logging.WARNING if quiet else logging.INFO
    log_to_stderr(level)
    for queue in queues:
        check_queue(queue)
    supervisor = Supervisor(
        load_app(target),
        target,
        queues=queues,
        concurrency=concurrency,
        threads=threads,
        processes=processes,
        burst=burst,
        verbose=verbose,
        log_level=level,
    )
    context.exit(supervisor.run())
