"""Making and editing schedules, and filling in runs that were not: the forms of the Schedules pages, by POST.

Operators only. What cannot be kept is said beside the form, with what was typed still in it.
"""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from procession.client import Procession
from procession.clock import milliseconds
from procession.codec import checked_plain
from procession.enqueuer import Call
from procession.errors import ConfigError, EnqueueError
from procession.names import check_queue
from procession.schedule import Schedule
from procession.schedules import called_with, scheduled
from procession.sealing import is_sealed
from procession.web.access import Role
from procession.web.actions import Form, form_of, lines_of
from procession.web.oneschedule import Fields, instant_of, load_schedule
from procession.web.pages import page_of
from procession.web.redaction import kept
from procession.web.render import Renderer
from procession.web.shown import key_of
from procession.web.signed import signed
from procession.web.views import VIEWS, Source

LONGEST = 1_000_000
"""Bytes of the form: arguments of 256 kB, encoded."""


def planner_routes(app: Procession, source: Source, renderer: Renderer) -> list[Route]:
    """Where the forms are sent. A value that is hidden and was left so stays what it is."""

    async def save(request: Request) -> Response:
        if refused := _refused(request):
            return refused
        fields = fields_from(await form_of(request, LONGEST))
        try:
            changed = await saved(app, source, fields)
        except (ConfigError, EnqueueError) as error:
            return await again(request, fields, str(error))
        await signed(app, request.scope["procession.access"], "save-schedule", fields.schedule, changed=int(changed))
        return _back(request, fields.schedule, "save-schedule", int(changed), 1)

    async def again(request: Request, fields: Fields, trouble: str) -> Response:
        model = await load_schedule(source, {"schedule": fields.schedule} if fields.was else {})
        model = msgspec.structs.replace(model, fields=fields, trouble=trouble)
        if "application/json" in request.headers.get("accept", ""):
            return JSONResponse({"error": trouble}, 400)
        page = page_of(request, "schedule", {"schedule": fields.schedule} if fields.was else {})
        return HTMLResponse(renderer.page(VIEWS["schedule"], model, page), 400, {"Cache-Control": "no-store"})

    async def backfill(request: Request) -> Response:
        if refused := _refused(request):
            return refused
        form = await form_of(request)
        name, after, until = (form.get(it, [""])[0] for it in ("schedule", "after", "until"))
        info = await source.app.schedules.find_async(name)
        tz = info.schedule.tz if info else "UTC"
        moments = instant_of(after, tz, "after"), instant_of(until, tz, "until")
        jids = await app.schedules.backfill_async(name, *moments)
        filled = f"{name}, {after} to {until}"
        await signed(app, request.scope["procession.access"], "backfill", filled, changed=len(jids), asked=len(jids))
        return _back(request, name, "backfill", len(jids), len(jids))

    return [
        Route("/schedule/save", save, methods=["POST"]),
        Route("/schedule/backfill", backfill, methods=["POST"]),
    ]


def fields_from(form: Form) -> Fields:
    """The fields of a form that was sent, without the blanks around them."""
    given = {name: lines_of(form, name).strip() for name in Fields.__struct_fields__ if form.get(name)}
    return Fields(**given)


async def saved(app: Procession, source: Source, fields: Fields) -> bool:
    """Store what a form says; False when it was just so already. Raises ConfigError, BadArguments, TooLarge."""
    info = await source.app.schedules.find_async(fields.schedule)  # as it is seen: so the form knew it
    if info is not None and not fields.was:
        raise ConfigError(f"there is a schedule {fields.schedule!r} already; edit that one, or choose another name")
    if fields.was and (info is None or key_of(info.asked) != fields.was):
        raise ConfigError("the schedule was changed or removed meanwhile; open its page again to see how it is now")
    there = await app.schedules.find_async(fields.schedule) if info else None
    args = _args_of(fields)
    if info and there:
        args = kept(args, *(msgspec.json.decode(it.schedule.args) for it in (there, info)))
    return await app.schedules.save_async(schedule_of(app, fields, args, there.schedule if there else None))


def schedule_of(app: Procession, fields: Fields, args: dict[str, object], before: Schedule | None) -> Schedule:
    """The record that a form asks for; what the form does not have stays as it was. Raises as `saved`."""
    registered = app.registry.get(fields.job)
    encoded = checked_plain(args) if registered is None else registered.signature.checked(args)
    timing = {name: getattr(fields, name) for name in ("tz", "dst", "missed", "overlap")}
    rule = {"cron": fields.cron, "every": milliseconds(fields.every, "every") if fields.every else 0}
    jitter = milliseconds(fields.jitter or 0, "jitter")
    told: dict[str, Any] = {**timing, **rule, "jitter": jitter, "args": msgspec.Raw(encoded)}
    if before is not None:
        if registered is not None and before.job == registered.name and not is_sealed(before.args):
            before = called_with(before, Call(registered, encoded, {}))
        queue = check_queue(fields.queue or before.queue)
        return msgspec.structs.replace(before, job=fields.job or before.job, queue=queue, **told)
    if not fields.job:
        raise ConfigError("say which job is to run")
    if registered is None:
        return Schedule(name=fields.schedule, job=fields.job, queue=check_queue(fields.queue or "default"), **told)
    made = scheduled(
        fields.schedule, Call(registered, encoded, {}), cron=fields.cron or None, every=fields.every or None
    )
    return msgspec.structs.replace(made, queue=check_queue(fields.queue or made.queue), **told)


def _args_of(fields: Fields) -> dict[str, object]:
    try:
        return msgspec.json.decode(fields.args or "{}", type=dict[str, object])
    except msgspec.DecodeError as error:
        raise ConfigError(f"the arguments are no JSON object of parameter names: {error}") from None


def _refused(request: Request) -> Response | None:
    if request.scope["procession.access"].may(Role.OPERATOR):
        return None
    return PlainTextResponse("Refused: to plan, one must be operator or more.", 403)


def _back(request: Request, name: str, done: str, changed: int, asked: int) -> Response:
    if "application/json" in request.headers.get("accept", ""):
        return JSONResponse({"changed": changed, "asked": asked})
    page = page_of(request, "schedule", {"schedule": name})
    return RedirectResponse(f"{page.here}&done={done}&n={changed}&of={asked}", 303)
