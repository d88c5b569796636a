"""What a process leaves behind for its parent, however it ends: real processes, real signals."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest

from procession.runtime.blackbox import LINES, LONGEST_STACK, BlackBox, Ended, ended, told

CHILD = """
import ctypes, logging, os, signal, sys, threading, time
from procession.runtime.blackbox import record
logging.getLogger("procession").setLevel(logging.INFO)
recorder = record([int(number) for number in sys.argv[1:]])
log = logging.getLogger("procession.worker")
def the_guilty_function():
    ctypes.string_at(0)
"""


@pytest.fixture
def box() -> Iterator[BlackBox]:
    box = BlackBox()
    yield box
    box.close()


def start(box: BlackBox, code: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", CHILD + code, *map(str, box.descriptors)]
    return subprocess.Popen(command, pass_fds=box.descriptors, stdout=subprocess.PIPE)


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def end_of(box: BlackBox, code: str) -> Ended:
    with start(box, code) as process:
        end = ended(process, wait=True)
    assert end is not None
    return end


def test_a_killed_process_leaves_its_last_log_lines_and_nothing_older(box: BlackBox) -> None:
    end = end_of(box, "for n in range(50): log.info('line %d', n)\nos.kill(os.getpid(), signal.SIGKILL)")
    assert (end.code, end.how) == (-9, "signal 9 (SIGKILL)")
    lines = box.log()
    assert len(lines) == LINES
    assert [line.rpartition("INFO ")[2] for line in lines] == [f"line {n}" for n in range(30, 50)]


def test_a_segmentation_fault_leaves_the_stack_of_the_thread_at_fault(box: BlackBox) -> None:
    crash = box.crash(end_of(box, "log.info('so far so good')\nthe_guilty_function()"), pid=7, beside=2)
    assert crash.how == "signal 11 (SIGSEGV)"
    assert "Segmentation fault" in crash.stack
    assert "the_guilty_function" in crash.stack
    assert crash.log[-1].endswith("so far so good")
    assert (crash.pid, crash.beside) == (7, 2)
    assert crash.memory > 5_000_000


def test_stacks_are_told_on_request_even_while_c_code_keeps_the_lock(box: BlackBox) -> None:
    with start(box, "print('ready', flush=True)\nsum(range(10**12))") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        for _ in range(2):  # the second replaces the first
            box.ask_for_stacks(process)
            until(box.stacks)
        assert box.stacks().count("Current thread") == 1
        process.kill()
        assert ended(process, wait=True) is not None
    box.forget_stacks()
    assert box.stacks() == ""


def test_where_it_was_last_seen_counts_only_if_it_is_news(box: BlackBox) -> None:
    end_of(box, "recorder.seen_in('job mail')\nlog.info('x' * 10_000 + '\\nsecond line')\nlog.info('%d', 'wrong')")
    assert box.seen_in(0) == "job mail"
    assert box.seen_in(1e12) == ""
    assert len(box.log()) == 1
    assert 400 < len(box.log()[0]) < 520


def test_an_exit_code_is_told_and_the_end_is_known_for_ever(box: BlackBox) -> None:
    with start(box, "os._exit(3)") as process:
        end = ended(process, wait=True)
        assert end is not None
        assert end.how == "exit code 3"
        assert ended(process) == Ended(3, 0)
    assert Ended(-40, 0).how == "signal 40"
    assert Ended(-9, 0, "it was stuck").how == "signal 9 (SIGKILL): it was stuck"
    assert box.log() == ()


def test_a_dump_of_many_threads_begins_with_the_one_at_fault_and_tells_equal_ones_once() -> None:
    idle = "\n".join(f"Thread 0x{n} (most recent call first):\n  File pool line 1\n" for n in range(16))
    dump = f"{idle}\nCurrent thread 0xa (most recent call first):\n  File bad\n\nThread 0xb (most):\n  File main\n"
    text = told(f"Fatal Python error: Aborted\n\n{dump}\nExtension modules: many")
    assert text.splitlines()[2].startswith("Current thread")
    assert text.index("File main") < text.index("File pool")
    assert text.count("File pool") == 1
    assert "15 more threads" in text
    assert len(told("\n\n".join(f"Thread {n}:\n  {n * 100}" for n in range(9_000))).encode()) <= LONGEST_STACK


def test_a_process_that_cannot_be_started_for_want_of_descriptors_keeps_none() -> None:
    code = """if True:
        import asyncio, os, resource
        from procession.runtime.children import Child
        from procession.runtime.spawned import Spawned

        def opened():
            return len(os.listdir("/proc/self/fd"))

        async def main():
            hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
            before, failed = opened(), 0
            for start in (lambda: Spawned("none:app"), lambda: Child({}, grace=1.0)):
                for more in range(6):
                    resource.setrlimit(resource.RLIMIT_NOFILE, (before - 1 + more, hard))  # one is that of the listing
                    try:
                        start()
                    except OSError:
                        failed += 1
                    finally:
                        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            print(failed, opened() - before)

        asyncio.run(main())
    """
    assert subprocess.check_output([sys.executable, "-c", code], text=True).split() == ["12", "0"]
