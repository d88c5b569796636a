"""An exception as text, and what a worker has loaded by the time that it needs it."""

from __future__ import annotations

import subprocess
import sys

from procession.codec import encode_failure
from procession.failure import ERROR_TEXT, failure_of


class Awkward(Exception):
    def __init__(self, a: int, b: int, c: int) -> None:
        self.a = a

    def __str__(self) -> str:
        raise RuntimeError("no text")


def test_an_error_becomes_bounded_text_however_awkward_it_is() -> None:
    deep: Exception = ValueError("x" * 50_000_000)
    for _ in range(10_000):
        following = KeyError("next")
        following.__cause__ = deep
        deep = following
    for error in (
        Awkward(1, 2, 3),
        ValueError("x" * 50_000_000),
        deep,
        ExceptionGroup("g", [ValueError("\ud800")] * 99),
    ):
        failure = failure_of(error, attempt=1)
        assert len(encode_failure(failure)) <= ERROR_TEXT
        assert failure.type == type(error).__qualname__
    assert "its __str__ raised RuntimeError" in failure_of(Awkward(1, 2, 3), attempt=1).message


def test_a_chain_of_causes_is_told_from_the_first() -> None:
    try:
        try:
            raise KeyError("first")
        except KeyError as error:
            raise ValueError("second") from error
    except ValueError as error:
        text = failure_of(error, attempt=1).traceback
    assert text.index("KeyError: 'first'") < text.index("ValueError: second")


def test_an_error_becomes_text_in_a_worker_that_can_open_no_file() -> None:
    code = """if True:
        import resource
        from procession.runtime import meter
        from procession.runtime.executor import failure_of
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))
        try:
            open("/dev/null")
        except OSError as error:
            failure = failure_of(error, attempt=1)
            print(failure.type, failure.where, meter.fingerprint(failure) != meter.normalised(failure.message))
    """
    said = subprocess.check_output([sys.executable, "-c", code], text=True)
    assert said.split() == ["OSError", "__main__:<module>", "True"]


def test_a_first_schedule_is_read_in_a_worker_that_can_open_no_file() -> None:
    code = """if True:
        import resource
        from procession.cron import Cron, zone
        from procession.runtime import scheduling
        zone("UTC")
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))
        print(Cron("*/5 * * * *").next_after(0))
    """
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "300000"
