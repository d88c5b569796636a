"""`procession top`: what keys mean, what fits on a screen, and the real command in a real terminal on a real server."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from fcntl import ioctl
from uuid import UUID

import pytest
from msgspec.structs import replace
from rich.console import Console

from procession import Procession, State
from procession.cli.top.facts import Facts
from procession.cli.top.keys import Action, Screen, pressed, split
from procession.cli.top.view import ago, drawn
from procession.database import Counts, QueueInfo, WorkerInfo
from procession.database.measures import ErrorGroup
from procession.job import Job

NOW = 1_800_000_000_000
JOBS = tuple(
    Job(jid=UUID(int=n), name=f"shop.job{n}", queue="mail", state=State.RUNNING, args={}, start_at=NOW - 1_000 * n)
    for n in range(1, 41)
)
FACTS = Facts(
    at=NOW,
    counts=Counts(queued=1_234, running=40, failed=2),
    queues=(QueueInfo(name="mail", queued=1_234, oldest=NOW - 90_000), QueueInfo(name="slow", queued=0, paused=True)),
    workers=tuple(WorkerInfo(id=f"host:{n}", concurrency=100, beat_at=NOW - 2_000) for n in range(12)),
    errors=(),
    jobs=JOBS,
    rates={"enqueued": 1_234.5, "processed": 12.5, "failed": 0.0, "retried": 0.0},
)


def typed(keys: str, screen: Screen | None = None) -> tuple[Screen, list[Action]]:
    screen, actions = screen or Screen(), []
    for key in split(keys):
        screen, action = pressed(screen, key, FACTS)
        actions += [action] if action else []
    return screen, actions


def test_the_arrows_move_within_what_is_there() -> None:
    assert typed("\x1b[B\x1b[B\x1b[A")[0].row == 1
    assert typed("kk")[0].row == 0
    assert typed("j" * 100)[0].row == 39
    assert typed("\tjjj")[0].row == 1, "there are two queues"


def test_what_cannot_be_undone_is_asked_first() -> None:
    screen, actions = typed("jc")
    assert actions == []
    assert screen.asked is not None
    assert str(JOBS[1].jid) in screen.asked.question
    assert typed("y", screen)[1] == [Action("cancel", str(JOBS[1].jid))]
    said, actions = typed("n", screen)
    assert (said.asked, said.says, actions) == (None, "nothing was done", [])
    assert typed("\tpy")[1] == [Action("pause", "mail")]
    assert typed("\tjp")[1] == [Action("resume", "slow")], "which needs no question"
    assert "only a finished job" in typed("r")[0].says


def test_a_filter_is_typed_taken_or_left() -> None:
    screen, _ = typed("/\x15queue:mail q\r")
    assert (screen.filter, screen.typed) == ("queue:mail q", None)
    assert typed("/xyz\x1b")[0].filter == "state:running"
    assert typed("/ab\x7f")[0].typed == "state:runninga"
    assert typed("4")[0].filter == "state:failed"


@pytest.mark.parametrize("size", [(80, 24), (40, 12), (200, 60)])
def test_the_screen_fits_and_shows_the_chosen_row(size: tuple[int, int]) -> None:
    width, height = size
    for row in (0, 17, 39):
        out = Console(file=io.StringIO(), width=width, height=height)
        out.print(drawn(FACTS, Screen(row=row), title="shop at redis://store/0", height=height, trouble="no answer"))
        lines = out.file.getvalue().rstrip("\n").split("\n")  # type: ignore[attr-defined]
        assert len(lines) <= height
        assert all(len(line) <= width for line in lines)
        assert any(f"shop.job{row + 1}" in line for line in lines)
        assert any("no answer" in line for line in lines)


def test_what_a_job_is_called_cannot_move_the_cursor_of_the_terminal() -> None:
    out = Console(file=io.StringIO(), width=80, height=24, force_terminal=True)
    facts = replace(FACTS, jobs=(replace(JOBS[0], name="\x1b[2Jgone[bold]"),))
    out.print(drawn(facts, Screen(), title="", height=24))
    text = out.file.getvalue()  # type: ignore[attr-defined]
    assert "\x1b[2J" not in text
    assert "\\x1b[2Jgone[bold]" in text


def test_brackets_colons_and_lines_in_what_strangers_wrote_are_shown_as_they_are() -> None:
    out = Console(file=io.StringIO(), width=120, height=24)
    failed = replace(JOBS[0], state=State.FAILED, reason="no route to [/etc] :key:\nsecond line")
    queue = QueueInfo(name="slow", queued=0, paused=True, reason="see [/wiki]\nlater")
    error = ErrorGroup(
        fingerprint="f", type="OSError", message="[/etc] is away\nand more\nand more", where="shop:job1", count=3,
        first_at=NOW, last_at=NOW, names=("shop.job1",), samples=(JOBS[0].jid,),
    )  # fmt: skip
    facts = replace(FACTS, jobs=(failed,), queues=(queue,), errors=(error, error))
    out.print(drawn(facts, Screen(filter='"[/etc]"'), title="[/shop]", height=24, trouble="[/no] answer"))
    text = out.file.getvalue()  # type: ignore[attr-defined]
    for shown in ("route to [/etc] :key:", "see [/wiki]", 'jobs: "[/etc]"', "[/etc] is away and more", "[/no] answer"):
        assert shown in text
    assert len(text.rstrip("\n").split("\n")) <= 24


def test_durations_are_short() -> None:
    assert [ago(it) for it in (0, 59_000, 90_000, 7_200_000, 200_000_000, -5_000)] == [
        "0s", "59s", "1m", "2h", "2d", "in 5s",
    ]  # fmt: skip


class Terminal:
    """The command in a terminal of its own."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.fd, slave = pty.openpty()
        ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
        self.slave, self.before, self.seen = slave, termios.tcgetattr(slave), ""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "procession", "top"], stdin=slave, stdout=slave, stderr=slave, env=environment
        )

    def shows(self, text: str) -> None:
        deadline = time.monotonic() + 30
        while text not in self.seen:
            assert select.select([self.fd], [], [], max(0, deadline - time.monotonic()))[0], self.seen[-3_000:]
            self.seen += re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", os.read(self.fd, 65_536).decode(errors="replace"))

    def press(self, keys: str) -> None:
        self.seen = ""
        os.write(self.fd, keys.encode())

    def ended(self) -> int:
        """Its exit code; the terminal is as it was before."""
        deadline = time.monotonic() + 20
        while self.process.poll() is None:
            assert time.monotonic() < deadline
            if select.select([self.fd], [], [], 0.05)[0]:
                os.read(self.fd, 65_536)
        assert termios.tcgetattr(self.slave) == self.before
        return self.process.returncode

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.fd)
        os.close(self.slave)


