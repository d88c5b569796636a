"""Edit and retry: the form with the arguments of a finished job, and what becomes of it. Operators only.

The arguments are checked as those of an enqueue where this dashboard was given the app that knows the job; what is
wrong is said beside the form, with what was typed still in it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

import msgspec
from msgspec import Struct
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from procession.client import Procession
from procession.clock import wall
from procession.errors import ConfigError, EnqueueError, Sealed
from procession.job import Job, parse_jid
from procession.revising import closed
from procession.web.access import Role
from procession.web.actions import form_of, lines_of
from procession.web.pages import page_of, still_routes
from procession.web.redaction import kept
from procession.web.render import Renderer
from procession.web.shown import plain
from procession.web.signed import signed
from procession.web.views import Source, View

LONGEST = 1_000_000
"""Bytes of the form: arguments of 256 kB, encoded."""


class Editing(Struct, frozen=True, kw_only=True):
    """The form."""

    at: int
    jid: str
    job: Job | None
    args: str
    """The arguments as JSON, to be edited."""
    finish_at: int
    """The fence: when it was finished, as whoever edits saw it."""
    signature: str = ""
    """What the job takes, "" where this app does not know it."""
    closed: str = ""
    """Why it cannot be edited, "" where it can."""
    trouble: str = ""


async def load_editing(source: Source, params: Mapping[str, str]) -> Editing:
    """See `Editing`. Raises ConfigError for what is no jid."""
    app = source.app
    jid = parse_jid(params.get("jid", ""))
    job = await app.find_job_async(jid)
    if job is None:
        return Editing(at=wall(), jid=str(jid), job=None, args="", finish_at=0, closed="There is no such job any more.")
    registered = app.registry.get(job.name)
    why = ""
    if not job.state.final:
        why = f"It is {job.state} now: only a finished job is retried."
    elif not job.name:
        why = "What is stored of it cannot be read."
    elif closed(job):
        why = "Its arguments are sealed, and this dashboard's app has no codec that opens them."
    return Editing(
        at=wall(),
        jid=str(jid),
        job=job,
        # what is unseen stands there as JSON writes it out, so that it is the same value
        args="" if why else plain(json.dumps(job.args, ensure_ascii=False, indent=2), LONGEST),
        finish_at=job.finish_at,
        signature="" if registered is None else str(registered.signature),
        closed=why,
    )


VIEW = View("edit", load_editing, ("jid",), (), 0)


def editing_routes(app: Procession, source: Source, renderer: Renderer) -> list[Route]:
    """The form, its twin, and where it is sent. A value that is hidden and was left so stays what it is."""

    async def edit(request: Request) -> Response:
        access = request.scope["procession.access"]
        if not access.may(Role.OPERATOR):
            return PlainTextResponse("Refused: to retry, one must be operator or more.", 403)
        form = await form_of(request, LONGEST)
        jid, finish_at, text = (lines_of(form, name) for name in ("jid", "finish_at", "args"))
        try:
            args = args_of(text)
            job, shown = await app.find_job_async(jid), await source.app.find_job_async(jid)
            if job is not None and shown is not None:
                args = kept(args, job.args, shown.args)
            finished = int(finish_at) if finish_at.isdecimal() else None
            changed = await app.retry_async(jid, args=args, finish_at=finished)
        except (ConfigError, EnqueueError, Sealed) as error:
            return await again(request, jid, text, str(error))
        await signed(app, access, "edit", jid, changed=int(changed))
        if "application/json" in request.headers.get("accept", ""):
            return JSONResponse({"changed": int(changed), "asked": 1})
        page = page_of(request, "job", {"jid": jid})
        return RedirectResponse(f"{page.here}?done=edit&n={int(changed)}&of=1", 303)

    async def again(request: Request, jid: str, text: str, trouble: str) -> Response:
        if "application/json" in request.headers.get("accept", ""):
            return JSONResponse({"error": trouble}, 400)
        model = msgspec.structs.replace(await load_editing(source, {"jid": jid}), args=text, trouble=trouble)
        html = renderer.page(VIEW, model, page_of(request, "edit", {"jid": jid}, still=True))
        return HTMLResponse(html, 400, {"Cache-Control": "no-store"})

    return [*still_routes(VIEW, source, renderer), Route("/edit", edit, methods=["POST"])]


def args_of(text: str) -> dict[str, object]:
    """Arguments as they were typed. Raises ConfigError."""
    try:
        return msgspec.json.decode(text, type=dict[str, object])
    except msgspec.DecodeError as error:
        raise ConfigError(f"this is no JSON object of parameter names and values: {error}") from None
