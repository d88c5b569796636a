"""The dashboard within the real frameworks, as the examples show it: below a prefix, by their own sessions, live."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from procession import Procession
from tests.web.conftest import OURS

EXAMPLES = Path(__file__).parents[2] / "examples"


SITES = {"dashboard_fastapi": "site", "dashboard_django": "application"}


class Site:
    """One example, served by uvicorn in a process of its own (a process has one Django, configured once), and somebody
    who has logged in there."""

    def __init__(self, name: str, address: str, app: Procession) -> None:
        self.name = name
        self.address = f"{address}/ops/jobs"
        self.app = app
        self.client = httpx.Client(base_url=address, trust_env=False)


@pytest.fixture(params=[*SITES])
def site(request: pytest.FixtureRequest, valkey_url: str, namespace: str) -> Iterator[Site]:
    name, app = request.param, Procession(valkey_url, namespace=namespace)
    with socket.socket() as line:
        line.bind(("127.0.0.1", 0))
        line.listen()
        command = [sys.executable, "-m", "uvicorn", f"{name}:{SITES[name]}", "--app-dir", str(EXAMPLES), "--fd"]
        command += [str(line.fileno()), "--log-level", "warning", "--timeout-graceful-shutdown", "1"]
        store = {"PROCESSION_URL": valkey_url, "PROCESSION_NAMESPACE": namespace}
        process = subprocess.Popen(command, env=os.environ | store, pass_fds=[line.fileno()])
        site = Site(name, f"http://127.0.0.1:{line.getsockname()[1]}", app)
        try:
            yield site
        finally:
            site.client.close()
            process.terminate()
            process.wait(timeout=20)
    app.flush(confirm=namespace)
    app.close()


def worked(site: Site) -> None:
    """Perform what is ready, as its own worker does."""
    command = [sys.executable, "-m", "procession", "worker", f"{site.name}:app", "--burst"]
    store = {"PROCESSION_URL": site.app.settings.url, "PROCESSION_NAMESPACE": site.app.settings.namespace}
    subprocess.run(command, cwd=EXAMPLES, env=os.environ | store, check=True, capture_output=True)


def test_the_examples_serve_pages_actions_api_and_live_updates_below_their_prefix(site: Site) -> None:
    client, app = site.client, site.app
    outside = client.get("/ops/jobs/")
    assert (outside.status_code, outside.headers["location"]) == (303, "/login")
    client.get("/login")
    page = client.get("/ops/jobs/").text
    assert 'href="/ops/jobs/workers"' in page
    asset = page.split('rel="stylesheet" href="')[1].split('"')[0]
    assert client.get(asset).headers["content-type"].startswith("text/css")
    assert client.get("/ops/jobs/api/openapi.json").json()["servers"] == [{"url": "/ops/jobs"}]
    if site.name == "dashboard_fastapi":
        client.post("/orders/7")
    else:
        client.get("/?name=ada")
    assert client.get("/ops/jobs/api/stats").json()["queued"] == 1

    live = f"{site.address.replace('http', 'ws')}/live?view=overview"
    origin: Any = site.address.removesuffix("/ops/jobs")
    cookies = {"Cookie": "; ".join(f"{name}={value}" for name, value in client.cookies.items())}
    for refused in ({"origin": "http://evil.example", "additional_headers": cookies}, {"origin": origin}):
        with pytest.raises(InvalidStatus):
            connect(live, proxy=None, **refused)
    with connect(live, origin=origin, additional_headers=cookies, proxy=None) as line:
        assert '"flow-queued"' in line.recv(timeout=10)
        worked(site)
        seen: dict[str, str] = {}
        while 'data-flash="1"' not in seen.get("flow-processed", ""):
            seen |= json.loads(line.recv(timeout=10))["regions"].get("flow", {}).get("set", {})

    (job,) = client.get("/ops/jobs/api/jobs").json()["jobs"]
    form = {"do": "retry", "jid": job["jid"], "back": "/ops/jobs/jobs?state=processed"}
    done = client.post("/ops/jobs/jobs/act", data=form, headers=OURS)
    assert done.headers["location"] == "/ops/jobs/jobs?state=processed&done=retry&n=1&of=1"
    assert app.trail()[0].who == "ann"