@pytest.fixture
def app(valkey_url: str, namespace: str) -> Iterator[Procession]:
    app = Procession(valkey_url, namespace=namespace)
    yield app
    app.flush(confirm=namespace)
    app.close()


@pytest.fixture
def terminal(app: Procession) -> Iterator[Callable[[], Terminal]]:
    opened: list[Terminal] = []
    environment = os.environ | {
        "PROCESSION_URL": app.settings.url, "PROCESSION_NAMESPACE": app.settings.namespace, "TERM": "xterm-256color",
    }  # fmt: skip

    def open_one() -> Terminal:
        opened.append(Terminal(environment))
        return opened[-1]

    yield open_one
    for it in opened:
        it.close()


def test_in_a_terminal_keys_pause_a_queue_cancel_a_job_and_leave(
    app: Procession, terminal: Callable[[], Terminal]
) -> None:
    @app.job(name="shop.send", queue="mail")
    def send(to: str) -> None: ...

    handle = send.enqueue("ada")
    top = terminal()
    top.shows("no queue worker is alive")
    top.press("2")
    top.shows("shop.send")
    top.press("w")
    top.shows("no queue worker")
    top.press("c")
    top.shows(f"cancel {handle.jid}? y/n")
    top.press("y")
    top.shows("cancelled")
    assert handle.job().state is State.CANCELLED
    top.press("\tp")
    top.shows("pause mail? y/n")
    top.press("y")
    top.shows("mail is paused")
    assert app.queues()[0].paused
    assert [deed.what for deed in app.trail()] == ["pause", "cancel"]
    top.press("q")
    assert top.ended() == 0


def test_ctrl_c_leaves_the_terminal_as_it_was(terminal: Callable[[], Terminal]) -> None:
    top = terminal()
    top.shows("no queue yet")
    top.process.send_signal(signal.SIGINT)
    assert top.ended() == 0


def test_without_a_terminal_it_says_what_to_do_and_one_look_can_be_had(app: Procession) -> None:
    def ran(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "procession", "top", *words, "--url", app.settings.url]
        command += ["--namespace", app.settings.namespace]
        return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)

    refused = ran()
    assert refused.returncode == 2
    assert "--once" in refused.stderr
    assert "no queue yet" in ran("--once").stdout
    assert json.loads(ran("--json").stdout)["counts"]["queued"] == 0
