"""The live layer: one task for each view that somebody watches, whoever many watch it.

Each tick loads the view once, draws its rows, and sends those that changed since the tick before. A viewer that is slow
finds the changes of several ticks joined into one message, never a queue of them. Where nothing changes a beat is sent
now and then, so that a page knows that it is up to date, and `auth` is asked again for each socket. The task begins
with the first viewer and ends with the last; there is no other task, and no lifespan. Where a WebSocket does not get
through, the page asks the same address by GET for all rows.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from procession.clock import monotonic, wall
from procession.errors import ConfigError, ProcessionError
from procession.web.access import Access
from procession.web.render import Page, Renderer, Rows
from procession.web.views import LONGEST, VIEWS, Source, View

log = logging.getLogger("procession.web")

VIEWERS = 500
"""WebSockets of one dashboard; who comes after that asks by GET."""
SHARE = 4
"""A tick that takes long is followed by a pause of so many times less one: at most a quarter of the time is work."""
TROUBLE = 2.0
"""Seconds between two looks while the store does not answer."""

BEAT = 15.0
"""Seconds after which a message is sent although nothing changed, and `auth` is asked again; static/live.js takes three
times as long a silence for the end of the connection."""

Message = dict[str, Any]
Refused = Callable[[HTTPConnection], Awaitable[Response | None]]
Key = tuple[str, tuple[tuple[str, str], ...], str, int]


def changes(old: Mapping[str, Rows], new: Mapping[str, Rows]) -> dict[str, dict[str, Any]]:
    """What turns the rows of `old` into those of `new`: per region the rows that differ, and the order if it does."""
    found: dict[str, dict[str, Any]] = {}
    for region, rows in new.items():
        before = old.get(region)
        changed: dict[str, Any] = {}
        differing = {key: html for key, html in rows.items() if before is None or before.get(key) != html}
        if differing:
            changed["set"] = differing
        if before is None or [*before] != [*rows]:
            changed["order"] = [*rows]
        if changed:
            found[region] = changed
    return found


def joined(old: Message, new: Message) -> Message:
    """Two messages as one, for a viewer that has not taken the first yet."""
    regions: dict[str, dict[str, Any]] = {region: dict(it) for region, it in old.get("regions", {}).items()}
    for region, it in new.get("regions", {}).items():
        kept = regions.setdefault(region, {})
        kept["set"] = {**kept.get("set", {}), **it.get("set", {})}
        if "order" in it:
            kept["order"] = it["order"]
            kept["set"] = {key: html for key, html in kept["set"].items() if key in set(it["order"])}
    return {**new, "regions": regions}


class Viewer:
    """One socket: at most one message waits for it."""

    def __init__(self) -> None:
        self._waiting: Message | None = None
        self._there = asyncio.Event()

    def offer(self, message: Message) -> None:
        """Leave a message, joined to the one that waits."""
        self._waiting = joined(self._waiting, message) if self._waiting else message
        self._there.set()

    async def take(self) -> Message:
        """The message, once there is one."""
        await self._there.wait()
        self._there.clear()
        message, self._waiting = self._waiting, None
        return message or {}


class Watched:
    """One view that somebody watches: what was last drawn, and for whom."""

    def __init__(self) -> None:
        self.viewers: set[Viewer] = set()
        self.rows: dict[str, Rows] = {}
        self.trouble = ""
        self.told = 0.0
        self.task: asyncio.Task[None] | None = None

    def whole(self) -> Message:
        """Everything, for one who comes now."""
        return {"at": wall(), "trouble": self.trouble, "regions": changes({}, self.rows)}


class Hub:
    """See above."""

    def __init__(self, source: Source, renderer: Renderer) -> None:
        self._source = source.kept_live()
        self._renderer = renderer
        self.watched: dict[Key, Watched] = {}

    def full(self) -> bool:
        """True when no further socket is taken."""
        return sum(len(it.viewers) for it in self.watched.values()) >= VIEWERS

    def join(self, view: View, page: Page) -> tuple[Key, Viewer]:
        """A new viewer; what is drawn already waits for it."""
        key, viewer = _key(page), Viewer()
        watched = self.watched.setdefault(key, Watched())
        watched.viewers.add(viewer)
        if watched.rows or watched.trouble:
            viewer.offer(watched.whole())
        if watched.task is None:
            watched.task = asyncio.create_task(self._tick(watched, view, page))
        return key, viewer

    def part(self, key: Key, viewer: Viewer) -> None:
        """A viewer is gone; with the last one the task ends."""
        watched = self.watched[key]
        watched.viewers.discard(viewer)
        if not watched.viewers:
            del self.watched[key]
            if watched.task is not None:
                watched.task.cancel()

    async def snapshot(self, view: View, page: Page) -> Message:
        """All rows as they are now: what is drawn for the sockets, or else drawn for this one question."""
        watched = self.watched.get(_key(page))
        if watched is not None and watched.rows:
            return watched.whole()
        rows = await self._draw(view, page)
        return {"at": wall(), "trouble": "", "regions": changes({}, rows)}

    async def _tick(self, watched: Watched, view: View, page: Page) -> None:
        while True:
            begun = monotonic()
            try:
                rows = await self._draw(view, page)
            except ProcessionError as error:
                says = str(error) if isinstance(error, ConfigError) else f"The store does not answer: {error}"
                self._tell(watched, watched.rows, says)
                await asyncio.sleep(TROUBLE)
            except Exception:
                log.exception("the view %s could not be drawn", view.name)
                self._tell(watched, watched.rows, "This page could not be drawn; the log of the dashboard says why.")
                await asyncio.sleep(TROUBLE)
            else:
                self._tell(watched, rows, "")
                spent = monotonic() - begun
                await asyncio.sleep(max(view.tick, SHARE * spent) - spent)

    async def _draw(self, view: View, page: Page) -> dict[str, Rows]:
        return self._renderer.regions(view, await view.load(self._source, page.params), page)

    @staticmethod
    def _tell(watched: Watched, rows: dict[str, Rows], trouble: str) -> None:
        message = {"at": wall(), "trouble": trouble, "regions": changes(watched.rows, rows)}
        now = monotonic()
        if message["regions"] or trouble != watched.trouble or now - watched.told >= BEAT:
            watched.rows, watched.trouble, watched.told = rows, trouble, now
            for viewer in watched.viewers:
                viewer.offer(message)


def live_routes(hub: Hub, refused: Refused) -> list[BaseRoute]:
    """One address, for sockets and for those who ask. A socket ends when its viewer is `refused` or has a new role."""

    async def socket(websocket: WebSocket) -> None:
        view, page = _asked(websocket)
        if not view.open_to(websocket):
            await websocket.close(4403, "not for you")
            return
        if hub.full():
            await websocket.close(1013, "too many viewers")
            return

        async def is_welcome() -> bool:
            try:
                refusal = await refused(websocket)
            except Exception:
                log.exception("auth raised for an open page, whose socket ends")
                return False
            return refusal is None and websocket.scope["procession.access"].role == page.access.role

        await websocket.accept()
        key, viewer = hub.join(view, page)
        sending = asyncio.create_task(_send(websocket, viewer, is_welcome))
        try:
            while (await websocket.receive())["type"] != "websocket.disconnect":
                pass
        finally:
            hub.part(key, viewer)
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)

    async def poll(request: Request) -> Response:
        view, page = _asked(request)
        if not view.open_to(request):
            return Response("Refused.", 403)
        message = await hub.snapshot(view, page)
        return Response(msgspec.json.encode(message), 200, {"Cache-Control": "no-store"}, "application/json")

    return [WebSocketRoute("/live", socket), Route("/live", poll)]


async def _send(websocket: WebSocket, viewer: Viewer, is_welcome: Callable[[], Awaitable[bool]]) -> None:
    asked = monotonic()
    try:
        while True:
            message = await viewer.take()
            if monotonic() - asked >= BEAT:
                asked = monotonic()
                if not await is_welcome():
                    await websocket.close(4403, "not for you any more")
                    return
            await websocket.send_text(msgspec.json.encode(message).decode())
    except (WebSocketDisconnect, RuntimeError, OSError):
        return


def _asked(request: HTTPConnection) -> tuple[View, Page]:
    view = VIEWS.get(request.query_params.get("view", ""))
    if view is None:
        raise ConfigError(f"view must be one of {', '.join(VIEWS)}")
    params = {name: request.query_params[name][:LONGEST] for name in view.params if request.query_params.get(name)}
    access = request.scope.get("procession.access") or Access("nobody")
    return view, Page(view=view.name, base=request.scope.get("root_path", ""), access=access, params=params)


def _key(page: Page) -> Key:
    return page.view, tuple(sorted(page.params.items())), page.base, page.access.role
