"""What a shell completes, and what the settings are said to be: the real command, in a real bash."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from procession import Procession

BIN = Path(sys.executable).parent


def completed(line: str, **environment: str) -> list[str]:
    """What bash offers for the last word of a line."""
    script = f"""
        eval "$(procession completion bash)"
        COMP_WORDS=({line}); COMP_CWORD=$(( ${{#COMP_WORDS[@]}} - 1 ))
        _procession_completion procession; printf "%s\\n" "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, timeout=50, check=False,
        env=os.environ | {"PATH": f"{BIN}:{os.environ['PATH']}"} | environment,
    )  # fmt: skip
    assert done.stderr == ""
    return done.stdout.split()


def test_bash_completes_commands_and_names_of_queues_and_filters(valkey_url: str, namespace: str) -> None:
    app = Procession(valkey_url, namespace=namespace)

    @app.job(name="send", queue="mail.urgent")
    def send() -> None: ...

    send.enqueue()
    store = {"PROCESSION_URL": valkey_url, "PROCESSION_NAMESPACE": namespace}
    assert "queues" in completed("procession que", **store)
    assert completed("procession queues pause mai", **store) == ["mail.urgent"]
    assert completed("procession jobs list sta", **store) == ["state:"]
    app.flush(confirm=namespace)
    app.close()


def test_a_store_that_is_away_has_no_names_to_offer_and_none_is_started(tmp_path: Path) -> None:
    assert completed("procession queues pause x", PROCESSION_URL="redis://127.0.0.1:1") == []
    home = {"PROCESSION_HOME": str(tmp_path), "PROCESSION_URL": "embedded"}
    assert completed("procession queues pause x", **home) == []
    assert not (tmp_path / ".procession").exists()


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_understand_their_script(shell: str) -> None:
    command = [BIN / "procession", "completion", shell]
    script = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "_PROCESSION_COMPLETE" in script
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=script, text=True, check=True)


def test_each_setting_is_shown_with_its_origin_and_no_password(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.procession]\nthreads = 3\npassword = "hunter2"\nhost = "store"\n')

    def ran(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PROCESSION_")}
        return subprocess.run(
            [BIN / "procession", "config", *words], cwd=tmp_path, env=kept | environment, check=False,
            capture_output=True, text=True,
        )  # fmt: skip

    said = json.loads(ran("--explain", "--json", PROCESSION_GRACE="30").stdout)
    assert said["threads"]["value"] == 3
    assert "pyproject.toml" in said["threads"]["from"]
    assert said["grace"] == {"value": 30.0, "from": "PROCESSION_GRACE"}
    assert said["lease"] == {"value": 15.0, "from": "default"}
    for words in ((), ("--explain",), ("--json",)):
        assert "hunter2" not in ran(*words).stdout
    wrong = ran(PROCESSION_THREADS="many")
    assert wrong.returncode == 2
    assert "PROCESSION_THREADS" in wrong.stderr or "the environment" in wrong.stderr
