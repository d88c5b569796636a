"""The examples of docs/testing.md run as they stand, in a project made of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.kit.conftest import STRICT

PAGE = Path(__file__).parents[2] / "docs" / "testing.md"


def test_the_page_is_a_green_project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    blocks = re.findall(r"```(?:python|toml)\n# (\S+)\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    assert len(blocks) == 6
    for name, text in blocks:
        (pytester.path / name).write_text(text, "utf-8")
    pytester.runpytest_inprocess("-q", "-p", "pytest_procession", *STRICT).assert_outcomes(passed=10)
