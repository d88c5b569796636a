"""Measures one figure of one contestant, in the contestant's own virtual environment: prints one line of JSON.

python -m measure FIGURE MODULE OPTIONS, as `run.py` calls it, with BENCH_URL (and BENCH_DSN) in the environment.

A contestant is a module with some of these words; a figure whose words it lacks is a dash in the tables.

- `LEAST_ONCE`, `SETTINGS`: is a job performed again when its worker is killed, and what was set up how.
- `left(store)`: jobs not settled yet, read from the store; `store` is a redis-py client, None for PostgreSQL.
- `prepare()`: what has to be there before the first enqueue.
- `enqueue_one(n)`, `enqueue_one_async(n)`, `enqueue_gathered(n)`, `enqueue_bulk(n)`: n no-op jobs, each in its way.
- `enqueue_stamp(due)`, or `enqueue_stamps(n, pause)` where the client is not Python: jobs that say how late they began.
- `enqueue_delayed(instants)`, `enqueue_naps(n)`, `enqueue_burns(n, rounds)`.
- `worker(processes=, concurrency=, threads=)`: the command that performs jobs; one that cannot start several processes
  leaves the word out, and is called once for each.
"""

from __future__ import annotations

import importlib
import json
import os
import sys

TAG = "bench"


def url() -> str:
    """Where the store of this run is."""
    return os.environ["BENCH_URL"]


def main() -> None:
    """Import figure and contestant, measure, print."""
    figure, module, options = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
    contestant = importlib.import_module(module)
    taken = importlib.import_module(f"figures.{figure}").measure(contestant, **options)
    print(json.dumps(taken))


if __name__ == "__main__":
    main()
