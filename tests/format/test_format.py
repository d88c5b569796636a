"""A store that an older release left is read and worked to its end; one of a newer release is refused, untouched."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from procession import Procession, State
from procession.database.redis.keys import tag
from procession.database.redis.opening import FORMAT, READABLE
from procession.errors import WrongVersion
from tests.damage.conftest import Store
from tests.format.freeze import FOLDER, NOW, fill, frozen, jid, thaw

APP = "from procession import Procession\napp = Procession()\n@app.job(queue='mail')\ndef f(text: str): ...\n"


@pytest.fixture
def empty(valkey_url: str, namespace: str) -> Iterator[Store]:
    store = Store(valkey_url, namespace)
    store.now = NOW
    yield store
    store.server.delete(*store.server.keys(store.tag.replace("{", "[{]").replace("}", "[}]") + "*"), "nothing")
    store.connection.close()
    store.server.close()


UNRELEASED = 2
"""The formats up to here are of states before the first release: no store of them has to be read, and none is taken for
one of ours."""


def test_this_release_reads_its_own_format_and_the_one_before() -> None:
    current = int(FORMAT)
    assert [int(it) for it in READABLE] == [number for number in (current - 1, current) if number > UNRELEASED]
    assert {path.name for path in FOLDER.glob("format*.json")} >= {f"format{it.decode()}.json" for it in READABLE}


def test_the_frozen_store_is_what_this_release_writes(empty: Store) -> None:
    fill(empty.database, empty.ask)
    keys, kept = frozen(empty.server, empty.tag), json.loads((FOLDER / f"format{FORMAT.decode()}.json").read_text())
    assert {name: next(iter(it)) for name, it in keys.items()} == {name: next(iter(it)) for name, it in kept.items()}
    assert keys["jobs"]["hash"].keys() == kept["jobs"]["hash"].keys()
    same = [field for field, record in keys["jobs"]["hash"].items() if kept["jobs"]["hash"][field] == record]
    assert len(same) == len(keys["jobs"]["hash"]), "the layout of a record has changed; it is another format then"


@pytest.mark.parametrize("version", READABLE)
def test_a_frozen_store_is_read_worked_to_its_end_and_audited_clean(empty: Store, version: bytes) -> None:
    thaw(empty.server, empty.tag, json.loads((FOLDER / f"format{version.decode()}.json").read_text()))
    assert empty.kinds() == set()
    empty.made = [jid(number) for number in range(1, 13)]
    found = dict(enumerate(empty.ask(empty.database.find(empty.made)), start=1))
    assert [found[number].state.value for number in found] == [
        "processed", "failed", "cancelled", "delayed", "delayed", "running",
        "delayed", "queued", "cancelled", "queued", "queued", "queued",
    ]  # fmt: skip
    assert (bytes(found[1].result), found[1].name, found[1].tags) == (b'{"n":1}', "f", ("t",))
    assert (found[2].reason, found[2].error) == ("exhausted", "ValueError: no")
    assert (found[4].attempt, found[4].due_at, found[5].attempt) == (1, NOW + 5_000, 0)
    assert found[5].reason == "no worker knows the name g"
    assert (found[6].worker, found[6].start_at, found[9].reason) == ("w", NOW, "by hand")
    assert (found[10].priority, found[10].args["text"], found[11].expires_at) == (5, "long " * 400, NOW + 3_600_000)
    assert [it.paused for it in empty.ask(empty.database.queues())] == [False, True]
    empty.ask(empty.database.resume(["slow"]))
    performed = empty.drain(("mail", "slow"))
    assert performed[0] == jid(10)
    assert set(performed) == {jid(number) for number in (4, 5, 6, 7, 8, 10, 11, 12)}
    assert empty.kinds() == set()


def test_a_newer_format_is_refused_by_client_and_worker_and_nothing_is_changed(empty: Store, tmp_path: Path) -> None:
    thaw(empty.server, empty.tag, json.loads((FOLDER / f"format{FORMAT.decode()}.json").read_text()))
    empty.server.hset(empty.key("meta"), "format", "999")
    before = frozen(empty.server, empty.tag)
    app = Procession(empty.database.url, namespace=empty.database.namespace)
    with pytest.raises(WrongVersion, match=r"format 999, this release reads 3; upgrade procession"):
        app.stats()
    with pytest.raises(WrongVersion):
        app.repair(apply=True)
    app.close()
    (tmp_path / "shop.py").write_text(APP)
    environment = {**os.environ, "PROCESSION_URL": app.settings.url, "PROCESSION_NAMESPACE": app.settings.namespace}
    command = [sys.executable, "-m", "procession", "worker", "shop:app", "--burst"]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 3
    assert "upgrade procession" in done.stderr
    assert frozen(empty.server, empty.tag) == before


def test_a_store_of_another_namespace_is_not_looked_at(empty: Store, valkey_url: str) -> None:
    with Redis.from_url(valkey_url) as server:
        server.hset(f"{tag('other')}:meta", "format", "999")
        assert empty.ask(empty.database.counts()).queued == 0
        server.delete(f"{tag('other')}:meta")
    assert State.QUEUED not in empty.states()
