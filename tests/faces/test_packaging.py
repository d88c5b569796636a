"""What is shipped: wheel and sdist build, hold what is needed at run time and nothing else, and name their extras."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "procession"


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_the_wheel_holds_every_file_of_the_package_and_no_other(dist: Path) -> None:
    with zipfile.ZipFile(next(dist.glob("*.whl"))) as wheel:
        shipped = {name for name in wheel.namelist() if ".dist-info/" not in name}
    ours = {
        f"procession/{path.relative_to(SOURCE)}" for path in SOURCE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }  # fmt: skip
    assert shipped == ours | {"pytest_procession.py"}  # beside it, so that pytest loads it without loading us
    assert "procession/py.typed" in shipped


def test_the_sdist_can_be_tested_and_documented_where_it_is_unpacked(dist: Path) -> None:
    with tarfile.open(next(dist.glob("*.tar.gz"))) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"Makefile", "mkdocs.yml", "LICENSE", "SECURITY.md", "docs/tutorial.md", "tests/conftest.py"} <= names


def test_the_readme_names_every_extra_that_a_user_may_want(dist: Path) -> None:
    with zipfile.ZipFile(next(dist.glob("*.whl"))) as wheel:
        name = next(name for name in wheel.namelist() if name.endswith("/METADATA"))
        metadata: Message = Parser().parsestr(wheel.read(name).decode())
    extras = set(metadata.get_all("Provides-Extra", [])) - {"dev", "docs"}
    text = (ROOT / "README.md").read_text("utf-8")
    table = re.findall(r"^\| `\[.*?\|", text, re.MULTILINE)
    assert extras == set(re.findall(r"`\[(\w+)\]`", " ".join(table)))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert extras == set(project["optional-dependencies"]) - {"dev", "docs"}
