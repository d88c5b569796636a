"""What the scripts of schedules leave in the store."""

from __future__ import annotations

from procession.database.redis.keys import row_of
from procession.schedule import Schedule, due, planned
from tests.lua.conftest import NOW, Keyspace

MINUTE = 60_000


def test_a_schedule_has_four_keys_of_the_table_and_flush_takes_them(keys: Keyspace) -> None:
    ask, database = keys.connection.ask, keys.database
    asked = Schedule(name="tick", job="app.tick", every=MINUTE)
    late = planned(asked, NOW - 2 * MINUTE)
    ask(database.upsert_schedules([late], declared=True))
    [info] = ask(database.due_schedules(10)).schedules
    assert ask(database.fire([due(info, NOW)])) == ["fired"]
    found = {name.decode().removeprefix(f"{keys.tag}:") for name in keys.server.keys(f"{keys.tag}:*")}
    assert {"schedules", "schedules:state", "schedules:due", "schedules:declared"} <= found
    assert all(row_of(name) for name in found)
    assert keys.server.zscore(keys.key("schedules:due"), "tick") == NOW - NOW % MINUTE + MINUTE
    ask(database.flush())
    assert keys.server.keys(f"{keys.tag}:*") == []


def test_a_removed_schedule_leaves_nothing(keys: Keyspace) -> None:
    ask, database = keys.connection.ask, keys.database
    ask(database.upsert_schedules([planned(Schedule(name="tick", job="app.tick", every=MINUTE), NOW)], declared=True))
    assert ask(database.remove_schedules(["tick"])) == [True]
    assert keys.server.keys(f"{keys.tag}:schedules*") == []
