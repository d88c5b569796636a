"""Flask with the real thing: contexts around runs, the command line, the page's example."""

from __future__ import annotations

import importlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, current_app, g

from procession import ConfigError, Procession
from procession.integrations.flask import FlaskJobs, jobs_of
from tests.web.conftest import perform

PAGE = Path(__file__).parents[2] / "docs" / "flask.md"


@pytest.mark.parametrize("kind", ["def", "async def"])
def test_each_run_has_a_context_of_the_application_of_its_own(namespace: str, kind: str) -> None:
    app, site = Procession(f"memory://{namespace}", retry=False), Flask("shop")
    site.config["GREETING"] = "hello"
    torn: list[Any] = []
    site.teardown_appcontext(torn.append)
    FlaskJobs(app, site)

    def body(name: str) -> str:
        assert "seen" not in g
        g.seen = True
        if name == "nobody":
            raise ValueError(name)
        return f"{current_app.config['GREETING']} {name}"

    async def body_async(name: str) -> str:
        return body(name)

    job: Any = app.job(name="greet")(body if kind == "def" else body_async)
    handles = [job.enqueue(name) for name in ("ada", "bob", "nobody")]
    perform(app)
    assert [handle.result(timeout=5) for handle in handles[:2]] == ["hello ada", "hello bob"]
    assert handles[2].job().error == "ValueError: nobody"
    assert len(torn) == 3
    assert not current_app


def test_an_application_has_the_jobs_of_one_app_however_often_it_is_joined(namespace: str) -> None:
    app, site = Procession(f"memory://{namespace}"), Flask("shop")
    with pytest.raises(ConfigError, match="init_app"):
        jobs_of(site)
    jobs = FlaskJobs(app)
    jobs.init_app(site)
    jobs.init_app(site)
    assert jobs_of(site) is app
    assert len(app.registry.policies.middleware) == 1
    with pytest.raises(ConfigError, match="another app"):
        FlaskJobs(Procession("memory://other"), site)


def test_runs_are_within_the_application_that_a_factory_made_last_and_only_in_that(namespace: str) -> None:
    app = Procession(f"memory://{namespace}")
    jobs, torn = FlaskJobs(app), []

    def create_app(name: str) -> Flask:
        site = Flask(name)
        site.teardown_appcontext(lambda _: torn.append(name))
        jobs.init_app(site)
        return site

    @app.job(name="where")
    def where() -> str:
        return current_app.name

    for name in ("first", "second"):
        create_app(name)
        handle = where.enqueue()
        perform(app)
        assert handle.result(timeout=5) == name
    assert torn == ["first", "second"]


def test_the_page_s_application_serves_performs_and_has_the_command(
    valkey_url: str, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROCESSION_URL", valkey_url)
    monkeypatch.setenv("PROCESSION_NAMESPACE", namespace)
    monkeypatch.syspath_prepend(tmp_path)
    [code] = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    (tmp_path / "flask_shop.py").write_text(code)
    shop = importlib.import_module("flask_shop")
    answer = shop.site.test_client().post("/greetings/ada")
    assert answer.status_code == 202
    perform(shop.app)
    assert shop.app.handle(answer.json["jid"]).result(timeout=5) == "hello ada"
    said = shop.site.test_cli_runner().invoke(args=["procession", "stats", "--json"])
    assert json.loads(said.output)["processed"] == 1
    wrong = shop.site.test_cli_runner().invoke(args=["procession", "enqueue", "flask_shop:app", "nothing"])
    assert (wrong.exit_code, wrong.stderr) == (3, "procession: no job 'nothing' in this app; it has flask_shop.greet\n")
    shop.app.flush(confirm=namespace)
    shop.app.close()
