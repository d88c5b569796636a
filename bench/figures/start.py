"""How long a program takes that enqueues one job and ends: import, connection, the job in the store, the end."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from types import ModuleType

from figures import Row
from figures.drain import prepare

CLIENTS = (
    "procession", "celery", "rq", "dramatiq", "huey", "taskiq", "saq", "arq", "streaq", "pydocket", "pgqueuer",
)  # fmt: skip
"""Those whose client is a package of Python."""
ROWS = [
    Row(
        "start",
        "a program that enqueues one job and ends",
        "ms",
        "start_ms",
        {"times": 7},
        {"times": 3},
        ("enqueue_one enqueue_one_async",),
        ("import_ms",),
        higher=False,
        only=CLIENTS,
    )
]


def measure(contestant: ModuleType, times: int) -> dict[str, float]:
    """Milliseconds of the whole program and of one that only imports the library, each the best of so many, less what
    Python takes that does nothing. With bytecode kept, as installing a library does, whatever the environment says of
    that; the server knows everybody's scripts."""
    module = contestant.__name__
    package = getattr(contestant, "PACKAGE", module.rpartition(".")[2])
    prepare(contestant)
    sync = hasattr(contestant, "enqueue_one")
    enqueue = "it.enqueue_one(1)" if sync else "import asyncio; asyncio.run(it.enqueue_one_async(1))"
    env = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}

    def best(code: str) -> float:
        taken = []
        for _ in range(times + 1):  # the first writes bytecode
            began = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], check=True, env=env)
            taken.append(time.perf_counter() - began)
        return min(taken) * 1_000

    with tempfile.TemporaryDirectory(prefix="bench-") as env["PYTHONPYCACHEPREFIX"]:
        bare = best("pass")
        return {
            "start_ms": best(f"import {module} as it; {enqueue}") - bare,
            "import_ms": best(f"import {package}") - bare,
        }
