"""The machine's own Chromium, headless; one for all tests. Every page is watched: an error on its console, a refusal by
its policy or a failed request of its own fails the test."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest

from procession import Procession
from procession.web import Dashboard
from tests.web.conftest import made, served

FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip

playwright = pytest.importorskip("playwright.sync_api")


@pytest.fixture(scope="module")
def chromium() -> Iterator[playwright.Browser]:
    path = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        message = "NO chromium ON THIS MACHINE: the dashboard was not seen in a browser; set CHROMIUM, or install it"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def app(valkey_url: str, namespace: str) -> Iterator[Procession]:
    app = made(valkey_url, namespace)
    yield app
    app.flush(confirm=namespace)
    app.close()


@pytest.fixture
def address(app: Procession) -> Iterator[str]:
    with served(Dashboard(app)) as address:
        yield address


class Watched:
    """A page, and what went wrong on it."""

    def __init__(self, page: playwright.Page) -> None:
        self.page = page
        self.wrong: list[str] = []
        self.away = False
        """While a test has the server stopped, the browser says so, rightly."""
        page.on("console", lambda it: self._note(it.text) if it.type in ("error", "warning") else None)
        page.on("pageerror", lambda it: self._note(str(it)))

    def _note(self, text: str) -> None:
        if not (self.away and ("WebSocket" in text or "ERR_CONNECTION" in text)):
            self.wrong.append(text)


@pytest.fixture
def watched(chromium: playwright.Browser) -> Iterator[Watched]:
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(15_000)
    watched = Watched(context.new_page())
    yield watched
    context.close()
    assert watched.wrong == []


@pytest.fixture
def page(watched: Watched) -> playwright.Page:
    return watched.page
