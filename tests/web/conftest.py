"""An app with a job of every fate, over memory and over real servers, and a client that is this machine."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
import uvicorn

from procession import Discard, Procession
from procession.runtime.queue_worker import QueueWorker
from procession.web import Dashboard

HOSTILE = "<script>alert(1)</script>\u202e\u0000\"'><img src=x onerror=alert(2)>"
OURS = {"Sec-Fetch-Site": "same-origin"}


def made(url: str, namespace: str, **settings: Any) -> Procession:
    """An app whose jobs do as their argument says."""
    app = Procession(url, namespace=namespace, **settings)

    @app.job(name="shop.deliver", queue="mail", retry=False)
    async def deliver(what: str) -> str:
        if what.startswith("fail"):
            raise ValueError(what.removeprefix("fail"))
        if what == "discard":
            raise Discard("not wanted")
        return what

    return app


def enqueue(app: Procession, *whats: str, **options: Any) -> list[str]:
    """Enqueue deliveries; their jids."""
    registered = app.registry.get("shop.deliver")
    assert registered is not None
    caller = app.caller(registered.source).using(**options)
    return [str(handle.jid) for handle in app.enqueue_many(caller.bind(what) for what in whats)]


def perform(app: Procession) -> None:
    """Perform all that is ready, with a real queue worker."""

    async def run() -> None:
        await QueueWorker(app, burst=True).run()
        await app.close_async()

    with ThreadPoolExecutor(1) as pool:  # a browser's driver has a loop running in this thread
        pool.submit(asyncio.run, run()).result()


@pytest.fixture(params=["memory", "valkey", "redis"])
def app(request: pytest.FixtureRequest, namespace: str) -> Iterator[Procession]:
    backend = request.param
    url = f"memory://{namespace}" if backend == "memory" else request.getfixturevalue(f"{backend}_url")
    app = made(url, namespace)
    yield app
    app.flush(confirm=namespace)
    app.close()


@pytest.fixture
def client(app: Procession) -> Client:
    return Client(Dashboard(app), app)


class Client:
    """Asks an ASGI app without a server, as from this machine or from wherever `peer` is; keeps its cookies."""

    def __init__(self, asgi: Any, app: Procession, *, base: str = "http://127.0.0.1", peer: str = "127.0.0.1") -> None:
        self._asgi, self._app, self._base, self._peer = asgi, app, base, peer
        self.cookies = httpx.Cookies()

    def get(self, path: str, **options: Any) -> httpx.Response:
        return asyncio.run(self._ask("GET", path, options))

    def post(self, path: str, **options: Any) -> httpx.Response:
        return asyncio.run(self._ask("POST", path, options))

    async def _ask(self, method: str, path: str, options: Any) -> httpx.Response:
        transport = httpx.ASGITransport(self._asgi, client=(self._peer, 50_000))
        async with httpx.AsyncClient(transport=transport, base_url=self._base, cookies=self.cookies) as client:
            answer = await client.request(method, path, **options)
            self.cookies = httpx.Cookies(client.cookies)
        await self._app.close_async()
        return answer


@contextmanager
def served(asgi: Any, port: int = 0, *, ending: Procession | None = None) -> Iterator[str]:
    """Serve an ASGI app on a real port, in a thread with a loop of its own; yields its address. `ending` is the app
    whose sockets of that loop end with it; a dashboard names its own."""
    server = uvicorn.Server(
        uvicorn.Config(asgi, port=port, log_level="warning", lifespan="off", timeout_graceful_shutdown=1)
    )
    line = server.config.bind_socket()
    line.listen()

    async def run() -> None:
        await server.serve([line])
        its = asgi.app if isinstance(asgi, Dashboard) else ending
        if its is not None:  # its loop ends here, and the sockets that belong to it
            await its.close_async()

    thread = threading.Thread(target=lambda: asyncio.run(run()))
    thread.start()
    try:
        yield f"http://127.0.0.1:{line.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(timeout=20)
        line.close()
        assert not thread.is_alive()
