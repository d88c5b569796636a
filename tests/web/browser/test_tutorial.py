"""The tutorial followed to the letter, from an empty folder: what is typed is run by a shell, what is printed is
compared, files are written as they stand, and the dashboard is looked at with a browser. Changed is only what has to
be: the package comes as a wheel of this tree, and the dashboard gets a port of its own."""

from __future__ import annotations

import os
import re
import select
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.web.browser.conftest import playwright

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "tutorial.md").read_text("utf-8")
BLOCKS = re.findall(r'```(python|console)(?: title="([^",]+)(, at its end)?")?\n(.*?)```', PAGE, re.DOTALL)
STAYS = ("procession worker", "procession web")
"""Commands that go on until they are ended; each gets a terminal of its own."""
LOOKS = ("procession stats", "procession errors", "procession schedules", "procession jobs", "procession queues")
"""Commands that only look, and may be asked again until they show what is to come."""


class Terminal:
    """A shell that is typed into."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.shell = subprocess.Popen(
            ["bash"], cwd=folder, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip

    def type(self, command: str) -> str:
        """Run a command to its end; what it printed. An exit code other than 0 fails the test."""
        assert self.shell.stdin is not None
        assert self.shell.stdout is not None
        self.shell.stdin.write(f'{command}\necho "<$?>"\n'.encode())
        self.shell.stdin.flush()
        printed, deadline = b"", time.monotonic() + 300
        while not (end := re.search(rb"<(\d+)>\n$", printed)):
            ready, _, _ = select.select([self.shell.stdout], [], [], max(0, deadline - time.monotonic()))
            more = os.read(self.shell.stdout.fileno(), 65_536) if ready else b""
            assert more, f"{command}: no end\n{printed.decode()}"
            printed += more
        text = printed[: end.start()].decode()
        assert end[1] == b"0", f"{command}: exit code {end[1].decode()}\n{text}"
        return text

    def leave_running(self, command: str, log: Path) -> None:
        log.touch()
        self.type(f"{command} >{shlex.quote(str(log))} 2>&1 &")

    def close(self) -> None:
        assert self.shell.stdin is not None
        assert self.shell.stdout is not None
        self.type("kill $(jobs -p); wait $(jobs -p); true")
        self.type("procession server stop")  # last, for whoever runs would start it again
        self.shell.stdin.close()
        self.shell.stdout.close()
        self.shell.wait(timeout=30)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)],
        check=True, capture_output=True,
    )  # fmt: skip
    return next(folder.glob("*.whl"))


@pytest.fixture
def terminal(tmp_path: Path, wheel: Path) -> Iterator[Terminal]:
    kept = {key: os.environ[key] for key in os.environ if key == "PATH" or key.startswith(("PIP_", "SSL_"))}
    folders = [it for it in kept["PATH"].split(":") if not it.startswith(sys.prefix)]  # without the tests' own
    wheels = f"{wheel.parent} {kept.get('PIP_FIND_LINKS', '')}"
    environment = kept | {"PATH": ":".join(folders), "HOME": str(tmp_path), "PIP_FIND_LINKS": wheels}
    terminal = Terminal(tmp_path, environment)
    yield terminal
    terminal.close()


def expected(lines: list[str]) -> re.Pattern[str]:
    return re.compile("\n".join(".*".join(map(re.escape, line.split("…"))) for line in lines), re.DOTALL)


def shown(terminal: Terminal, command: str, lines: list[str]) -> None:
    pattern, deadline = expected(lines), time.monotonic() + 30
    while not pattern.search(printed := terminal.type(command)):
        assert command.startswith(LOOKS), f"{command} printed\n{printed}"
        assert time.monotonic() < deadline, f"{command} printed\n{printed}"
        time.sleep(0.2)


def steps() -> Iterator[tuple[str, list[str]]]:
    """What is typed, and what is printed then; a file that is written counts as a step without a command."""
    for kind, name, more, text in BLOCKS:
        if kind == "python":
            yield f"{'>>' if more else '>'} {name}", text.splitlines(keepends=True)
            continue
        for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
            command, *lines = part.rstrip().splitlines()
            yield command, lines


@pytest.mark.timeout(600)
def test_the_tutorial_ends_with_a_job_that_is_processed_and_seen(
    tmp_path: Path, terminal: Terminal, page: playwright.Page
) -> None:
    folder, address, done = tmp_path / "shop", "", 0
    with socket.socket() as line:
        line.bind(("127.0.0.1", 0))
        port = line.getsockname()[1]
    for command, lines in steps():
        done += 1
        if command.startswith("> "):
            (folder / command[2:]).write_text("".join(lines))
        elif command.startswith(">> "):
            with (folder / command[3:]).open("a") as file:
                file.writelines(["\n\n", *lines])
        elif command.startswith(STAYS):
            log = tmp_path / f"{done}.log"
            terminal.leave_running(command + (f" --port {port}" if command == "procession web" else ""), log)
            if lines:
                address = f"http://127.0.0.1:{port}/"
                text = "\n".join(lines).replace("8686", str(port))
                deadline = time.monotonic() + 30
                while text not in log.read_text():
                    assert time.monotonic() < deadline, log.read_text()
                    time.sleep(0.05)
        else:
            shown(terminal, command, lines)
            if address:
                seen(page, address)
    assert address
    assert done > 15


def seen(page: Any, address: str) -> None:
    page.goto(f"{address}jobs?state=processed&q=job:jobs.greet")
    page.locator("table.jobs").get_by_text("jobs.greet").first.click()
    page.get_by_text("hello ").first.wait_for()
