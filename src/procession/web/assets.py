"""Our own scripts and styles, read once, served under a path that names their content and never changes.

A new release has new paths, so a browser may keep what it has for ever. Nothing is built, fetched or minified.
"""

from __future__ import annotations

import gzip
from functools import cache
from hashlib import sha256
from pathlib import Path

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from procession.web.packed import takes_gzip

FOLDER = Path(__file__).parent / "static"
TYPES = {".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml"}


@cache
def contents() -> dict[str, tuple[bytes, bytes]]:
    """Each file by name: as it is, and compressed."""
    files = sorted(path for path in FOLDER.iterdir() if path.suffix in TYPES)
    return {path.name: (path.read_bytes(), gzip.compress(path.read_bytes(), 9, mtime=0)) for path in files}


@cache
def version() -> str:
    """A hash over all of them, so that modules import each other by relative path."""
    return sha256(b"".join(raw for raw, _ in contents().values())).hexdigest()[:12]


def asset_routes() -> list[Route]:
    """Where the files are found."""
    return [Route("/static/{version}/{name}", _asset)]


async def _asset(request: Request) -> Response:
    name = request.path_params["name"]
    if name not in contents() or request.path_params["version"] != version():
        return PlainTextResponse("no such file", 404)
    raw, packed = contents()[name]
    headers = {"Cache-Control": "public, max-age=31536000, immutable", "Vary": "Accept-Encoding"}
    kind = TYPES[Path(name).suffix]
    if takes_gzip(request):
        return Response(packed, headers={**headers, "Content-Encoding": "gzip"}, media_type=kind)
    return Response(raw, headers=headers, media_type=kind)
