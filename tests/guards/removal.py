"""To take a guard out of the product, for a moment, and see who notices.

The product has no switch for it: a script is read from a copy in which the guard's text is replaced, a function gets
the code of its own source with the guard's text replaced. The text must be there exactly once; where it is not, the
guard has moved, and its row in `test_guards.py` moves with it.
"""

from __future__ import annotations

import inspect
import shutil
import tempfile
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FunctionType
from typing import Any

from procession.database.redis import scripts


def _replaced(text: str, guard: str, instead: str, where: str) -> str:
    if text.count(guard) != 1:
        raise LookupError(f"{where} holds {text.count(guard)} times the text {guard!r}: where is that guard now?")
    return text.replace(guard, instead)


@contextmanager
def script_without(file: str, guard: str, instead: str = "") -> Iterator[None]:
    """The scripts as if `guard` were not written in `lua/<file>`."""
    real = scripts.LUA
    with tempfile.TemporaryDirectory(prefix="procession-") as folder:
        copied = Path(shutil.copytree(real, Path(folder) / "lua"))
        path = copied / file
        path.write_text(_replaced(path.read_text("utf-8"), guard, instead, file), "utf-8")
        scripts.LUA = copied
        scripts.script.cache_clear()
        try:
            yield
        finally:
            scripts.LUA = real
            scripts.script.cache_clear()


@contextmanager
def function_without(function: Callable[..., Any], guard: str, instead: str = "pass") -> Iterator[None]:
    """A function, wherever it is already known, as if `guard` were not written in it."""
    assert isinstance(function, FunctionType)
    source = textwrap.dedent(inspect.getsource(function)).removeprefix("@staticmethod\n")
    changed = _replaced(source, guard, instead, function.__qualname__)
    names: dict[str, Any] = {}
    exec(compile(f"from __future__ import annotations\n{changed}", function.__code__.co_filename, "exec"), names)
    real = function.__code__
    function.__code__ = names[function.__name__].__code__
    try:
        yield
    finally:
        function.__code__ = real
