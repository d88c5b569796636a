"""One job process, from the inside: an interpreter of its own that performs one job at a time. What its queue worker
starts (`spawned.py`) and speaks with (`frames.py`).

The main thread performs: `def` jobs directly, `async def` jobs on a loop that it keeps, so that what is bound to a loop
lives as long as the process. A second thread listens: a message that stops the run becomes an exception inside it
(SIGURG, which is ignored where nobody handles it, interrupts the main thread; Go's runtime took the same signal for the
same reasons), and the end of the line ends the process, because its queue worker is gone. A stray SIGTERM, SIGINT or
SIGHUP is not obeyed: whoever stops or reloads a service signals all its processes at once, and the queue worker alone
says when a job ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import ctypes
import json
import logging
import os
import resource
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import SimpleQueue
from types import FrameType
from typing import Any

import msgspec

from procession.client import Procession
from procession.clock import monotonic
from procession.errors import ProcessionError
from procession.moves import Move
from procession.runtime import blackbox
from procession.runtime.capture import capturing
from procession.runtime.executor import Run, Verdict, judge, perform, perform_async, resolve, say_exhausted_async
from procession.runtime.forks import signals_are_their_own
from procession.runtime.frames import Begin, Ended, FromJob, Noted, Ready, Stop, Unable, frame, heard
from procession.runtime.joblog import log_to_stderr
from procession.runtime.notetaker import EVERY
from procession.runtime.target import load_app

FIRST_TO_GO = 500
"""Its score (-1000 to 1000) when the kernel is out of memory and chooses: a job is taken, and not its queue worker."""
KILL_GRACE = 2.0
"""Seconds between SIGTERM and SIGKILL, and those that a process which is to end may take."""
PR_SET_PDEATHSIG = 1


class JobProcess:
    """Performs what its queue worker sends."""

    def __init__(self, app: Procession, line: socket.socket, recorder: blackbox.Recorder) -> None:
        self._app = app
        self._line = line
        self._recorder = recorder
        self._begun: SimpleQueue[tuple[Run | Verdict, str] | None] = SimpleQueue()
        self._run: Run | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[Any] | None = None
        self._inside = False
        """The main thread is in the job's code …"""
        self._raised = False
        """… and was told that it is not to go on."""
        self._exhausted = False
        self._said = threading.Event()
        self._speaking = threading.Lock()

    def work(self) -> None:
        """Perform jobs until the line ends."""
        signal.signal(signal.SIGURG, self._interrupted)
        signal.signal(signal.SIGTERM, self._terminated)
        stray = [it for it in (signal.SIGINT, signal.SIGHUP) if signal.getsignal(it) is not signal.SIG_IGN]
        for number in stray:
            signal.signal(number, lambda *_: None)  # a handler, since what is ignored stays so in what a job starts
        signals_are_their_own([signal.SIGURG, signal.SIGTERM, *stray])
        threading.Thread(target=self._listen, name="procession-line", daemon=True).start()
        threading.Thread(target=self._note, name="procession-notes", daemon=True).start()
        with capturing(self._app.settings.capture_logs), asyncio.Runner() as runner:
            lifespan = self._app.registry.policies.lifespan.opened(self._app)
            around = contextvars.copy_context()  # each job has a copy, with what the lifespan has set
            try:
                runner.run(lifespan.__aenter__(), context=around)
            except BaseException as error:  # whatever the app's own code does
                logging.getLogger("procession").exception("the app's lifespan cannot begin")
                self._say(Unable(f"the app's lifespan raised {type(error).__qualname__}: {error}"))
                os._exit(1)
            self._say(Ready(self._app.registry.names()))
            while (begun := self._begun.get()) is not None:
                run, worker = begun
                verdict = run if isinstance(run, Verdict) else around.run(self._perform, run, worker, runner)
                self._run = None
                if isinstance(run, Run):
                    self._noted(run, last=True)
                with contextlib.suppress(Exception):  # whatever a job has done to it
                    sys.stdout.flush()
                self._say(Ended(verdict, worn=self._exhausted))
            runner.run(lifespan.__aexit__(None, None, None), context=around)

    def _say(self, message: FromJob) -> None:
        with self._speaking:
            self._line.sendall(frame(message))

    def _perform(self, run: Run, worker: str, runner: asyncio.Runner) -> Verdict:
        self._recorder.seen_in(f"{run.claimed.jid} attempt {run.claimed.attempt}")
        inside = run.registered.inside
        call = self._coroutine(run) if inside == "loop" else self._called(run)
        run.registered = msgspec.structs.replace(run.registered, call=call)
        self._raised = False
        if inside == "thread":
            return perform(run, worker)
        try:
            self._loop = loop = runner.get_loop()
            coroutine = perform_async(run, worker, monotonic())
            performing = loop.create_task(coroutine, context=contextvars.copy_context())
            while not performing.done():
                try:
                    loop.run_until_complete(performing)
                except (SystemExit, KeyboardInterrupt):
                    if run.stopped and not performing.done():
                        raise
                    logging.getLogger("procession.worker").exception("what a job has started on the loop wants to exit")
            return performing.result()
        except BaseException as error:  # raised by SIGTERM where no frame of the job was on the stack
            self._exhausted, self._inside = True, False
            verdict = judge(run, error, worker)
            if run.registered.exhausted is not None and verdict.outcome.move == Move.FAIL:
                with contextlib.suppress(RuntimeError, SystemExit, KeyboardInterrupt):  # what is left on the loop
                    runner.run(say_exhausted_async(run, verdict, alone=True), context=contextvars.copy_context())
            return verdict
        finally:
            self._task = None

    # In the main thread, around the job's code

    def _called(self, run: Run) -> Callable[..., Any]:
        call = run.registered.call

        def called(*args: Any, **kwargs: Any) -> Any:
            with self._bounded(run.registered.max_memory):
                self._inside = True
                try:
                    self._interrupted()
                    return call(*args, **kwargs)
                finally:
                    self._inside = False

        return called

    def _coroutine(self, run: Run) -> Callable[..., Any]:
        call = run.registered.call

        async def called(*args: Any, **kwargs: Any) -> Any:
            with self._bounded(run.registered.max_memory):
                self._task = asyncio.current_task()
                self._inside = True
                try:
                    if run.stopped:
                        raise asyncio.CancelledError
                    return await call(*args, **kwargs)
                finally:
                    self._inside = False

        return called

    @contextlib.contextmanager
    def _bounded(self, memory: int) -> Iterator[None]:
        """Refuse the process more than `memory` bytes of data while the job runs.

        RLIMIT_DATA counts what is private and writable, which is what a job allocates; RLIMIT_AS would count the
        address space that threads and allocators reserve and never touch (64 MB for each malloc arena).
        """
        if not memory:
            yield
            return
        before, hard = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (memory, hard))
        try:
            yield
        except MemoryError:
            self._exhausted = True
            raise
        finally:
            resource.setrlimit(resource.RLIMIT_DATA, (before, hard))
            # what this job leaves behind would be counted against the next
            self._exhausted = self._exhausted or data_size() > memory // 2

    def _interrupted(self, number: int = 0, frame: FrameType | None = None) -> None:
        """Raise inside a `def` job, once, what says why it is not to go on."""
        run = self._run
        if run is None or self._raised or not self._inside or run.registered.inside == "loop":
            return
        error = run.context.stopped()
        if error is not None:
            self._raised = True
            raise error

    def _terminated(self, number: int, frame: FrameType | None) -> None:
        """The grace is over: what `except Exception` holds back passes now. SIGKILL follows."""
        if self._inside and self._run is not None and self._run.stopped:
            sys.exit("stopped by its queue worker")

    # What the job says of itself

    def _note(self) -> None:
        """In a thread: send what the job has said, at most once a second."""
        while self._said.wait():
            self._said.clear()
            run = self._run
            if run is not None:
                self._noted(run, last=False)
            time.sleep(EVERY)

    def _noted(self, run: Run, *, last: bool) -> None:
        notebook = run.context.notebook
        if notebook is None:
            return
        with self._speaking, contextlib.suppress(OSError):  # fetched and sent as one, or lines would change places
            page = notebook.fetch(last=last)
            if page.progress or page.lines:
                self._line.sendall(frame(Noted(run.claimed.token, page)))

    # In the listening thread

    def _listen(self) -> None:
        try:
            while (message := heard(self._line)) is not None:
                if isinstance(message, Begin):
                    run = resolve(message.claimed, self._app.registry, message.worker)
                    self._run = None if isinstance(run, Verdict) else run
                    if isinstance(run, Run):
                        run.context.told = self._said.set
                    self._begun.put((run, message.worker))
                else:
                    self._stop(message)
            if self._run is None:
                self._begun.put(None)
                time.sleep(KILL_GRACE)  # for what the app does at its exit
        finally:
            os._exit(0)  # a process that cannot hear must not go on

    def _stop(self, stop: Stop) -> None:
        run = self._run
        if run is None or run.claimed.token != stop.token:
            return
        run.context.stop(stop.why)  # before looking for the task: the main thread looks the other way round
        task, loop, main = self._task, self._loop, threading.main_thread().ident
        if run.registered.inside == "thread" and main is not None:
            signal.pthread_kill(main, signal.SIGURG)
        elif task is not None and loop is not None:
            loop.call_soon_threadsafe(task.cancel)


