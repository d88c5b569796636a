"""The examples in `jobs.py` pass and fail exactly where they say, under mypy and under pyright."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

FILE = Path(__file__).with_name("jobs.py")
EXPECTED = {number for number, line in enumerate(FILE.read_text("utf-8").splitlines(), 1) if line.endswith("# E")}


def by_mypy() -> set[int]:
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--cache-dir", "/dev/null", str(FILE)]
    said = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    return {int(found[1]) for found in re.finditer(r"jobs\.py:(\d+): error", said)}


def by_pyright() -> set[int]:
    command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable, str(FILE)]
    said = json.loads(subprocess.run(command, capture_output=True, text=True, check=False).stdout)
    errors = [it for it in said["generalDiagnostics"] if it["severity"] == "error"]
    return {it["range"]["start"]["line"] + 1 for it in errors}


@pytest.mark.timeout(180)
@pytest.mark.parametrize("checker", [by_mypy, by_pyright])
def test_the_checker_refuses_exactly_the_marked_lines(checker) -> None:  # type: ignore[no-untyped-def]
    assert checker() == EXPECTED
