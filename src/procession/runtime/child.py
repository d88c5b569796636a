"""One queue worker in a process of its own: what the supervisor starts. Its stdin is a pipe that ends with the
supervisor.

Exit codes: 0 done, 1 the store refused us, 3 it could not begin (the app cannot be imported, a wrong setting).
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import importlib
import json
import logging
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from procession.client import Procession
from procession.errors import ConfigError, DatabaseError, ProcessionError
from procession.runtime.queue_worker import QueueWorker

CANNOT_BEGIN = 3


def load_app(target: str) -> Procession:
    """The app behind `module:name` (name `app` by default). The working directory is importable. Raises ConfigError."""
    module, _, name = target.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not module.startswith(error.name):
            raise
        raise ConfigError(f"cannot import {module!r} from {here}; write module:app, such as shop.jobs:app") from None
    app = getattr(found, name or "app", None)
    if not isinstance(app, Procession):
        raise ConfigError(f"{target}: {name or 'app'} is not a Procession app of module {module!r}")
    return app


def log_to_stderr(level: int) -> None:
    """Show the library's lines; no other logger is touched."""
    logger = logging.getLogger("procession")
    if not logger.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(message)s"))
        logger.addHandler(handler)
    logger.setLevel(level)


def main() -> int:
    """Run the queue worker described by the JSON in the first argument."""
    asked: dict[str, Any] = json.loads(sys.argv[1])
    log_to_stderr(asked["log_level"])
    faulthandler.register(signal.SIGUSR1, all_threads=True)  # works even while C code keeps the interpreter's lock
    try:
        app = load_app(asked["target"])
        worker = QueueWorker(
            app,
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
    except ConfigError as error:
        print(f"procession: {error}", file=sys.stderr)
        return CANNOT_BEGIN
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
