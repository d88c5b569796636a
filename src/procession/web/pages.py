"""The pages, and their `.json` twins: load the value, draw it or encode it. GET only; nothing changes here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from urllib.parse import urlencode
from uuid import UUID

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from procession.errors import ConfigError, DatabaseError, NoAnswer, ProcessionError
from procession.web.access import Access, is_api
from procession.web.actions import said
from procession.web.onejob import OneJob
from procession.web.onequeue import OneQueue
from procession.web.oneschedule import OneSchedule
from procession.web.orders import OneWorker
from procession.web.packed import packed
from procession.web.render import Page, Renderer
from procession.web.views import LONGEST, VIEWS, Source, View

Handler = Callable[[Request], Awaitable[Response]]
THEME = "procession_theme"
STATUSES: tuple[tuple[type[ProcessionError], int], ...] = ((DatabaseError, 503), (ConfigError, 400), (NoAnswer, 504))


def page_routes(source: Source, renderer: Renderer) -> list[Route]:
    """Every page, its twin before it where the path would also fit."""
    paths = {
        "overview": ("/", "/overview.json"),
        "jobs": ("/jobs", "/jobs.json"),
        "job": ("/jobs/{jid}", "/jobs/{jid}.json"),
        "errors": ("/errors", "/errors.json"),
        "names": ("/names", "/names.json"),
        "queues": ("/queues", "/queues.json"),
        "queue": ("/queue", "/queue.json"),
        "schedules": ("/schedules", "/schedules.json"),
        "schedule": ("/schedule", "/schedule.json"),
        "workers": ("/workers", "/workers.json"),
        "worker": ("/workers/{worker:path}", "/workers/{worker:path}.json"),
        "trail": ("/trail", "/trail.json"),
    }
    routes = [Route("/find", _find)]
    for name, (path, twin) in paths.items():
        routes.append(Route(twin, _twin(VIEWS[name], source)))
        routes.append(Route(path, _page(VIEWS[name], source, renderer)))
    return routes


def still_routes(view: View, source: Source, renderer: Renderer) -> list[Route]:
    """A page with a form that is not kept up to date, and its twin."""
    page = Route(f"/{view.name}", _page(view, source, renderer, still=True))
    return [Route(f"/{view.name}.json", _twin(view, source)), page]


def page_of(request: Request, view: str, params: dict[str, str], *, still: bool = False) -> Page:
    """What the template is to know of this request."""
    theme = request.cookies.get(THEME, "")
    return Page(
        view=view,
        base=request.scope.get("root_path", ""),
        access=request.scope.get("procession.access") or Access("nobody"),
        params=params,
        still=still,
        theme=theme if theme in ("light", "dark") else "",
        done=said(request.query_params),
    )


def params_of(request: Request, view: View) -> dict[str, str]:
    """The parameters that a view knows, none longer than any filter can be."""
    asked = {**request.query_params, **request.path_params}
    return {name: str(asked[name])[:LONGEST] for name in view.params if asked.get(name)}


def _page(view: View, source: Source, renderer: Renderer, *, still: bool = False) -> Handler:
    async def page(request: Request) -> Response:
        if not view.open_to(request):
            return _for_others(view)
        params = params_of(request, view)
        model = await view.load(source, params)
        html = renderer.page(view, model, page_of(request, view.name, params, still=still))
        return packed(request, HTMLResponse(html, _status(model), {"Cache-Control": "no-store"}))

    return page


def _twin(view: View, source: Source) -> Handler:
    async def twin(request: Request) -> Response:
        if not view.open_to(request):
            return _for_others(view)
        model = await view.load(source, params_of(request, view))
        encoded = msgspec.json.encode(model)
        return packed(request, Response(encoded, _status(model), {"Cache-Control": "no-store"}, "application/json"))

    return twin


def _for_others(view: View) -> Response:
    return PlainTextResponse(f"Refused: to see this, one must be {view.role.name.lower()} or more.", 403)


def _status(model: object) -> int:
    if isinstance(model, OneWorker) and model.parts[0].info is None:
        return 404
    if isinstance(model, OneJob) and model.parts[0].job is None:
        return 404
    if isinstance(model, OneQueue) or (isinstance(model, OneSchedule) and model.schedule):
        return 200 if model.rows else 404
    return 400 if getattr(model, "trouble", "") else 200


async def _find(request: Request) -> Response:
    """The search box: a jid leads to its job, anything else is a filter."""
    asked, base = request.query_params.get("q", "").strip()[:LONGEST], request.scope.get("root_path", "")
    try:
        return RedirectResponse(f"{base}/jobs/{UUID(asked)}", 303)
    except ValueError:
        state = request.query_params.get("state", "")[:20]
        words = urlencode({name: value for name, value in (("state", state), ("q", asked)) if value})
        return RedirectResponse(f"{base}/jobs{'?' if words else ''}{words}", 303)


def problem(renderer: Renderer) -> Callable[[Request, Exception], Awaitable[Response]]:
    """What answers when a page could not be made: in words, with the fitting status."""

    async def answer(request: Request, error: Exception) -> Response:
        status = next((code for kind, code in STATUSES if isinstance(error, kind)), 404)
        says = str(error) if isinstance(error, ProcessionError) else "There is no such page."
        headers: Mapping[str, str] = {}
        if isinstance(error, HTTPException):
            status, headers = error.status_code, error.headers or {}
        if status == 405:
            says = f"{request.method} is not for this address; it takes {headers.get('Allow', '')}."
        if is_api(request):
            says = says if isinstance(error, ProcessionError) else f"{error}: /api/openapi.json says what there is."
        if is_api(request) or request.scope["path"].endswith(".json"):
            return JSONResponse({"error": says}, status, headers)
        if "procession.access" not in request.scope:  # an open path, so whoever asks is to see nothing of ours
            return PlainTextResponse(says, status, headers)
        return HTMLResponse(renderer.problem(says, page_of(request, "problem", {})), status, headers)

    return answer
