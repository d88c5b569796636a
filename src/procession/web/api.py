"""`/api`: what the pages show and do, for programs. Each endpoint is a row of one table, from which routes and the
OpenAPI document are made (`openapi.py`).

What looks asks the app as the pages see it, redacted; what acts asks the app itself, and is written down. Who may do
what is the pages' own rule: `Dashboard` has asked `auth` before, and a row names the role.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal, cast

import msgspec
from msgspec import Struct
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from procession.bulk import APPLIES, Bulk, Preview, Verb
from procession.client import Procession
from procession.clock import monotonic
from procession.database import Counts, QueueInfo, WorkerInfo
from procession.database.measures import ErrorGroup
from procession.errors import ConfigError, JobNotFound
from procession.insight import History
from procession.job import Job, parse_jid
from procession.notes import LogLine
from procession.orders import Stack
from procession.query import Every, Term, parse
from procession.trail import Deed
from procession.web.access import Access, Role
from procession.web.openapi import Endpoint, Param, document
from procession.web.signed import signed
from procession.web.timetable import ScheduleRow, load_timetable
from procession.web.views import Source
from procession.why import Why

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MOST = 1_000
"""Jobs of one request that names them."""
LONGEST = 64_000
"""Bytes of one request."""
STEPS = 1.0
"""Seconds for which one request of a bulk goes on to the next 500 jobs."""


class JobList(Struct, frozen=True, kw_only=True):
    """Jobs that a filter lets through."""

    jobs: list[Job]
    cursor: str | None
    """Asks for more; null when everything was looked at. There may be no job and a cursor all the same."""
    scanned: int


class Jids(Struct, frozen=True, forbid_unknown_fields=True):
    """Jobs by their ids, 1,000 at most."""

    jids: list[str]


class Changed(Struct, frozen=True, kw_only=True):
    """How many things were changed, of how many that were named."""

    changed: int
    asked: int


class Filtered(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Jobs by a filter. `place` goes on with a bulk: it is what its last answer said."""

    filter: str
    as_of: Annotated[int, msgspec.Meta(ge=0, le=253_402_300_799_000)] | None = None
    place: str = ""


class Stepped(Struct, frozen=True, kw_only=True):
    """How far this request of a bulk came. Unless `done`, ask again with the same filter and `place`."""

    changed: int
    scanned: int
    done: bool
    place: str


class Reason(Struct, frozen=True, forbid_unknown_fields=True):
    """Why, for whoever wonders; 200 characters at most."""

    reason: str = ""


class Span(Struct, frozen=True, forbid_unknown_fields=True):
    """For how long, such as "2h"; "0s" ends it."""

    for_: str = msgspec.field(default="1d", name="for")


class Of(Struct, frozen=True, forbid_unknown_fields=True):
    """Of which job; of all that run without it."""

    jid: str | None = None


class Nothing(Struct, frozen=True, forbid_unknown_fields=True):
    """An empty object."""


class Run(Struct, frozen=True):
    """The job that was enqueued."""

    jid: str


class Asked:
    """One request: what handlers read of it, and the apps that they ask."""

    def __init__(self, request: Request, app: Procession, source: Source, body: Any) -> None:
        self.app = app
        self.source = source
        self.look = source.app
        self.body = body
        self.path: dict[str, Any] = request.path_params
        self.access: Access = request.scope["procession.access"]
        self._query = request.query_params

    def text(self, name: str, default: str = "") -> str:
        """A parameter of the query."""
        return self._query.get(name, default)

    def number(self, name: str, default: int, most: int) -> int:
        """A parameter that is a number from 0 to `most`. Raises ConfigError."""
        text = self._query.get(name, "")
        if not text:
            return default
        if not text.isdecimal() or len(text) > 19 or int(text) > most:
            raise ConfigError(f"{name}={text[:40]!r} must be a number from 0 to {most:,}")
        return int(text)

    async def did(self, what: str, on: str, changed: int = 1, asked: int = 1) -> Changed:
        """It is done: write it down."""
        await signed(self.app, self.access, what, on, changed=changed, asked=asked, via="api")
        return Changed(changed=changed, asked=asked)


def refusal(says: str) -> Response:
    """A 403."""
    return JSONResponse({"error": says}, 403)


# Looking


async def _jobs(it: Asked) -> JobList:
    tree = parse(it.text("filter"))
    if it.text("state"):
        tree = Every((parse(str(Term("state", tuple(it.text("state").split(","))))), tree))
    limit = it.number("limit", 50, MOST)
    found = await it.look.search_async(tree, cursor=it.text("cursor") or None, limit=limit)
    return JobList(jobs=found.jobs, cursor=found.cursor, scanned=found.scanned)


async def _job(it: Asked) -> Job:
    job = await it.look.find_job_async(it.path["jid"])
    if job is None:
        raise JobNotFound(f"no job {it.path['jid']}: never enqueued, removed, or its retention is over")
    return job


async def _log(it: Asked) -> list[LogLine]:
    return await it.look.log_async(it.path["jid"], after=it.number("after", 0, 2**31))


