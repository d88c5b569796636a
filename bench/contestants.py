"""Who takes part: the module of each, and the virtual environment in which it lives, made when it is first needed."""

from __future__ import annotations

import importlib.metadata
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from server import postgres_folder

HERE = Path(__file__).resolve().parent
VENVS = HERE / ".venvs"
OURS = "procession"
FLOORS = ("naive", "packed")
PYTHON = ("celery", "rq", "dramatiq", "huey", "taskiq", "saq", "arq", "streaq", "pydocket", "pgqueuer")
SIDEKIQ = ("sidekiq", "sidekiq_push")
PEERS = (*PYTHON, *SIDEKIQ)
FASTEST = ("dramatiq", "pgqueuer")
"""The two peers of `--small`."""


class Contestant(NamedTuple):
    """One of those who are measured."""

    name: str
    module: str
    python: str
    words: frozenset[str]
    """What it defines, read from its text, so that nothing of a peer is imported here."""
    pace: int
    """About how many jobs a second; a figure gives it no more than some seconds' worth."""
    store: str
    least_once: bool
    settings: str
    version: str


def found(names: list[str] | None = None, *, python: str = sys.executable) -> list[Contestant]:
    """The contestants of these names, all by default; one that cannot be had here is left out, and said so."""
    taken = []
    for name in names or [OURS, *FLOORS, *PEERS]:
        missing = _missing(name)
        if missing:
            print(f"# {name} does not take part: {missing}", flush=True)
            continue
        taken.append(_contestant(name, python))
    return taken


def _missing(name: str) -> str:
    if name in SIDEKIQ and not shutil.which("sidekiq"):
        return "no sidekiq on this machine (Debian: ruby-sidekiq)"
    if name == "pgqueuer" and postgres_folder() is None:
        return "no PostgreSQL on this machine (Debian: postgresql)"
    return ""


def _contestant(name: str, python: str) -> Contestant:
    room = "floors" if name in FLOORS else "peers"
    text = (HERE / room / f"{name}.py").read_text("utf-8")
    requirements = HERE / "peers" / f"requirements-{name}.txt"
    version = ""
    if requirements.exists():
        version = re.sub(r"\[.*?\]", "", requirements.read_text("ascii").split()[0])
        python = str(_venv(name, requirements))
    elif name == OURS:
        version = f"procession {importlib.metadata.version('procession')}"
    elif name in SIDEKIQ:
        version = subprocess.run(["sidekiq", "--version"], capture_output=True, text=True, check=False).stdout.strip()

    def value(word: str, default: str) -> str:
        match = re.search(rf"^{word} = (.+)$", text, re.MULTILINE)
        return match[1].strip('"') if match else default

    words = re.findall(r"^(?:async )?def (\w+)|^(enqueue_\w+) = ", text, re.MULTILINE)
    return Contestant(
        name,
        f"{room}.{name}",
        python,
        frozenset(one or other for one, other in words),
        int(value("PACE", "1_000_000")),
        value("STORE", "valkey"),
        value("LEAST_ONCE", "True") == "True",
        value("SETTINGS", ""),
        version or "this repository",
    )


def _venv(name: str, requirements: Path) -> Path:
    folder = VENVS / name
    ready, wanted = folder / ".ready", requirements.read_text("ascii")
    if not ready.exists() or ready.read_text("ascii") != wanted:
        print(f"# setting up {name}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        pip = [
            str(folder / "bin" / "pip"),
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "-r",
            str(requirements),
        ]
        subprocess.run(pip, check=True)
        ready.write_text(wanted, "ascii")
    return folder / "bin" / "python"
