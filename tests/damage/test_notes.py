"""What jobs said is lost, altered, or left behind: nothing stops, and what belongs to nobody goes."""

from __future__ import annotations

import pytest

from procession.moves import Move
from procession.notes import Note
from tests.damage.conftest import Store

LINE = b'{"at":1,"level":"INFO","logger":"app","text":"hello","attempt":1}'


def noted(store: Store, number: int = 1) -> bool:
    jid, token = store.running[0], store.token
    note = Note(jid=jid, token=token, number=number, progress=b'{"part":0.5}', lines=(LINE,))
    return bool(store.ask(store.database.note([note]))[0])


def lines(store: Store) -> list[str]:
    return [line.text for line in store.ask(store.database.log(store.running[0]))]


@pytest.mark.parametrize("row", [b"", b"short", b"\xff" * 22, b"\0" * 22 + b"no json"])
def test_a_damaged_row_of_notes_stops_no_reader_and_no_writer(store: Store, row: bytes) -> None:
    assert noted(store)
    jid = store.running[0]
    store.server.hset(store.key("notes"), jid.bytes, row)
    store.ask(store.database.log(jid))
    assert store.ask(store.database.find([jid]))[0].progress is None
    noted(store, number=2)
    store.drain()


def test_lines_that_make_no_sense_are_shown_as_they_are(store: Store) -> None:
    assert noted(store)
    store.server.rpush(store.tag.encode() + b":log:" + store.running[0].bytes, b"\xff what")
    assert lines(store) == ["hello", "� what"]


def test_a_lost_list_or_row_costs_only_itself(store: Store) -> None:
    assert noted(store)
    store.server.delete(store.tag.encode() + b":log:" + store.running[0].bytes)
    assert lines(store) == []
    assert noted(store, number=2)
    assert lines(store) == ["hello"]
    store.server.delete(store.key("notes"))
    assert lines(store) == []
    assert store.kinds() == set()


def test_notes_of_a_job_that_is_gone_are_found_and_removed(store: Store) -> None:
    assert noted(store)
    jid = store.running[0]
    store.settle("dead", [Claim(jid, store.token)], Move.PROCESS)
    store.server.hdel(store.key("jobs"), jid.bytes)
    assert {"left over", "key without owner"} <= store.kinds()
    store.walk(mend=True)
    assert store.server.hexists(store.key("notes"), jid.bytes) is False
    assert store.server.exists(store.tag.encode() + b":log:" + jid.bytes) == 0


class Claim:
    """As much of a claim as a settle asks for."""

    def __init__(self, jid: object, token: bytes) -> None:
        self.jid, self.token = jid, token
