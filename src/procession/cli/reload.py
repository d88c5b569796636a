"""`procession worker --reload`, for development: files are watched, and a change renews the workers as SIGHUP does."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from procession.errors import ConfigError

log = logging.getLogger("procession.worker")


@contextmanager
def reloading(folder: Path, renew: Callable[[], None]) -> Iterator[None]:
    """Call `renew`, from a thread, each time Python files below `folder` have changed; those in `.venv`, `.git` or
    `node_modules` do not count. Raises ConfigError where the package that watches is missing."""
    try:
        from watchfiles import PythonFilter, watch
    except ImportError:
        raise ConfigError('--reload watches files with watchfiles: pip install "procession[reload]"') from None
    over = threading.Event()

    def look() -> None:
        for changes in watch(folder, watch_filter=PythonFilter(), stop_event=over, raise_interrupt=False):
            names = sorted({str(Path(path).relative_to(folder)) for _, path in changes})
            log.info("changed: %s%s", ", ".join(names[:3]), f" and {len(names) - 3} more" if len(names) > 3 else "")
            renew()

    watching = threading.Thread(target=look, name="procession-reload", daemon=True)
    watching.start()
    try:
        yield
    finally:
        over.set()
        watching.join(timeout=5)
