"""`procession web`, the demonstration beside it, and the example, as real processes."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.web.conftest import served

ROOT = Path(__file__).parents[2]


@contextmanager
def command(*words: str, home: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "procession", *words],
        cwd=home,
        env={**os.environ, "PROCESSION_HOME": str(home)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) is not None
        process.stdout.close()


def address_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().split()[-1]


def test_the_dashboard_is_served_where_it_says(valkey_url: str, namespace: str, tmp_path: Path) -> None:
    with command("web", "--port", "0", "--url", valkey_url, "--namespace", namespace, home=tmp_path) as process:
        address = address_of(process)
        assert address.startswith("http://127.0.0.1:")
        shown = httpx.get(address).text
        assert f'<span class="where">{namespace}</span>' in shown
        assert httpx.get(f"{address}healthz").text == "ok\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 0


def test_a_port_that_is_taken_is_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        words = ["web", "--url", "memory://x", "--port", str(taken.getsockname()[1])]
        done = subprocess.run(
            [sys.executable, "-m", "procession", *words], cwd=tmp_path, capture_output=True, text=True, check=False
        )
    assert done.returncode == 2
    assert re.fullmatch(r"procession: --host 127.0.0.1 --port \d+: cannot listen there: .*in use.*\n", done.stderr)


def test_a_password_file_closes_it(valkey_url: str, tmp_path: Path) -> None:
    (tmp_path / "who").write_text("ann:secret:viewer\n")
    words = ("web", "--port", "0", "--url", valkey_url, "--password-file", "who", "--host", "0.0.0.0")
    with command(*words, home=tmp_path) as process:
        address = address_of(process).replace("0.0.0.0", "127.0.0.1")
        assert httpx.get(address).status_code == 401
        assert "ann · viewer" in httpx.get(address, auth=("ann", "secret")).text


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--host", "0.0.0.0"), "--password-file"),
        (("--password-file", "nowhere"), "cannot be read"),
        (("shop:app", "--namespace", "x"), "either MODULE:APP"),
    ],
)
def test_what_would_show_jobs_to_strangers_is_refused_with_what_to_do(
    words: tuple[str, ...], says: str, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "procession", "web", "--url", "memory://x", *words],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert says in done.stderr


def test_without_the_extra_the_error_names_it(tmp_path: Path) -> None:
    (tmp_path / "starlette.py").write_text("raise ImportError('no', name='starlette')")
    done = subprocess.run(
        [sys.executable, "-m", "procession", "web"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert 'pip install "procession[web]"' in done.stderr


def test_the_demonstration_is_seen_on_its_dashboard(tmp_path: Path) -> None:
    with command("demo", "--web", "--jobs", "3", "--pace", "0.05", "--seed", "1", home=tmp_path) as process:
        assert process.stdout is not None
        address = address_of(process)
        for line in process.stdout:
            if "until Ctrl-C" in line:
                break
        found = httpx.get(f"{address}overview.json").json()["sums"][0]
        assert found["processed"] + found["failed"] == 3
        process.send_signal(signal.SIGINT)
        assert "scheduled: 0" in process.stdout.read()


def test_the_mounted_example_runs(valkey_url: str, namespace: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROCESSION_URL", valkey_url)
    monkeypatch.setenv("PROCESSION_NAMESPACE", namespace)
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    import dashboard_mounted  # type: ignore[import-not-found]

    with served(dashboard_mounted.site) as address:
        jid = httpx.get(f"{address}/?name=ada").text.split()[1].rstrip(";")
        assert httpx.get(f"{address}/ops/jobs/").status_code == 401
        assert httpx.get(f"{address}/ops/jobs/jobs/{jid}", auth=("ann", "lovelace")).status_code == 200


def test_the_examples_of_the_page_about_it_run(valkey_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROCESSION_URL", valkey_url)
    text = (ROOT / "docs" / "dashboard.md").read_text("utf-8")
    examples = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(examples) == 4
    for example in examples:
        exec(compile(example, "docs/dashboard.md", "exec"), {})
