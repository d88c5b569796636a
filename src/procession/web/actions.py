"""What operators do: POST, by role, then back to where they were. Works without a script.

Every action is one call of the store's own verbs, so it is as safe as the same call from code. Who did what is written
down (`signed.py`). Where a request came from was checked before (`dashboard.py`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from urllib.parse import parse_qs
from uuid import UUID

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from procession.client import Procession
from procession.database import Operation
from procession.errors import ConfigError
from procession.job import State, parse_jid
from procession.web.access import Role, split
from procession.web.orders import act_on_worker
from procession.web.signed import signed

MOST = 1_000
"""Jobs of one action."""
LONGEST = 64_000
"""Bytes of one form."""

NEEDED = {
    "retry": Role.OPERATOR, "cancel": Role.OPERATOR, "pause": Role.OPERATOR, "resume": Role.OPERATOR,
    "pause-schedule": Role.OPERATOR, "resume-schedule": Role.OPERATOR, "run-schedule": Role.OPERATOR,
    "mute": Role.OPERATOR, "unmute": Role.OPERATOR, "remove": Role.ADMIN, "remove-schedule": Role.ADMIN,
    "quiet": Role.OPERATOR, "resume-worker": Role.OPERATOR, "stack": Role.OPERATOR, "stop-worker": Role.ADMIN,
}  # fmt: skip
FINAL = frozenset(state for state in State if state.final)
FITTING: dict[str, frozenset[State]] = {
    "retry": FINAL,
    "cancel": frozenset(State) - FINAL,
    "remove": frozenset(State) - {State.RUNNING},
}
"""The states in which each verb changes a job; in the others it leaves the job as it is."""
DONE = {"retry": "queued again", "cancel": "cancelled", "remove": "removed"}
ENDED = {**DONE, "edit": "queued again with these arguments", "backfill": "enqueued"}
"""What became of jobs, in the words of the page that is led back to."""
SAID = {
    "pause": "The queue is paused.", "resume": "The queue is served again.",
    "pause-schedule": "The schedule is paused.", "resume-schedule": "The schedule is due again at its next instant.",
    "run-schedule": "One run more was enqueued.", "remove-schedule": "The schedule is removed; its jobs stay.",
    "save-schedule": "The schedule is stored.",
    "quiet": "The worker is told to be quiet: it finishes what runs, and claims nothing more.",
    "resume-worker": "The worker is told to claim again.",
    "stop-worker": "The worker is told to stop: it finishes what runs, and ends.",
    "stack": "The worker is asked for its stack; it is shown below in a moment.",
    "mute": "The error is muted for a day; it is counted on.", "unmute": "The error is shown again.",
}  # fmt: skip
"""What a page says after an action on one thing."""
MUTED = "1d"
Form = Mapping[str, Sequence[str]]


def action_routes(app: Procession) -> list[Route]:
    """Where forms are sent."""
    return [
        Route("/jobs/act", _acting(app, _act_on_jobs), methods=["POST"]),
        Route("/queues/act", _acting(app, _act_on_queue), methods=["POST"]),
        Route("/errors/act", _acting(app, _act_on_error), methods=["POST"]),
        Route("/schedules/act", _acting(app, _act_on_schedule), methods=["POST"]),
        Route("/workers/act", _acting(app, act_on_worker), methods=["POST"]),
        Route("/theme", _theme, methods=["POST"]),
    ]


def said(query: Mapping[str, str]) -> str:
    """What the page says about the action that led to it; only words of ours."""
    done, changed, asked = query.get("done", ""), query.get("n", ""), query.get("of", "")
    if done in ENDED and changed.isdecimal() and asked.isdecimal() and len(changed + asked) < 12:
        left = int(asked) - int(changed)
        rest = f"; {left} left as {'it is' if left == 1 else 'they are'}: not in a state for this" if left > 0 else ""
        return f"{changed} {'job' if changed == '1' else 'jobs'} {ENDED[done]}{rest}."
    return SAID.get(done, "")


Act = Callable[[Procession, str, Form], Awaitable[tuple[int, int]]]


def _acting(app: Procession, act: Act) -> Callable[[Request], Awaitable[Response]]:
    """Read the form, check the role, act, say so, and lead back."""

    async def acting(request: Request) -> Response:
        form = await form_of(request)
        verb = form.get("do", [""])[0]
        access = request.scope["procession.access"]
        needed = NEEDED.get(verb)
        if needed is None:
            raise ConfigError(f"do={verb!r} is not one of {', '.join(NEEDED)}")
        if not access.may(needed):
            return PlainTextResponse(f"Refused: to {verb}, one must be {needed.name.lower()} or more.", 403)
        changed, asked = await act(app, verb, {**form, "by": [access.user]})
        await signed(app, access, verb, _named(form), changed=changed, asked=asked)
        if "application/json" in request.headers.get("accept", ""):
            return JSONResponse({"changed": changed, "asked": asked})
        back = _back(form.get("back", [""])[0], request.scope.get("root_path", ""))
        mark = "&" if "?" in back else "?"
        return RedirectResponse(f"{back}{mark}done={verb}&n={changed}&of={asked}", 303)

    return acting


async def _act_on_jobs(app: Procession, verb: str, form: Form) -> tuple[int, int]:
    jids = [parse_jid(jid) for jid in form.get("jid", ())]
    if verb not in FITTING:
        raise ConfigError(f"jobs cannot be told to {verb}")
    if len(jids) > MOST:
        raise ConfigError(f"{len(jids)} jobs are more than the {MOST} of one action")
    states = await app.ask_async(_verb(app, verb, jids)) if jids else []
    return sum(state in FITTING[verb] for state in states), len(jids)


def _verb(app: Procession, verb: str, jids: list[UUID]) -> Operation[list[State | None]]:
    if verb == "retry":
        return app.database.retry(jids)
    return app.database.cancel(jids) if verb == "cancel" else app.database.remove(jids)


async def _act_on_queue(app: Procession, verb: str, form: Form) -> tuple[int, int]:
    queue = form.get("queue", [""])[0]
    if verb == "pause":
        await app.pause_async(queue, form.get("reason", [""])[0][:200], form["by"][0])
    elif verb == "resume":
        await app.resume_async(queue)
    else:
        raise ConfigError(f"a queue cannot be told to {verb}")
    return 1, 1


async def _act_on_error(app: Procession, verb: str, form: Form) -> tuple[int, int]:
    if verb not in ("mute", "unmute"):
        raise ConfigError(f"an error cannot be told to {verb}")
    found = await app.mute_error_async(form.get("fingerprint", [""])[0], MUTED if verb == "mute" else 0)
    return int(found), 1


async def _act_on_schedule(app: Procession, verb: str, form: Form) -> tuple[int, int]:
    name = form.get("schedule", [""])[0]
    if verb == "pause-schedule":
        await app.schedules.pause_async(name, form.get("reason", [""])[0][:200])
    elif verb == "resume-schedule":
        await app.schedules.resume_async(name)
    elif verb == "run-schedule":
        await app.schedules.run_now_async(name)
    elif verb == "remove-schedule":
        return int(await app.schedules.remove_async(name)), 1
    else:
        raise ConfigError(f"a schedule cannot be told to {verb}")
    return 1, 1


async def _theme(request: Request) -> Response:
    form = await form_of(request)
    base = request.scope.get("root_path", "")
    answer = RedirectResponse(_back(form.get("back", [""])[0], base), 303)
    theme = form.get("theme", [""])[0]
    if theme in ("light", "dark"):
        answer.set_cookie("procession_theme", theme, 31_536_000, path=base or "/", httponly=True, samesite="strict")
    else:
        answer.delete_cookie("procession_theme", path=base or "/")
    return answer


async def form_of(request: Request, longest: int = LONGEST) -> Form:
    """The fields of a form; read here because starlette's own reader needs one more package."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > longest:
            raise ConfigError(f"the form is longer than {longest:,} bytes; send less at once")
    try:
        return parse_qs(body.decode(errors="replace"), keep_blank_values=True, max_num_fields=MOST + 10)
    except ValueError:
        raise ConfigError(f"the form has more than {MOST + 10:,} fields; name {MOST:,} jobs at most at once") from None


def lines_of(form: Form, name: str) -> str:
    """One field, its lines ended as everywhere but in forms."""
    return form.get(name, [""])[0].replace("\r\n", "\n")


def _back(asked: str, base: str) -> str:
    """Where to lead back: a page of this dashboard, without what an earlier action said."""
    parts = split(asked.replace("\\", "/"))
    is_ours = parts.path.startswith(f"{base}/") and not parts.path.startswith("//")  # to browsers // begins a host
    if parts.scheme or parts.netloc or not is_ours or not asked.isprintable():
        return f"{base}/"
    kept = [word for word in parts.query.split("&") if word and word.split("=")[0] not in ("done", "n", "of")]
    return f"{parts.path}{'?' if kept else ''}{'&'.join(kept)}"


def _named(form: Form) -> str:
    words = [word for field in ("jid", "queue", "fingerprint", "schedule", "worker") for word in form.get(field, ())]
    return " ".join(words[:10]) + (f" and {len(words) - 10} more" if len(words) > 10 else "")