async def _why(it: Asked) -> Why:
    return await it.look.why_async(it.path["jid"])


async def _schedules(it: Asked) -> list[ScheduleRow]:
    return [*(await load_timetable(it.source, {})).schedules]


async def _errors(it: Asked) -> list[ErrorGroup]:
    return await it.look.errors_async(it.number("limit", 50, 500))


async def _history(it: Asked) -> History:
    return await it.look.history_async(
        it.text("since", "1h"), queue=it.text("queue") or None, name=it.text("name") or None
    )


async def _trail(it: Asked) -> list[Deed]:
    return await it.look.trail_async(before=it.number("before", 0, 2**47), limit=it.number("limit", 50, MOST))


async def _preview(it: Asked) -> Preview:
    verb = it.text("verb")
    return await it.look.bulk(cast("Verb", verb), it.text("filter")).preview_async()


# Acting


def _on_jobs(verb: Verb) -> Callable[[Asked], Awaitable[Changed]]:
    async def handle(it: Asked) -> Changed:
        if len(it.body.jids) > MOST:
            raise ConfigError(f"{len(it.body.jids):,} jobs are more than the {MOST:,} of one request; use /api/bulk")
        jids, ask = [parse_jid(jid) for jid in it.body.jids], it.app.database
        operation = ask.retry(jids) if verb == "retry" else ask.cancel(jids) if verb == "cancel" else ask.remove(jids)
        states = await it.app.ask_async(operation) if jids else []
        changed = sum(state in APPLIES[verb] for state in states)
        return await it.did(verb, " ".join(it.body.jids[:10]), changed, len(jids))

    return handle


def _bulk(verb: Verb) -> Callable[[Asked], Awaitable[Stepped]]:
    async def handle(it: Asked) -> Stepped:
        as_of = None if it.body.as_of is None else EPOCH + timedelta(milliseconds=it.body.as_of)
        bulk: Bulk = it.look.bulk(verb, it.body.filter, as_of=as_of, place=it.body.place or None)
        before = bulk.progress
        ends = monotonic() + STEPS
        while not (await bulk.step_async()).done and monotonic() < ends:
            pass
        changed, scanned = bulk.progress.changed - before.changed, bulk.progress.scanned - before.scanned
        await it.did(verb, it.body.filter, changed, scanned)
        return Stepped(changed=changed, scanned=scanned, done=bulk.progress.done, place=bulk.place)

    return handle


async def _pause(it: Asked) -> Changed:
    await it.app.pause_async(it.path["queue"], it.body.reason[:200], it.access.user)
    return await it.did("pause", it.path["queue"])


async def _resume(it: Asked) -> Changed:
    await it.app.resume_async(it.path["queue"])
    return await it.did("resume", it.path["queue"])


def _on_worker(verb: Literal["quiet", "resume", "stop"]) -> Callable[[Asked], Awaitable[Changed]]:
    async def handle(it: Asked) -> Changed:
        worker, by = it.path["worker"], it.access.user
        if verb == "quiet":
            await it.app.quiet_worker_async(worker, by)
        elif verb == "resume":
            await it.app.resume_worker_async(worker, by)
        else:
            await it.app.stop_worker_async(worker, by)
        return await it.did("quiet" if verb == "quiet" else f"{verb}-worker", worker)

    return handle


async def _stack(it: Asked) -> Stack:
    worker = it.path["worker"]
    found = await it.app.stack_async(worker, it.body.jid, by=it.access.user)
    await it.did("stack", worker)
    return found


async def _pause_schedule(it: Asked) -> Changed:
    await it.app.schedules.pause_async(it.path["name"], it.body.reason[:200])
    return await it.did("pause-schedule", it.path["name"])


async def _resume_schedule(it: Asked) -> Changed:
    await it.app.schedules.resume_async(it.path["name"])
    return await it.did("resume-schedule", it.path["name"])


async def _run_schedule(it: Asked) -> Run:
    jid = await it.app.schedules.run_now_async(it.path["name"])
    await it.did("run-schedule", it.path["name"])
    return Run(str(jid))


async def _mute(it: Asked) -> Changed:
    found = await it.app.mute_error_async(it.path["fingerprint"], it.body.for_)
    return await it.did("mute", it.path["fingerprint"], int(found))


FILTER = Param("filter", "The filter language of docs/finding.md.")
LIMIT = Param("limit", "How many at most.", int)


def _get(path: str, says: str, answer: Any, handle: Any, *params: Param, role: Role = Role.VIEWER) -> Endpoint:
    tag = path.split("/")[2]
    return Endpoint(
        method="GET", path=path, says=says, answer=answer, handle=handle, params=params, role=role, tag=tag
    )


def _post(
    path: str, says: str, answer: Any, handle: Any, body: Any = Nothing, *, role: Role = Role.OPERATOR
) -> Endpoint:
    tag = path.split("/")[2]
    return Endpoint(method="POST", path=path, says=says, answer=answer, handle=handle, body=body, role=role, tag=tag)


