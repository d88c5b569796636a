"""One queue worker in a process of its own: what the supervisor starts.

It starts with a pipe from the supervisor as its stdin: a byte asks it to stop, 1 after what runs, 2 at once; and it
ends with the supervisor, which counts as 1. Jobs, and what they start, find an empty stdin in its place. A SIGTERM or
SIGINT sent to this process alone asks for 1; once it is an orphan, for one more. SIGHUP asks for a replacement.

Exit codes: 0 done, 1 the store refused us or something broke, 3 it could not begin (the app cannot be imported, a wrong
setting, a store of another version), 6 a burst that another is to go on with.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NoReturn

from procession.errors import ConfigError, DatabaseError, ProcessionError, WrongVersion
from procession.runtime.blackbox import record
from procession.runtime.forks import signals_are_their_own
from procession.runtime.joblog import log_to_stderr
from procession.runtime.pulse import Beating
from procession.runtime.queue_worker import QueueWorker
from procession.runtime.target import load_app
from procession.runtime.wear import Wear

SIGNALS = (signal.SIGTERM, signal.SIGINT)
CANNOT_BEGIN = 3
CUT_SHORT = 6
YOUNG = 5_000
"""Objects more than before that let the garbage collector look at the young ones, unless the app says otherwise: jobs
that were claimed together are thousands, and none of them is garbage. (Python 3.11 says 700, 3.13 says 2,000.)"""


def main() -> None:
    """Be the queue worker described by the JSON in the first argument."""
    asked: dict[str, Any] = json.loads(sys.argv[1])
    supervisor = _taken_from_stdin()
    log_to_stderr(asked["log_level"])
    recorder = record(asked["box"])
    pulse = Beating(asked["pulse"], every=asked["every"], seen_in=recorder.seen_in)
    try:
        before = gc.get_threshold()
        app = load_app(asked["target"])
        if gc.get_threshold() == before:
            gc.set_threshold(max(YOUNG, before[0]), *before[1:])
        gc.freeze()  # what is imported stays: the collector need not look at it again
        worker = QueueWorker(
            app,
            target=asked["target"],
            queues=asked["queues"],
            queue_order=asked.get("queue_order"),
            ageing=asked.get("ageing"),
            concurrency=asked["concurrency"],
            threads=asked["threads"],
            burst=asked["burst"],
            worker_id=asked["worker_id"],
            verbose=asked["verbose"],
            pulse=pulse,
            wear=Wear.of(app.settings, **asked["wear"]),
        )
    except ProcessionError as error:
        print(f"procession: {error}", file=sys.stderr)
        leave(CANNOT_BEGIN, pulse)
    except Exception:
        logging.getLogger("procession").exception("cannot import %s", asked["target"])
        leave(CANNOT_BEGIN, pulse)
    _run(worker, supervisor, pulse)


def _taken_from_stdin() -> int:
    """The pipe from the supervisor, out of reach of what reads stdin: it would take our orders, or wait for ever."""
    pipe = os.dup(0)
    empty = os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, 0)
    os.close(empty)
    return pipe


def _run(worker: QueueWorker, supervisor: int, pulse: Beating) -> None:
    """Perform jobs, and leave from within the loop: at its own end it waits for what jobs have left behind, such as
    threads of `asyncio.to_thread`, and nobody would take this worker's place meanwhile. A SystemExit in a task or
    callback that a job has made comes out of the loop, which goes on: whoever awaits that task has it, too."""
    renews = [signal.SIGHUP] if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN else []  # as under nohup
    signals_are_their_own([*SIGNALS, *renews])

    async def main() -> None:
        stopping = Stopping(worker, supervisor)
        for number in SIGNALS:
            stopping.loop.add_signal_handler(number, stopping.signalled)
        for number in renews:
            stopping.loop.add_signal_handler(number, pulse.worn_out, "SIGHUP came")
        threading.Thread(target=stopping.listen, name="procession-parent", daemon=True).start()
        leave(await _performed(worker), pulse)

    factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    with suppress(ImportError):
        from uvloop import new_event_loop as factory
    with asyncio.Runner(loop_factory=factory) as runner:
        loop = runner.get_loop()
        performing = loop.create_task(main())
        while not performing.done():
            try:
                loop.run_until_complete(performing)
            except (SystemExit, KeyboardInterrupt):
                logging.getLogger("procession.worker").exception("what a job has started on the loop wants to exit")


async def _performed(worker: QueueWorker) -> int:
    """Perform jobs until it is over; the exit code says how that went."""
    try:
        await worker.run()
    except (ConfigError, WrongVersion) as error:
        print(f"procession: {error}", file=sys.stderr)
        return CANNOT_BEGIN
    except DatabaseError as error:
        print(f"procession: {error}", file=sys.stderr)
        return 1
    except BaseException:
        logging.getLogger("procession").exception("the queue worker ended with an error")
        return 1
    return CUT_SHORT if worker.cut_short else 0


def leave(code: int, pulse: Beating) -> NoReturn:
    """End this process; a thread that outlived its timeout does not keep it."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):  # nobody reads it any more, its disk is full, or whatever a job has done to it
            stream.flush()
    pulse.leaves()
    os._exit(code)


class Stopping:
    """How urgently the worker was asked to stop, by whom it may be. Lives on the worker's loop."""

    def __init__(self, worker: QueueWorker, supervisor: int) -> None:
        self.loop = asyncio.get_running_loop()
        self._worker = worker
        self._supervisor = supervisor
        self._level = 0
        self._orphaned = False

    def signalled(self) -> None:
        """A signal came. A service manager may send one beside our supervisor's byte: it is no second request."""
        self._raise_to(self._level + 1 if self._orphaned else 1)

    def listen(self) -> None:
        """In a thread of its own: hear the supervisor until it is gone."""
        with suppress(OSError, RuntimeError):  # the loop may have ended already
            while heard := os.read(self._supervisor, 1_024):
                self.loop.call_soon_threadsafe(self._raise_to, max(heard))
            self.loop.call_soon_threadsafe(self._orphan)

    def _orphan(self) -> None:
        self._orphaned = True
        logging.getLogger("procession.worker").warning("the supervisor is gone; finishing what runs")
        self._raise_to(1)

    def _raise_to(self, level: int) -> None:
        while self._level < level:
            self._level += 1
            if self._level == 1:
                self._worker.stop_once()  # an order may have come first
            else:
                self._worker.stop()


if __name__ == "__main__":
    main()
