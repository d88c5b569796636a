"""Checksums of all files below a folder, one job per file, performed by a worker in another process.

    python examples/checksums.py DIR

Prints what `sha256sum` prints for the same files. A file that cannot be read is a failed job: its error goes to stderr
and the exit code is 1, as with sha256sum. The jobs are `def` functions, so they run in threads.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from procession import JobFailed, JobHandle, Procession

app = Procession(namespace="checksums")


@app.job(queue="checksums", retry=False, name="checksums.sha256")
def sha256(path: bytes) -> str:
    """The SHA-256 of one file. A path is bytes: on Linux a name need not be text."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def files_below(folder: bytes) -> Iterator[bytes]:
    """Every path below a folder that is no folder itself, in order."""
    for parent, folders, names in os.walk(folder):
        folders.sort()
        yield from (os.path.join(parent, name) for name in sorted(names))


def line(digest: str, path: bytes) -> bytes:
    """One line as sha256sum writes it: names with a backslash or a newline are escaped and marked."""
    escaped = path.replace(b"\\", b"\\\\").replace(b"\n", b"\\n").replace(b"\r", b"\\r")
    return (b"\\" if escaped != path else b"") + digest.encode() + b"  " + escaped + b"\n"


def progress(done: int, total: int) -> None:
    """A bar on stderr, where there is a terminal."""
    if sys.stderr.isatty():
        filled = 40 * done // max(total, 1)
        print(f"\r[{'#' * filled}{'.' * (40 - filled)}] {done}/{total}", end="", file=sys.stderr, flush=True)


def main(folder: str) -> int:
    """Enqueue, wait in order, print."""
    paths = list(files_below(os.fsencode(folder)))
    handles: list[JobHandle[str]] = app.enqueue_many(sha256.bind(os.path.abspath(path)) for path in paths)
    worker = subprocess.Popen(
        [sys.executable, "-m", "procession", "worker", "checksums:app", "--quiet"],
        cwd=Path(__file__).parent,
        env={**os.environ, "PROCESSION_HOME": os.environ.get("PROCESSION_HOME", str(Path.cwd()))},
        stderr=subprocess.DEVNULL,
    )
    failed = 0
    # The worker runs beside this file, where it can import it; so it gets absolute paths.
    try:
        for done, (path, handle) in enumerate(zip(paths, handles, strict=True)):
            progress(done, len(paths))
            try:
                sys.stdout.buffer.write(line(handle.result(timeout=600), path))
            except JobFailed as error:
                failed += 1
                print(f"{os.fsdecode(path)!r}: {error}", file=sys.stderr)
        progress(len(paths), len(paths))
    finally:
        worker.terminate()
        worker.wait()
    sys.stdout.flush()
    return 1 if failed else 0


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python examples/checksums.py DIR")
    sys.exit(main(sys.argv[1]))