def data_size() -> int:
    """Bytes that RLIMIT_DATA counts in this process; 0 where the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_bytes().split()[5])
    except OSError:
        return 0
    return pages * resource.getpagesize()


def end_with(parent: int) -> None:
    """Have the kernel end this process with the thread that started it, even while C code keeps the interpreter's lock.

    Elsewhere than on Linux the end of the line does it, as soon as the listening thread may run.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        with contextlib.suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text(str(FIRST_TO_GO))
    if os.getppid() != parent:  # it died before we asked
        os._exit(0)


def main() -> None:
    """Be the job process described by the JSON in the first argument."""
    asked: dict[str, Any] = json.loads(sys.argv[1])
    end_with(asked["parent"])
    log_to_stderr(asked["log_level"])
    recorder = blackbox.record(asked["box"])
    sys.path[:] = asked["path"]
    line = socket.socket(fileno=asked["line"])
    try:
        app = load_app(asked["target"])
    except BaseException as error:  # whatever a module does when it is imported
        if not isinstance(error, ProcessionError):
            logging.getLogger("procession").exception("cannot import %s", asked["target"])
        line.sendall(frame(Unable(f"{type(error).__qualname__}: {error}")))
        os._exit(1)
    JobProcess(app, line, recorder).work()


if __name__ == "__main__":
    main()
