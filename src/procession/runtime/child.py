"""One queue worker in a process of its own: what the supervisor starts. Its stdin is a pipe that ends with the
supervisor.

Exit codes: 0 done, 1 the store refused us, 3 it could not begin (the app cannot be imported, a wrong setting).
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import json
import logging
import os
import signal
import sys
import threading
from typing import Any

from procession.errors import DatabaseError, ProcessionError
from procession.runtime.joblog import log_to_stderr
from procession.runtime.queue_worker import QueueWorker
from procession.runtime.target import load_app

CANNOT_BEGIN = 3


def main() -> int:
    """Run the queue worker described by the JSON in the first argument."""
    asked: dict[str, Any] = json.loads(sys.argv[1])
    log_to_stderr(asked["log_level"])
    faulthandler.register(signal.SIGUSR1, all_threads=True)  # works even while C code keeps the interpreter's lock
    try:
        app = load_app(asked["target"])
        worker = QueueWorker(
            app,
            target=asked["target"],
            queues=asked["queues"],
            concurrency=asked["concurrency"],
            threads=asked["threads"],
            burst=asked["burst"],
            worker_id=asked["worker_id"],
            verbose=asked["verbose"],
            pulse=asked["pulse"],
        )
    except ProcessionError as error:
        print(f"procession: {error}", file=sys.stderr)
        return CANNOT_BEGIN
    except Exception:
        logging.getLogger("procession").exception("cannot import %s", asked["target"])
        return CANNOT_BEGIN
    try:
        _run(worker)
    except DatabaseError as error:
        print(f"procession: {error}", file=sys.stderr)
        return 1
    return 0


def _run(worker: QueueWorker) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        for name in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(name, worker.stop)
        running = asyncio.ensure_future(worker.run())
        await asyncio.sleep(0)
        threading.Thread(target=_until_orphaned, args=(worker,), name="procession-parent", daemon=True).start()
        await running

    try:
        import uvloop
    except ImportError:
        asyncio.run(main())
    else:
        uvloop.run(main())


def _until_orphaned(worker: QueueWorker) -> None:
    try:
        while os.read(0, 1024):
            pass
    except OSError:
        pass
    logging.getLogger("procession.worker").warning("the supervisor is gone; finishing what runs")
    with contextlib.suppress(RuntimeError):  # the loop may have ended already
        worker.request_stop()


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # a thread that outlived its timeout must not keep the process
