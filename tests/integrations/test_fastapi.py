"""FastAPI and Starlette themselves: lifespan, dependency, mounted dashboard, a worker on the site's own loop."""

from __future__ import annotations

import asyncio
import importlib.util
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from procession import ConfigError, Procession
from procession.integrations.fastapi import Jobs, lifespan, procession_of, running
from tests.web.conftest import perform

ROOT = Path(__file__).parents[2]


def visit(site: Any, visiting: Callable[[httpx.AsyncClient], Awaitable[Any]]) -> Any:
    """Start the application as a server does (lifespan and its state), visit it, and end it."""

    async def main() -> Any:
        async with site.router.lifespan_context(site) as state:

            async def with_state(scope: Any, receive: Any, send: Any) -> None:
                await site({**scope, "state": dict(state or {})}, receive, send)

            transport = httpx.ASGITransport(with_state, client=("127.0.0.1", 50_000))
            async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
                return await visiting(client)

    return asyncio.run(main())


@pytest.fixture
def loaded(valkey_url: str, namespace: str, monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], ModuleType]:
    monkeypatch.setenv("PROCESSION_URL", valkey_url)
    monkeypatch.setenv("PROCESSION_NAMESPACE", namespace)

    def load(path: Path) -> ModuleType:
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(__import__("sys").modules, path.stem, module)
        spec.loader.exec_module(module)
        return module

    return load


def test_the_example_enqueues_performs_and_shows_the_dashboard(loaded: Callable[[Path], ModuleType]) -> None:
    module = loaded(ROOT / "examples" / "fastapi_shop.py")

    async def visiting(client: httpx.AsyncClient) -> None:
        answer = await client.post("/greetings/ada")
        assert answer.status_code == 202
        found = await client.get(f"/greetings/{answer.json()['jid']}")
        assert found.json()["result"] == "hello ada"
        assert (await client.get("/greetings/0198c0de-0000-7000-8000-000000000000")).json()["state"] is None
        assert "<title>" in (await client.get("/jobs/")).text

    visit(module.site, visiting)
    assert module.app.stats().processed == 1
    assert module.app.workers() == []
    module.app.close()


def test_the_page_s_example_runs(loaded: Callable[[Path], ModuleType], tmp_path: Path) -> None:
    [code] = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "fastapi.md").read_text("utf-8"), re.DOTALL)
    (tmp_path / "page.py").write_text(code)
    module = loaded(tmp_path / "page.py")

    async def visiting(client: httpx.AsyncClient) -> Any:
        await client.post("/greetings/ada")
        return (await client.get("/stats")).json()

    assert visit(module.site, visiting)["queued"] == 1
    perform(module.app)
    assert module.app.stats().processed == 1
    module.app.close()


def test_starlette_and_a_lifespan_of_one_s_own_do_as_well(namespace: str) -> None:
    app = Procession(f"memory://{namespace}")

    @asynccontextmanager
    async def own(site: Any) -> AsyncIterator[dict[str, Any]]:
        async with running(app):
            yield {"procession": app}

    async def queued(request: Request) -> JSONResponse:
        return JSONResponse((await procession_of(request).stats_async()).queued)

    async def visiting(client: httpx.AsyncClient) -> int:
        return int((await client.get("/")).text)

    assert visit(Starlette(routes=[Route("/", queued)], lifespan=own), visiting) == 0


def test_without_the_lifespan_the_dependency_says_what_to_do() -> None:
    site = FastAPI()

    @site.get("/")
    async def home(jobs: Jobs) -> None: ...

    async def visiting(client: httpx.AsyncClient) -> None:
        with pytest.raises(ConfigError, match="lifespan=lifespan"):
            await client.get("/")

    visit(site, visiting)


def test_a_site_starts_while_the_store_is_away_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    app = Procession("redis://127.0.0.1:1", budget=0.2)

    async def visiting(client: httpx.AsyncClient) -> int:
        return (await client.get("/")).status_code

    assert visit(FastAPI(lifespan=lifespan(app)), visiting) == 404
    assert "the store does not answer yet" in caplog.text


def test_a_worker_that_cannot_go_on_is_reported_and_the_site_stays(
    namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    app = Procession(f"memory://{namespace}")

    @app.job
    async def job() -> None: ...

    @app.lifespan
    def broken(app: Procession) -> Any:
        raise OSError("no database")
        yield {}

    async def visiting(client: httpx.AsyncClient) -> int:
        return (await client.get("/")).status_code

    assert visit(FastAPI(lifespan=lifespan(app, worker=True)), visiting) == 404
    assert "the queue worker of this web process ended: no database" in caplog.text
