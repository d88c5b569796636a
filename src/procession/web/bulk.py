"""Bulk on a filter: what would change, then step after step until it is done. Works without a script, one step a form.

Where a bulk stands is text that goes with the form (`Bulk.place`), so nothing is kept here between two steps: any
dashboard of the namespace goes on with it, and to stop is not to go on. With a script, `static/bulk.js` sends the
steps. What a bulk changes and what it leaves alone is in `procession/bulk.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast, get_args

from msgspec import Struct
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from procession.bulk import APPLIES, Bulk, Preview, Progress, Verb
from procession.client import Procession
from procession.clock import monotonic, wall
from procession.errors import ConfigError, FilterError
from procession.job import State
from procession.query import STATES, Filter, Term, parse
from procession.web.actions import DONE, NEEDED, form_of
from procession.web.joblist import Trouble, count_of, filter_of, marked, state_of, within
from procession.web.pages import page_of, still_routes
from procession.web.render import Renderer
from procession.web.searches import LOOKED_AT
from procession.web.shown import number, plain
from procession.web.signed import signed
from procession.web.views import LONGEST, Source, View

SECONDS = 1.0
"""A form's step begins no further trip of 500 jobs after this time."""


class BulkPage(Struct, frozen=True, kw_only=True):
    """What a bulk would change (`preview`), or how far it is (`progress`)."""

    at: int
    do: str
    state: str
    filter: str
    whole: str = ""
    """The filter that counts, that of the state in it."""
    preview: Preview | None = None
    progress: Progress | None = None
    place: str = ""
    """Where it stands; goes with the form that goes on."""
    says: str = ""
    of: int = 0
    """How many there were when it was previewed, 0 when that was not known."""
    trouble: Trouble | None = None


async def load_bulk(source: Source, params: Mapping[str, str]) -> BulkPage:
    """The preview. Raises ConfigError for a verb or a state that there is not."""
    verb, state, text = _asked(params)
    try:
        tree = _tree(state, text)
    except FilterError as error:
        return BulkPage(at=wall(), do=verb, state=state, filter=text, trouble=marked(text, error))
    bulk = source.app.bulk(verb, tree)
    preview = await bulk.preview_async(LOOKED_AT)
    of = preview.count if preview.exact else await _counted(source, verb, tree)
    return BulkPage(
        at=wall(), do=verb, state=state, filter=text, whole=str(tree), preview=preview, place=bulk.place, of=of
    )


async def _counted(source: Source, verb: Verb, tree: Filter) -> int:
    """How many jobs there are by the store's counters; 0 for a filter that asks for what they do not count."""
    if not isinstance(tree, Term) or tree.key != "state" or "retrying" in tree.values:
        return 0
    counts = await source.app.ask_async(source.app.database.counts())
    states = frozenset[State]().union(*(STATES[it] for it in tree.values))
    return sum(count_of(counts, state) for state in states & APPLIES[verb])


VIEW = View("bulk", load_bulk, ("do", "state", "q", "queue", "name"), (), 0)


def bulk_routes(app: Procession, source: Source, renderer: Renderer) -> list[Route]:
    """The preview, its twin, and where its steps are sent. The filter is held against jobs
    as they are seen here, so that what is hidden cannot be guessed by what a bulk changes."""

    async def step(request: Request) -> Response:
        form = {name: values[0] for name, values in (await form_of(request)).items() if values}
        params = {name: form[name][:LONGEST] for name in VIEW.params if form.get(name)}
        verb, state, text = _asked(params)
        needed, access = NEEDED[verb], request.scope["procession.access"]
        if not access.may(needed):
            return PlainTextResponse(f"Refused: to {verb}, one must be {needed.name.lower()} or more.", 403)
        tree = _tree(state, text)
        bulk = source.app.bulk(verb, tree, place=form.get("place") or None)
        before = bulk.progress
        await _steps(bulk)
        it, says = bulk.progress, said(verb, bulk.progress)
        changed = it.changed - before.changed
        await signed(app, access, verb, f"all that match {tree}", changed=changed, asked=it.scanned - before.scanned)
        if "application/json" in request.headers.get("accept", ""):
            return JSONResponse(
                {"changed": it.changed, "scanned": it.scanned, "done": it.done, "place": bulk.place, "says": says}
            )
        of = int(form["of"]) if form.get("of", "").isdecimal() and len(form["of"]) < 10 else 0
        model = BulkPage(
            at=wall(),
            do=verb,
            state=state,
            filter=text,
            whole=str(tree),
            progress=it,
            place=bulk.place,
            says=says,
            of=of,
        )
        html = renderer.page(VIEW, model, page_of(request, "bulk", params, still=True))
        return HTMLResponse(html, 200, {"Cache-Control": "no-store"})

    return [*still_routes(VIEW, source, renderer), Route("/bulk", step, methods=["POST"])]


async def _steps(bulk: Bulk) -> None:
    ends = monotonic() + SECONDS
    while not (await bulk.step_async()).done and monotonic() < ends:
        pass


def said(verb: Verb, it: Progress) -> str:
    """How far a bulk is, in words."""
    jobs = f"{number(it.changed)} {'job' if it.changed == 1 else 'jobs'} {DONE[verb]}"
    return f"Done: {jobs}." if it.done else f"{jobs} so far; {number(it.scanned)} were looked at."


def _asked(params: Mapping[str, str]) -> tuple[Verb, str, str]:
    verb = params.get("do", "")
    if verb not in get_args(Verb):
        raise ConfigError(f"do={verb!r} must be one of {', '.join(get_args(Verb))}")
    text = filter_of(params)
    if plain(text) != text:  # a form would send something else than what people read
        raise ConfigError(f"the filter {plain(text)!r} holds characters that are not seen; write it without them")
    return cast("Verb", verb), state_of(params.get("state", ""), text) or "", text


def _tree(state: str, text: str) -> Filter:
    if not text.strip():
        return Term("state", (state,))
    return within(state_of(state, text), parse(text))
