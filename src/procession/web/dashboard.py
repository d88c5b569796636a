"""`Dashboard`, the ASGI app: routes, and before each of them the question who asks and whether it may.

Mounted or served; no lifespan is needed, since a mounted app's never runs. What a page shows is in `views.py`, how it
keeps up in `live.py`, what it may do in `actions.py`.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence

from starlette.applications import Starlette
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from procession.client import Procession
from procession.errors import ProcessionError
from procession.web.access import CLOSED, FOREIGN, Access, Auth, is_api, is_same_origin, lowered, only_loopback
from procession.web.actions import action_routes
from procession.web.api import api_routes, refusal
from procession.web.assets import asset_routes
from procession.web.bulk import bulk_routes
from procession.web.editing import editing_routes
from procession.web.health import health_routes
from procession.web.live import Hub, live_routes
from procession.web.pages import page_routes, problem
from procession.web.planner import planner_routes
from procession.web.redaction import Redact, hide_keys, viewed
from procession.web.render import Renderer
from procession.web.views import Source

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
        " form-action 'self'; base-uri 'none'; frame-ancestors 'none';"
        " require-trusted-types-for 'script'; trusted-types procession"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # not no-referrer: a form would then send "Origin: null", and every POST would be refused
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
OPEN = ("/healthz", "/static/")
"""What answers everybody."""

STANDARD = hide_keys()
"""What hides values where nothing else was said: by the names of their keys."""


class Dashboard:
    """An ASGI app: serve it, or mount it under any prefix, `Mount("/jobs", Dashboard(app))`.

    Args:
        app: whose jobs to show; it needs no job of its own.
        auth: says who a request is (see `Auth`), sync or async. Without it only this machine is answered, as admin.
        read_only: everybody is a viewer.
        redact: hides what nobody is to see, before anything else reads it (`redaction.py`): one callable or several,
            one after the other. By default `hide_keys()`; what you give takes its place; None shows everything.
        title: shown beside the name; the namespace by default.
    """

    def __init__(
        self,
        app: Procession,
        *,
        auth: Auth | None = None,
        read_only: bool = False,
        title: str | None = None,
        redact: Redact | Sequence[Redact] | None = STANDARD,
    ) -> None:
        source = Source(viewed(app, redact))
        renderer = Renderer(title or app.settings.namespace)
        hub = Hub(source, renderer)
        self.app = app
        self._auth = auth or only_loopback
        self._read_only = read_only
        self._inner: ASGIApp = Starlette(
            routes=[
                *asset_routes(),
                *health_routes(source),
                *live_routes(hub, self._refused),
                *action_routes(app),
                *bulk_routes(app, source, renderer),
                *editing_routes(app, source, renderer),
                *planner_routes(app, source, renderer),
                *api_routes(app, source, title or app.settings.namespace),
                *page_routes(source, renderer),
            ],
            exception_handlers={ProcessionError: problem(renderer), 404: problem(renderer), 405: problem(renderer)},
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] == "lifespan":
            await self._inner(scope, receive, send)
            return
        request = HTTPConnection(scope)
        refused = await self._refused(request)
        if refused is not None and scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 4403, "reason": "refused"})
        else:
            await (refused or self._inner)(scope, receive, _with_headers(send))

    async def _refused(self, request: HTTPConnection) -> Response | None:
        path = request.scope["path"].removeprefix(request.scope.get("root_path", ""))
        if path.startswith(OPEN):
            return None
        found = self._auth(request)
        if inspect.isawaitable(found):
            found = await found
        found = lowered(found, read_only=self._read_only)
        if isinstance(found, Response):
            return found
        if not isinstance(found, Access):
            return _no(request, CLOSED if self._auth is only_loopback else "Refused: not for you.")
        request.scope["procession.access"] = found
        acts = request.scope["type"] == "websocket" or request.scope["method"] not in ("GET", "HEAD")
        return _no(request, FOREIGN) if acts and not is_same_origin(request.headers) else None


def _no(request: HTTPConnection, says: str) -> Response:
    return refusal(says) if is_api(request) else PlainTextResponse(says, 403)


def _with_headers(send: Send) -> Send:
    """Every answer carries the headers that keep strangers' text from becoming anything but text."""
    fixed = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), *fixed]}
        await send(message)

    return sending
