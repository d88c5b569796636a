"""`procession logs` and `procession watch`, as real processes on a real embedded server, beside a real worker."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from procession.database.redis.embedded import Server
from tests.runtime.working import working

PAGE = Path(__file__).parents[2] / "docs" / "logs.md"
APP = """
import logging, pathlib, time
from procession import Procession, current_job, track
app = Procession(lease=4.0, heartbeat=0.5)
log = logging.getLogger("shop")

@app.job(retry=False, timeout=40)
def steps(fail: bool = False) -> None:
    log.info("begins \\x1b[31m")
    current_job().progress(0.5, "half")
    while not pathlib.Path("go").exists():
        time.sleep(0.02)
    if fail:
        raise ValueError("no")
    log.warning("ends")
    for _ in track(range(4), text="steps"):
        pass
"""


class Shop:
    """Commands in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.begun: list[subprocess.Popen[str]] = []

    def begin(self, *words: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "procession", *words],
            cwd=self.folder,
            env={**os.environ, "PROCESSION_HOME": str(self.folder)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.begun.append(process)
        return process

    def run(self, *words: str, code: int = 0) -> str:
        process = self.begin(*words)
        out, errors = process.communicate(timeout=50)
        assert process.returncode == code, out + errors
        return out + errors

    def enqueue(self, *words: str) -> str:
        return self.run("enqueue", "shop:app", "shop.steps", *words).strip()


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    (tmp_path / "shop.py").write_text(APP)
    shop = Shop(tmp_path)
    yield shop
    for process in shop.begun:
        if process.poll() is None:
            process.terminate()
        process.communicate(timeout=30)
    Server(tmp_path).stop()


def test_logs_are_followed_live_until_the_job_ends(shop: Shop, tmp_path: Path) -> None:
    jid = shop.enqueue()
    following = shop.begin("logs", jid, "-f")
    watching = shop.begin("watch", jid)
    assert following.stdout is not None
    assert watching.stdout is not None
    assert watching.stdout.readline() == "queued\n"
    shop.begin("worker", "shop:app")
    assert following.stdout.readline().endswith("INFO     #1 shop: begins \\x1b[31m\n")
    assert any(line == "running  50% half\n" for line in watching.stdout)
    assert "begins" in shop.run("logs", jid)
    (tmp_path / "go").touch()
    assert following.communicate(timeout=30)[0].endswith("WARNING  #1 shop: ends\n")
    assert watching.communicate(timeout=30)[0].endswith("processed 100% steps 4/4\n")
    assert (following.returncode, watching.returncode) == (0, 0)
    lines = [json.loads(line) for line in shop.run("logs", jid, "--json").splitlines()]
    assert [(it["index"], it["text"]) for it in lines] == [(1, "begins \x1b[31m"), (2, "ends")]
    assert shop.run("logs", jid, "--attempt", "2") == ""
    assert json.loads(shop.run("watch", jid, "--json"))["progress"]["part"] == 1.0


def test_watching_a_job_that_fails_ends_with_an_exit_code_and_an_unknown_one_is_not_found(
    shop: Shop, tmp_path: Path
) -> None:
    (tmp_path / "go").touch()
    jid = shop.enqueue("fail=true")
    shop.run("worker", "shop:app", "--burst")
    assert shop.run("watch", jid, code=1) == "failed  50% half\n"
    nobody = "01890000-0000-7000-8000-000000000000"
    for words in (("logs", nobody), ("logs", nobody, "-f"), ("watch", nobody)):
        assert "no job" in shop.run(*words, code=3)


def test_the_examples_of_the_page_run(
    namespace: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PROCESSION_URL", f"memory://{namespace}")
    defining, reading = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    names: dict[str, object] = {"__name__": "shop"}
    exec(defining, names)

    async def main() -> None:
        async with working(names["app"]):  # type: ignore[arg-type]
            await asyncio.to_thread(exec, reading, names)

    asyncio.run(main())
    assert "text='files 2/2'" in capsys.readouterr().out
