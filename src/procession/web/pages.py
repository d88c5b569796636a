"""The pages, and their `.json` twins: load the value, draw it or encode it. GET only; nothing changes here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from urllib.parse import urlencode
from uuid import UUID

import msgspec
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from procession.errors import ConfigError, DatabaseError, ProcessionError
from procession.web.access import Access
from procession.web.actions import said
from procession.web.onejob import OneJob
from procession.web.onequeue import OneQueue
from procession.web.oneschedule import OneSchedule
from procession.web.render import Page, Renderer
from procession.web.views import LONGEST, VIEWS, Source, View

Handler = Callable[[Request], Awaitable[Response]]
THEME = "procession_theme"


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
        params = params_of(request, view)
        model = await view.load(source, params)
        html = renderer.page(view, model, page_of(request, view.name, params, still=still))
        return HTMLResponse(html, _status(model), {"Cache-Control": "no-store"})

    return page


def _twin(view: View, source: Source) -> Handler:
    async def twin(request: Request) -> Response:
        model = await view.load(source, params_of(request, view))
        return Response(msgspec.json.encode(model), _status(model), {"Cache-Control": "no-store"}, "application/json")

    return twin


def _status(model: object) -> int:
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
        status = 503 if isinstance(error, DatabaseError) else 400 if isinstance(error, ConfigError) else 404
        says = str(error) if isinstance(error, ProcessionError) else "There is no such page."
        if request.url.path.endswith(".json"):
            return JSONResponse({"error": says}, status)
        return HTMLResponse(renderer.problem(says, page_of(request, "problem", {})), status)

    return answer
