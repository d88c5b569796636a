"""The live layer: what is sent, to how many, and that nothing goes on when nobody looks."""

from __future__ import annotations

import asyncio
import json

import pytest
from websockets.exceptions import ConnectionClosedError
from websockets.sync.client import connect

from procession import Procession
from procession.web import Access, Dashboard, Role, live
from procession.web.live import Hub, Viewer, changes, joined
from procession.web.render import Page, Renderer
from procession.web.views import VIEWS, Source
from tests.web.conftest import Client, enqueue, perform, served


def test_a_socket_gets_everything_first_and_then_what_changed(app: Procession) -> None:
    with (
        served(Dashboard(app)) as address,
        connect(f"{address.replace('http', 'ws')}/live?view=overview", origin=address, proxy=None) as socket,  # type: ignore[arg-type]
    ):
        first = json.loads(socket.recv(timeout=10))
        assert first["regions"]["flow"]["order"][0] == "flow-delayed"
        assert set(first["regions"]["flow"]["set"]) == set(first["regions"]["flow"]["order"])
        enqueue(app, "a", "b")
        perform(app)
        seen: dict[str, str] = {}
        while 'data-flash="2"' not in seen.get("flow-processed", ""):
            later = json.loads(socket.recv(timeout=10))["regions"]
            seen |= later.get("flow", {}).get("set", {})
        assert "flow-cancelled" not in seen


def test_where_nothing_changes_a_beat_is_sent(app: Procession, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "BEAT", 0.1)
    with (
        served(Dashboard(app)) as address,
        connect(f"{address.replace('http', 'ws')}/live?view=workers", origin=address, proxy=None) as socket,  # type: ignore[arg-type]
    ):
        assert json.loads(socket.recv(timeout=10))["regions"]
        assert json.loads(socket.recv(timeout=10)) | {"at": 0} == {"at": 0, "trouble": "", "regions": {}}


@pytest.mark.parametrize("later", [None, Access("ann", Role.VIEWER)], ids=["nobody", "another role"])
def test_a_socket_ends_with_the_access_of_its_viewer(
    app: Procession, monkeypatch: pytest.MonkeyPatch, later: Access | None
) -> None:
    monkeypatch.setattr(live, "BEAT", 0.1)
    access = [Access("ann", Role.OPERATOR)]
    with (
        served(Dashboard(app, auth=lambda _: access[-1])) as address,
        connect(f"{address.replace('http', 'ws')}/live?view=workers", origin=address, proxy=None) as socket,  # type: ignore[arg-type]
    ):
        socket.recv(timeout=10)
        access.append(later)  # type: ignore[arg-type]
        with pytest.raises(ConnectionClosedError) as ended:
            list(socket)
        assert ended.value.rcvd is not None
        assert ended.value.rcvd.code == 4403


def test_a_socket_ends_when_auth_raises_for_it(
    app: Procession, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(live, "BEAT", 0.1)
    access = [Access("ann")]
    with (
        served(Dashboard(app, auth=lambda _: access[0])) as address,
        connect(f"{address.replace('http', 'ws')}/live?view=workers", origin=address, proxy=None) as socket,  # type: ignore[arg-type]
    ):
        socket.recv(timeout=10)
        access.clear()
        with pytest.raises(ConnectionClosedError) as ended:
            list(iter(lambda: socket.recv(timeout=10), None))
        assert ended.value.rcvd is not None
        assert ended.value.rcvd.code == 4403
    assert "auth raised for an open page, whose socket ends" in caplog.text
    assert "IndexError" in caplog.text


def test_the_same_rows_are_there_by_get_for_who_has_no_socket(app: Procession, client: Client) -> None:
    (jid,) = enqueue(app, "a")
    rows = client.get("/live?view=jobs&state=queued").json()["regions"]["jobs"]
    assert rows["order"] == [f"jobs-{jid}"]
    assert client.get("/live?view=nothing").status_code == 400


def test_changes_are_the_rows_that_differ_and_the_order_if_it_does() -> None:
    old = {"jobs": {"a": "1", "b": "2"}}
    assert changes(old, {"jobs": {"a": "1", "b": "2"}}) == {}
    assert changes(old, {"jobs": {"a": "1", "b": "3"}}) == {"jobs": {"set": {"b": "3"}}}
    assert changes(old, {"jobs": {"c": "4", "a": "1"}}) == {"jobs": {"set": {"c": "4"}, "order": ["c", "a"]}}
    assert changes(old, {"jobs": {}}) == {"jobs": {"order": []}}


def test_messages_that_a_slow_viewer_has_not_taken_become_one() -> None:
    first = {"at": 1, "regions": {"jobs": {"set": {"a": "1", "b": "2"}, "order": ["a", "b"]}}}
    second = {"at": 2, "regions": {"jobs": {"set": {"c": "3"}, "order": ["c", "b"]}, "flow": {"set": {"x": "9"}}}}
    assert joined(first, second) == {
        "at": 2,
        "regions": {"jobs": {"set": {"b": "2", "c": "3"}, "order": ["c", "b"]}, "flow": {"set": {"x": "9"}}},
    }


def hub_of(app: Procession) -> tuple[Hub, Page]:
    return Hub(Source(app), Renderer("test")), Page(view="overview", base="", access=Access("ann"))


def test_all_who_watch_one_view_share_one_task_which_ends_with_the_last(app: Procession) -> None:
    async def watch() -> None:
        hub, page = hub_of(app)
        joined_ones = [hub.join(VIEWS["overview"], page) for _ in range(20)]
        (watched,) = hub.watched.values()
        messages = await asyncio.gather(*(viewer.take() for _, viewer in joined_ones))
        assert all(message is messages[0] for message in messages)
        late = hub.join(VIEWS["overview"], page)
        assert set((await late[1].take())["regions"]) == set(messages[0]["regions"])
        for key, viewer in [*joined_ones, late]:
            hub.part(key, viewer)
        assert hub.watched == {}
        with pytest.raises(asyncio.CancelledError):
            await watched.task  # type: ignore[misc]
        await app.close_async()

    asyncio.run(watch())


def test_a_viewer_who_may_act_and_one_who_may_not_do_not_share_rows(app: Procession) -> None:
    hub, page = hub_of(app)
    other = Page(view="overview", base="/ops", access=Access("ann"))

    async def watch() -> None:
        both = [hub.join(VIEWS["overview"], page), hub.join(VIEWS["overview"], other)]
        assert len(hub.watched) == 2
        for key, viewer in both:
            hub.part(key, viewer)
        await asyncio.sleep(0)

    asyncio.run(watch())


def test_at_most_one_message_waits_for_a_viewer() -> None:
    async def take() -> None:
        viewer = Viewer()
        for number in range(1_000):
            viewer.offer({"at": number, "regions": {"flow": {"set": {"x": str(number)}}}})
        assert (await viewer.take())["regions"] == {"flow": {"set": {"x": "999"}}}

    asyncio.run(take())
