"""The API as a document: OpenAPI 3.1, made from the endpoints themselves and from the types that they take and answer.

Pure. Nothing is written by hand beside `api.py`, so the document cannot say anything else than what is served.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from procession import __version__
from procession.web.access import Role

ABOUT = (
    "Jobs, queues, workers, schedules, errors, history and stats of one namespace, as the pages show them. Who asks is"
    " known by the same `auth` as on the pages, and needs the role that each operation names. What acts is refused"
    " without `Sec-Fetch-Site: same-origin` (or an `Origin` that is the host). Times are milliseconds since the epoch."
    " An error is a JSON object whose `error` says what to do."
)


class Problem(Struct, frozen=True):
    """Why something was refused or did not work, and what to do."""

    error: str


class Param(Struct, frozen=True):
    """One parameter of the address."""

    name: str
    says: str
    kind: Any = str
    required: bool = False


class Endpoint(Struct, frozen=True, kw_only=True):
    """One operation: what is served, and what is said of it."""

    method: str
    path: str
    says: str
    answer: Any
    """The type of what it answers."""
    handle: Callable[..., Any]
    role: Role = Role.VIEWER
    params: tuple[Param, ...] = ()
    """Of the query."""
    body: Any = None
    """The type of the JSON that it takes."""
    tag: str = ""

    @property
    def name(self) -> str:
        """Its name for programs, such as `get_jobs_jid`."""
        words = self.path.removeprefix("/api").replace("{", "").replace("}", "").replace(":path", "")
        return self.method.lower() + words.replace("/", "_").replace("-", "_").replace(".", "_")


IN_PATH = {
    "jid": "A job's id.", "queue": "A queue's name.", "worker": "A worker's name, whole.", "name": "A schedule's name.",
    "fingerprint": "An error's fingerprint.",
}  # fmt: skip


def document(endpoints: Sequence[Endpoint], *, base: str, title: str) -> dict[str, Any]:
    """The whole document. `base` is where the dashboard is mounted."""
    types = [it for endpoint in endpoints for it in (endpoint.answer, endpoint.body) if it is not None]
    schemas, parts = msgspec.json.schema_components([Problem, *types], ref_template="#/components/schemas/{name}")
    said = dict(zip(map(repr, [Problem, *types]), schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for it in endpoints:
        paths.setdefault(it.path.replace(":path", ""), {})[it.method.lower()] = _operation(it, said)
    return {
        "openapi": "3.1.0",
        "info": {"title": f"Procession: {title}", "version": __version__, "description": ABOUT},
        "servers": [{"url": base or "/"}],
        "paths": paths,
        "components": {"schemas": parts},
    }


def _operation(it: Endpoint, said: dict[str, Any]) -> dict[str, Any]:
    named = [word.partition("}")[0].partition(":")[0] for word in it.path.split("{")[1:]]
    params: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "description": IN_PATH[name], "schema": {"type": "string"}}
        for name in named
    ]
    params += [
        {"name": p.name, "in": "query", "required": p.required, "description": p.says,
         "schema": msgspec.json.schema(p.kind)}
        for p in it.params
    ]  # fmt: skip
    if it.method != "GET":
        params.append({
            "name": "Sec-Fetch-Site", "in": "header", "required": False, "schema": {"const": "same-origin"},
            "description": "Needed where `Origin` is not the host.",
        })  # fmt: skip
    found: dict[str, Any] = {
        "operationId": it.name,
        "summary": it.says,
        "description": f"Role: {it.role.name.lower()}.",
        "tags": [it.tag],
        "parameters": params,
        "responses": {
            "200": {"description": "Done.", "content": _json(said[repr(it.answer)])},
            "default": {"description": "It was refused or did not work.", "content": _json(said[repr(Problem)])},
        },
    }
    if it.body is not None:
        found["requestBody"] = {"required": True, "content": _json(said[repr(it.body)])}
    return found


def _json(schema: Any) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}
