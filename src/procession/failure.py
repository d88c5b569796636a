"""An exception as text: what is kept of an attempt that failed. Called by `runtime/executor.py`.

Nothing is loaded here when something fails: a process that is out of memory or of descriptors could not.
"""

from __future__ import annotations

import traceback

from procession.fingerprint import place
from procession.job import Failure

ERROR_TEXT = 32 * 1024
"""Most bytes kept of one attempt's error."""
MESSAGE_TEXT = 2_000
CAUSES = 8

traceback.format_list([("", 1, "", "")])  # from Python 3.15 on it loads the half of itself only when it is used


def failure_of(error: BaseException, *, attempt: int, worker: str = "", at: int = 0) -> Failure:
    """An exception as bounded text, at once: nothing keeps the exception, its frames or what they hold alive."""
    module = type(error).__module__  # whatever the class says: `type("E", (Exception,), {"__module__": None})`
    return Failure(
        attempt=attempt,
        type=type(error).__qualname__,
        message=_cut(_message(error), MESSAGE_TEXT),
        traceback=_traceback(error),
        worker=worker,
        at=at,
        where=place(error.__traceback__),
        module=module if isinstance(module, str) and module != "builtins" else "",
    )


def _message(error: BaseException) -> str:
    try:
        text = str(error)
    except BaseException as trouble:  # an error's own __str__ may raise anything
        return f"(its __str__ raised {type(trouble).__qualname__})"
    return text.encode("utf-8", "backslashreplace").decode()


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 40]}… ({len(text) - most + 40:,} more characters)"


def _traceback(error: BaseException) -> str:
    blocks: list[str] = []
    current: BaseException | None = error
    link = ""
    while current is not None and len(blocks) < CAUSES:
        frames = "".join(traceback.format_tb(current.__traceback__, limit=-50))
        members = ""
        if isinstance(current, BaseExceptionGroup):
            members = "".join(
                f"  · {type(it).__qualname__}: {_cut(_message(it), 300)}\n" for it in current.exceptions[:20]
            )
        line = f"{type(current).__qualname__}: {_cut(_message(current), MESSAGE_TEXT)}\n{members}"
        blocks.append(f"Traceback (most recent call last):\n{frames}{line}{link}")
        if current.__cause__ is not None:
            current, link = current.__cause__, "\nThe above error led to this one:\n\n"
        elif current.__context__ is not None and not current.__suppress_context__:
            current, link = current.__context__, "\nWhile that was handled, this happened:\n\n"
        else:
            current = None
    text = "".join(reversed(blocks)).encode("utf-8", "backslashreplace")
    if len(text) > ERROR_TEXT - 4_096:
        text = b"... (the beginning is cut off)\n" + text[-(ERROR_TEXT - 4_096) :]
    return text.decode(errors="replace")
