"""What a no-op job costs a worker in processor time: jobs performed in this very process, the least of several rounds.

python bench/worker.py [--rounds 12] [--history]: 20,000 `async def` jobs a round on a fresh Valkey. The store is
emptied after each round, unless `--history` keeps what was processed: then the server's part shows what a full history
costs. The least of the rounds is what a busy machine disturbs least. Nothing is written; PROFILE.md says what was seen.
"""

from __future__ import annotations

import argparse
import gc
import logging
import time
from statistics import median

import uvloop
from bodies import TEXT, anoop
from observe import server_seconds
from redis import Redis
from server import valkey

from procession import Procession
from procession.runtime.queue_worker import QueueWorker

JOBS = 20_000


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--history", action="store_true", help="keep what was processed from round to round")
    asked = parser.parse_args()
    logging.basicConfig(level=logging.INFO, handlers=[logging.NullHandler()])
    worker_us, server_us = [], []
    with valkey("none") as url:
        app, server = Procession(url, namespace="bench"), Redis.from_url(url)
        noop = app.job(name="noop")(anoop)
        for _ in range(asked.rounds):
            app.enqueue_many([noop.bind(number, TEXT) for number in range(JOBS)])
            worker = QueueWorker(app, burst=True)
            gc.collect()
            gc.freeze()  # as a worker process does once its app is imported
            used, began = server_seconds(server), time.process_time()
            uvloop.run(worker.run())  # as `procession worker` does
            worker_us.append((time.process_time() - began) * 1e6 / JOBS)
            server_us.append((server_seconds(server) - used) * 1e6 / JOBS)
            if not asked.history:
                app.flush(confirm="bench")
        app.close()
    for name, each in (("worker", worker_us), ("server, claim and settle", server_us)):
        rounds = ", ".join(f"{it:.1f}" for it in each)
        print(f"{name}: {min(each):.1f} µs a job at least, median {median(each):.1f} ({rounds})")


if __name__ == "__main__":
    main()
