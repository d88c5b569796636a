"""The dashboard within the real frameworks, as the examples show it: below a prefix, by their own sessions, live."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from procession.web import Dashboard
from tests.web.conftest import OURS, perform, served

EXAMPLES = Path(__file__).parents[2] / "examples"


class Site:
    """One example as it is served, and somebody who has logged in there."""

    def __init__(self, module: ModuleType, address: str) -> None:
        self.module = module
        self.address = f"{address}/ops/jobs"
        self.client = httpx.Client(base_url=address, trust_env=False)


def loaded(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # Django finds its views by this name
    spec.loader.exec_module(module)
    return module


@pytest.fixture(params=["dashboard_fastapi", "dashboard_django"])
def site(request: pytest.FixtureRequest, valkey_url: str, namespace: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("PROCESSION_URL", valkey_url)
    monkeypatch.setenv("PROCESSION_NAMESPACE", namespace)
    module = loaded(request.param)  # once: a process has one Django, configured once
    asgi = module.site if request.param == "dashboard_fastapi" else module.application
    dashboard: Dashboard = module.dashboard if hasattr(module, "dashboard") else module.site.routes[-1].app
    with served(asgi, ending=dashboard.app) as address:
        site = Site(module, address)
        yield site
        site.client.close()
    module.app.flush(confirm=namespace)
    module.app.close()
    del sys.modules[request.param]


def test_the_examples_serve_pages_actions_api_and_live_updates_below_their_prefix(site: Site) -> None:
    client, app = site.client, site.module.app
    outside = client.get("/ops/jobs/")
    assert (outside.status_code, outside.headers["location"]) == (303, "/login")
    client.get("/login")
    page = client.get("/ops/jobs/").text
    assert 'href="/ops/jobs/workers"' in page
    asset = page.split('rel="stylesheet" href="')[1].split('"')[0]
    assert client.get(asset).headers["content-type"].startswith("text/css")
    assert client.get("/ops/jobs/api/openapi.json").json()["servers"] == [{"url": "/ops/jobs"}]
    if "fastapi" in site.module.__name__:
        client.post("/orders/7")
    else:
        client.get("/?name=ada")
    assert client.get("/ops/jobs/api/stats").json()["queued"] == 1

    socket = f"{site.address.replace('http', 'ws')}/live?view=overview"
    origin: Any = site.address.removesuffix("/ops/jobs")
    cookies = {"Cookie": "; ".join(f"{name}={value}" for name, value in client.cookies.items())}
    for refused in ({"origin": "http://evil.example", "additional_headers": cookies}, {"origin": origin}):
        with pytest.raises(InvalidStatus):
            connect(socket, proxy=None, **refused)
    with connect(socket, origin=origin, additional_headers=cookies, proxy=None) as line:
        assert '"flow-queued"' in line.recv(timeout=10)
        perform(app)
        seen: dict[str, str] = {}
        while 'data-flash="1"' not in seen.get("flow-processed", ""):
            seen |= json.loads(line.recv(timeout=10))["regions"].get("flow", {}).get("set", {})

    (job,) = client.get("/ops/jobs/api/jobs").json()["jobs"]
    form = {"do": "retry", "jid": job["jid"], "back": "/ops/jobs/jobs?state=processed"}
    done = client.post("/ops/jobs/jobs/act", data=form, headers=OURS)
    assert done.headers["location"] == "/ops/jobs/jobs?state=processed&done=retry&n=1&of=1"
    assert app.trail()[0].who == "ann"