def _for_verb(verb: Verb, does: str) -> tuple[Endpoint, Endpoint]:
    role = Role.ADMIN if verb == "remove" else Role.OPERATOR
    return (
        _post(f"/api/jobs/{verb}", f"{does} jobs by id.", Changed, _on_jobs(verb), Jids, role=role),
        _post(f"/api/bulk/{verb}", f"{does} every job of a filter, step by step.", Stepped, _bulk(verb), Filtered,
              role=role),
    )  # fmt: skip


ENDPOINTS = (
    _get("/api/stats", "Every counter.", Counts, lambda it: it.look.counts_async()),
    _get("/api/history", "What happened in each minute or hour, and how long jobs waited and ran.", History, _history,
         Param("since", 'How far back, such as "1h" (the default), 7 days at most.'),
         Param("queue", "Of one queue."), Param("name", "Or of one job name.")),
    _get("/api/jobs", "Jobs that a filter lets through; one look, which may have to be continued.", JobList, _jobs,
         FILTER, Param("state", "One state, or several with commas."), Param("cursor", "Where the last look ended."),
         LIMIT),
    _get("/api/jobs/{jid}", "One job, all that is stored.", Job, _job),
    _get("/api/jobs/{jid}/log", "Its log lines.", list[LogLine], _log, Param("after", "Only behind this index.", int)),
    _get("/api/jobs/{jid}/why", "Why it is where it is.", Why, _why),
    *_for_verb("retry", "Queue again"),
    *_for_verb("cancel", "Cancel"),
    *_for_verb("remove", "Forget"),
    _get("/api/bulk/preview", "What a bulk would change.", Preview, _preview,
         Param("verb", "retry, cancel or remove.", Literal["retry", "cancel", "remove"], True), FILTER),
    _get("/api/queues", "Every queue.", list[QueueInfo], lambda it: it.look.queues_async()),
    _post("/api/queues/{queue}/pause", "Let nothing more be claimed from it.", Changed, _pause, Reason),
    _post("/api/queues/{queue}/resume", "Let it be served again.", Changed, _resume),
    _get("/api/workers", "Every queue worker that is alive.", list[WorkerInfo], lambda it: it.look.workers_async()),
    _post("/api/workers/{worker:path}/quiet", "Have it claim nothing more.", Changed, _on_worker("quiet")),
    _post("/api/workers/{worker:path}/resume", "Have it claim again.", Changed, _on_worker("resume")),
    _post("/api/workers/{worker:path}/stop", "Have it finish what runs, and end.", Changed, _on_worker("stop"),
          role=Role.ADMIN),
    _post("/api/workers/{worker:path}/stack", "Where the code of what it runs is now; waits for the answer for 10 s.",
          Stack, _stack, Of),
    _get("/api/schedules", "Every schedule, the first 500 by name.", list[ScheduleRow], _schedules),
    _post("/api/schedules/{name:path}/pause", "Let it not be due.", Changed, _pause_schedule, Reason),
    _post("/api/schedules/{name:path}/resume", "Let it be due again.", Changed, _resume_schedule),
    _post("/api/schedules/{name:path}/run", "Enqueue one run now.", Run, _run_schedule),
    _get("/api/errors", "Failed attempts by error, the one seen last first.", list[ErrorGroup], _errors, LIMIT),
    _post("/api/errors/{fingerprint}/mute", "Say that it is known.", Changed, _mute, Span),
    _get("/api/trail", "What people did, the newest first.", list[Deed], _trail,
         Param("before", "Only deeds with a smaller number.", int), LIMIT, role=Role.ADMIN),
)  # fmt: skip


def api_routes(app: Procession, source: Source, title: str) -> list[Route]:
    """Every endpoint, and the document that tells of them."""

    async def openapi(request: Request) -> Response:
        base = request.scope.get("root_path", "")
        return JSONResponse(document(ENDPOINTS, base=base, title=title))

    routes = [Route("/api/openapi.json", openapi)]
    return [*routes, *(Route(it.path, _serving(it, app, source), methods=[it.method]) for it in ENDPOINTS)]


def _serving(it: Endpoint, app: Procession, source: Source) -> Callable[[Request], Awaitable[Response]]:
    async def serve(request: Request) -> Response:
        access: Access = request.scope["procession.access"]
        if not access.may(it.role):
            return refusal(f"Refused: for {it.method} {it.path} one must be {it.role.name.lower()} or more.")
        body = None if it.body is None else await _body(request, it.body)
        answer = await it.handle(Asked(request, app, source, body))
        return Response(msgspec.json.encode(answer), 200, {"Cache-Control": "no-store"}, "application/json")

    return serve


async def _body(request: Request, kind: Any) -> Any:
    raw = bytearray()
    async for part in request.stream():
        raw += part
        if len(raw) > LONGEST:
            raise ConfigError(f"the request is longer than {LONGEST:,} bytes; name fewer jobs, or use /api/bulk")
    try:
        return msgspec.json.decode(raw or b"{}", type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ConfigError(f"the request must be JSON as /api/openapi.json describes it: {error}") from None

