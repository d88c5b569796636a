"""The command line, the demonstration and the examples, as real processes on a real embedded server."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from redis import Redis

from procession.database.redis.embedded import Server

ROOT = Path(__file__).parents[2]
APP = """
from procession import Procession
app = Procession()

@app.job(queue="mail", retry=False)
def send(to: str, count: int = 1) -> str:
    if to == "nobody":
        raise ValueError("no such person")
    if to == "stranger":
        raise ValueError("\\x1b]0;title\\x07\\r\\u202e")
    return to * count
"""
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    (tmp_path / "shop.py").write_text(APP)

    def run(*words: str, code: int = 0, program: str | None = None) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, *([program] if program else ["-m", "procession"]), *words]
        done = subprocess.run(
            command,
            cwd=tmp_path,
            env={**os.environ, "PROCESSION_HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=50,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done

    yield run
    Server(tmp_path).stop()


def test_a_job_goes_through_the_command_line_from_enqueue_to_result(run: Run) -> None:
    jid = run("enqueue", "shop:app", "shop.send", "ada", "count=2").stdout.strip()
    bad = json.loads(run("enqueue", "shop:app", "shop.send", "nobody", "--json").stdout)["jid"]
    later = run("enqueue", "shop:app", "shop.send", "eve", "--delay", "1h").stdout.strip()
    assert json.loads(run("stats", "--json").stdout)["scheduled"] == 3
    assert json.loads(run("queues", "--json").stdout)[0]["queued"] == 2
    log = run("worker", "shop:app", "--burst").stderr
    assert "shop.send" in log
    assert "finished in" in log
    assert "ValueError: no such person" in log
    assert json.loads(run("jobs", "show", jid, "--json").stdout)["result"] == "adaada"
    failed = json.loads(run("jobs", "list", "--json").stdout)["jobs"]
    assert [(job["jid"], job["failures"][0]["type"]) for job in failed] == [(bad, "ValueError")]
    assert "no such person" in run("jobs", "list", "--state", "failed").stdout
    refused = run("jobs", "retry", bad, "--args", '{"whom": "bob"}', "--app", "shop:app", code=2).stderr
    assert "these arguments do not fit send" in refused
    edited = run("jobs", "retry", bad, "--args", '{"to": "nobody"}', "--app", "shop:app").stdout
    assert edited == f"{bad} queued again\n"
    run("jobs", "retry", bad, "--args", '{"to": "bob"}', code=3)
    run("jobs", "cancel", bad, later)
    run("jobs", "remove", jid)
    run("jobs", "show", jid, code=3)
    assert json.loads(run("stats", "--json").stdout)["scheduled"] == 0
    assert json.loads(run("workers", "--json").stdout) == []


def test_what_a_job_says_cannot_steer_the_terminal_of_whoever_looks(run: Run) -> None:
    jid = run("enqueue", "shop:app", "shop.send", "stranger").stdout.strip()
    run("queues", "pause", "mail", "--reason", "\x1b[5m")
    assert r"\x1b[5m" in run("why", jid).stdout
    assert r"\x1b[5m" in run("queues").stdout
    run("queues", "resume", "mail")
    log = run("worker", "shop:app", "--burst").stderr
    assert r";title\x07" in log
    assert not {"\x1b", "\x07", "\r", "\u202e"} & {*log}
    for words in (
        ("jobs", "show", jid),
        ("jobs", "list"),
        ("jobs", "error:ValueError"),
        ("why", jid),
        ("errors",),
        ("jobs", "retry", "--filter", "state:failed"),
    ):
        done = run(*words, code=1 if "--filter" in words else 0)
        assert r";title\x07" in done.stdout + done.stderr, words
        assert not {"\x1b", "\x07", "\r", "\u202e"} & {*done.stdout, *done.stderr}, words
    document = run("jobs", "show", jid, "--json").stdout
    assert "\u202e" not in document
    assert "\u202e" in json.loads(document)["failures"][0]["message"]


def test_a_terminal_of_another_encoding_gets_what_it_can_show_and_the_rest_as_escapes(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "latin-1")
    jid = run("enqueue", "shop:app", "shop.send", "ada, жук \U0001f41b").stdout.strip()
    assert r"\u0436\u0443\u043a" in run("jobs", "show", jid).stdout
    assert json.loads(run("jobs", "show", jid, "--json").stdout)["args"]["to"] == "ada, жук \U0001f41b"
    assert r"\u2192 " in run("doctor").stdout
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    assert r"q quit \xb7" in run("top", "--once").stdout


def test_words_that_are_no_text_are_refused(run: Run) -> None:
    for words in (("enqueue", "shop:app", "shop.send"), ("jobs", "list"), ("queues", "pause")):
        assert "no text" in run(*words, "queue:\udcff", code=2).stderr


def test_a_table_on_a_narrow_terminal_has_its_ids_whole_and_names_as_they_are(run: Run) -> None:
    jid = run("enqueue", "shop:app", "shop.send", "stranger", "--delay", "1h").stdout.strip()
    run("queues", "pause", "mail", "--reason", "see :key: [/wiki]\nresumed")

    def on_a_terminal(*words: str, program: str = "-m procession") -> str:
        command = [sys.executable, *program.split(), *words]
        script = f"import os, pty; os.environ['COLUMNS'] = '80'; pty.spawn({command!r})"
        return run(script, program="-c").stdout

    assert jid in on_a_terminal("jobs", "state:delayed")
    assert "see :key: [/wiki] resumed" in on_a_terminal("queues")
    assert "\x1b[1m" in on_a_terminal("stats"), "it fits"
    wide = "もう要りません" * 3  # each of these letters takes the place of two
    table = f"from procession.cli.shared import print_table; print_table(['jid', 'note'], [[{jid!r}, {wide!r}]])"
    assert f"{jid}  {wide}" in on_a_terminal(table, program="-c")


def test_a_job_that_is_named_twice_is_changed_once(run: Run) -> None:
    jid = run("enqueue", "shop:app", "shop.send", "ada").stdout.strip()
    assert run("jobs", "cancel", jid, jid.upper(), jid).stdout == f"{jid} cancelled, or told to stop where it runs\n"
    run("jobs", "cancel", jid, "nonsense", code=2)


@pytest.mark.parametrize(
    ("words", "to", "code"), [("stats", "/dev/full", 1), ("stats", "&-", 0), ("jobs list", "&-", 0)]
)
def test_an_output_that_takes_nothing_is_no_traceback(run: Run, words: str, to: str, code: int) -> None:
    command = f"exec {sys.executable} -m procession {words} >{to}"
    shell = f"import subprocess, sys; sys.exit(subprocess.call({command!r}, shell=True))"
    errors = run(shell, program="-c", code=code).stderr
    assert "Traceback" not in errors
    assert "Exception ignored" not in errors
    assert ("procession: " in errors) == (code > 0)


def test_queues_are_paused_resumed_and_purged(run: Run) -> None:
    run("enqueue", "shop:app", "shop.send", "ada")
    run("queues", "pause", "mail", "--reason", "too hot")
    assert "too hot" in run("queues").stdout
    run("worker", "shop:app", "--burst")
    assert json.loads(run("stats", "--json").stdout)["queued"] == 1
    run("queues", "resume", "mail")
    asked = run("queues", "purge", "mail", "--json", code=1)  # nobody answers
    assert (asked.stdout, "remove every queued job of mail?" in asked.stderr) == ("", True)
    assert json.loads(run("queues", "purge", "mail", "--yes", "--json").stdout) == {"removed": 1}
    assert "confirm it with --confirm procession" in run("flush", "--confirm", "wrong", code=2).stderr
    run("flush", "--confirm", "procession")


def test_jobs_are_found_and_changed_by_a_filter_and_say_why_they_wait(run: Run) -> None:
    jids = [run("enqueue", "shop:app", "shop.send", to).stdout.strip() for to in ("ada", "nobody", "nobody")]
    assert json.loads(run("why", jids[0], "--json").stdout)["kind"] == "no_worker"
    run("queues", "pause", "mail", "--reason", "too hot", "--by", "ada")
    assert "paused by ada" in run("why", jids[0]).stdout
    assert "by ada too hot" in run("queues").stdout
    run("queues", "resume", "mail")
    run("worker", "shop:app", "--burst")
    found = json.loads(run("jobs", "error:ValueError since:1h", "--json").stdout)
    assert {job["jid"] for job in found["jobs"]} == {*jids[1:]}
    assert jids[0] in run("jobs", "list", "args.to:ada").stdout
    assert jids[0] in run("jobs", "list", "--queue", "mail").stdout
    assert jids[0] in run("jobs", "list", "--state", "processed", "--queue", "mail", "--name", "shop.*").stdout
    assert "sate" in run("jobs", "sate:failed", code=2).stderr
    asked = run("jobs", "retry", "--filter", "error:ValueError", code=1).stderr  # nobody answers
    assert "2 jobs would be queued again" in asked
    assert "2  shop.send" in asked
    assert "2 jobs queued again" in run("jobs", "retry", "--filter", "error:ValueError", "--yes").stdout
    assert json.loads(run("jobs", "cancel", "--filter", "state:queued", "--yes", "--json").stdout)["changed"] == 2
    assert "3 jobs removed" in run("jobs", "remove", "--filter", "queue:mail", "--yes").stdout
    run("jobs", "remove", code=2)
    run("jobs", "remove", jids[0], "--filter", "queue:mail", code=2)
    run("why", jids[0], code=3)


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("worker", "nowhere:app"), 2, "cannot import 'nowhere'"),
        (("worker", "./shop.py:app"), 2, "write module:app, such as shop.jobs:app"),
        (("worker", "shop:other"), 2, "other is not a Procession app"),
        (("worker", "shop:app", "-q", "failed"), 2, "name of a final state"),
        (("worker", "shop:app", "-q", "mail:2", "--strict"), 2, "leave the shares out"),
        (("enqueue", "shop:app", "shop.nothing"), 3, "no job 'shop.nothing'"),
        (("enqueue", "shop:app", "shop.send", "ada", "count=many"), 2, "Expected `int`"),
        (("stats", "--url", "redis://127.0.0.1:1"), 4, "no answer from the store"),
        (("stats", "--url", "http://x"), 2, "cannot use the store URL"),
        (("jobs", "show", "nonsense"), 2, "is not a jid"),
    ],
)
def test_mistakes_are_one_clear_line_and_their_own_exit_code(
    run: Run, words: tuple[str, ...], code: int, says: str
) -> None:
    errors = run(*words, code=code).stderr
    assert says in errors
    assert "Traceback" not in errors


def test_the_doctor_and_repair_find_what_was_done_to_the_store(run: Run, tmp_path: Path) -> None:
    run("enqueue", "shop:app", "shop.send", "ada")
    assert "PROBLEM" not in run("doctor").stdout
    grades = {it["name"]: it["grade"] for it in json.loads(run("doctor", "--json").stdout)}
    assert (grades["server"], grades["persistence"], grades["queues"]) == ("ok", "ok", "warning")
    assert "nothing is wrong" in run("repair").stdout
    with Redis(unix_socket_path=Server(tmp_path).status().socket) as server:
        server.delete("{procession:0}:lane:mail:0")
    said = run("repair", code=1).stdout
    assert "not in its lane" in said
    assert "procession repair --apply" in said
    findings = json.loads(run("repair", "--apply", "--json", code=1).stdout)["findings"]
    assert {(it["kind"], it["mended"]) for it in findings} == {("not in its lane", True), ("depth", True)}
    assert json.loads(run("repair", "--json").stdout)["findings"] == []
    run("worker", "shop:app", "--burst")
    assert json.loads(run("stats", "--json").stdout)["processed"] == 1


def test_the_server_can_be_looked_at_and_stopped(run: Run) -> None:
    run("server", "status", code=1)
    run("stats")
    assert json.loads(run("server", "status", "--json").stdout)["running"] is True
    run("server", "stop")
    run("server", "stop", code=1)


def test_the_demonstration_shows_what_the_stats_say(run: Run) -> None:
    lines = run("demo", "--pace", "0.05", "--seed", "7").stdout.splitlines()
    processed = sum(line.endswith("→ processed") for line in lines)
    failed = sum("→ failed" in line for line in lines)
    assert sum(line.endswith(" scheduled") for line in lines) == 10
    assert (processed + failed, failed > 0) == (10, True)
    assert lines[-1] == f"{{processed: {processed}, scheduled: 0, failed: {failed}}}"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_demonstration_whose_terminal_goes_away_leaves_nothing_behind(number: int) -> None:
    command = [sys.executable, "-m", "procession", "demo"]
    with tempfile.TemporaryDirectory() as short:  # pytest's own may be too long for a socket
        environment = {**os.environ, "TMPDIR": short}
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as demo:
            assert demo.stdout is not None
            assert any("running" in line for line in demo.stdout)
            [home] = Path(short).glob("procession-demo-*")
            demo.send_signal(number)
            assert demo.wait(timeout=50) == 128 + number
        assert not home.exists(), "its store, and before that its workers, have been stopped"


def test_checksums_are_those_of_sha256sum(run: Run, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "sub").mkdir(parents=True)
    for name in (b"plain", b"odd name", b"new\nline", b"back\\slash", b"sub/\xff\xfe", b"-dash"):
        Path(os.fsdecode(os.fsencode(tree) + b"/" + name)).write_bytes(name * 1_000)
    (tree / "empty").write_bytes(b"")
    (tree / "dangling").symlink_to(tree / "nowhere")
    command = [sys.executable, str(ROOT / "examples" / "checksums.py"), str(tree)]
    ours = subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=50, check=False)
    files = [entry for entry in sorted(tree.rglob("*")) if entry.is_file()]
    theirs = subprocess.run(["sha256sum", *map(str, files)], capture_output=True, check=True)
    assert sorted(ours.stdout.splitlines()) == sorted(theirs.stdout.splitlines())
    assert len(files) == 7
    assert ours.returncode == 1
    assert b"dangling" in ours.stderr
    assert b"FileNotFoundError" in ours.stderr


def test_a_thousand_jobs_wait_together(run: Run) -> None:
    said = run(program=str(ROOT / "examples" / "fetch_many.py")).stdout
    assert said.startswith("1000 jobs, sum 999000, in ")


def test_the_quickstart_runs_beside_a_worker(run: Run, tmp_path: Path) -> None:
    (tmp_path / "quickstart.py").write_text((ROOT / "examples" / "quickstart.py").read_text())
    worker = subprocess.Popen([sys.executable, "-m", "procession", "worker", "quickstart:app"], cwd=tmp_path)
    try:
        assert "sent 'hello' to ada@example.org" in run(program="quickstart.py").stdout
    finally:
        worker.terminate()
        assert worker.wait(timeout=30) == 0
