"""Lua scripts: read from `lua/`, joined with the helpers that they use, their arguments bound by name.

The header of each file is code: `args` becomes the list of local variables (`:int` a number, `*` the rest as a table),
`flags` the shebang line, `uses` the helpers of which `linking.py` takes what is needed, and `seldom` (where it is
given) the functions that most calls do without. So Python hands over values in the order of the header, and no script
reads a position. Helpers live in `lua/lib/`. Called by `__init__.py` of this folder.
"""

from __future__ import annotations

import hashlib
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

from procession.database.redis.linking import linked

LUA = Path(__file__).with_name("lua")
_CALLED = re.compile(r"\b(?:call|call_with|pushing)\([^'()]*'([A-Z]+)'(?: or '([A-Z]+)')?")
FIELDS = ("moves", "flags", "args", "each", "reply", "uses", "seldom")


class Script(NamedTuple):
    """One verb in Lua, whole: what is sent to the server, and what its header says."""

    name: str
    text: str
    sha: str
    purpose: str
    moves: tuple[str, ...]
    args: tuple[str, ...]


def _header(name: str, source: str) -> dict[str, str]:
    found: dict[str, str] = {"purpose": ""}
    for line in source.splitlines():
        if not line.startswith("--"):
            break
        text = line.removeprefix("--").strip()
        field, colon, value = text.partition(":")
        if colon and field in FIELDS:
            found[field] = value.strip()
        elif len(found) == 1:
            found["purpose"] = f"{found['purpose']} {text}".strip()
    missing = [field for field in ("moves", "flags", "args", "reply", "uses") if field not in found]
    if missing and missing != ["flags"]:
        raise ValueError(f"{name}.lua: its header lacks {', '.join(missing)}")
    return found


def _bindings(args: tuple[str, ...]) -> str:
    lines = ["local T = KEYS[1]"]
    for position, arg in enumerate(args, start=1):
        if arg.startswith("*"):
            rest = arg[1:]
            lines.append(f"local {rest} = #ARGV < 7000 and {{unpack(ARGV, {position})}} or {{}}")  # fails above 8,000
            lines.append(f"for i = #{rest} + {position}, #ARGV do {rest}[i - {position - 1}] = ARGV[i] end")
        else:
            name, _, kind = arg.partition(":")
            lines.append(f"local {name} = " + (f"tonumber(ARGV[{position}])" if kind == "int" else f"ARGV[{position}]"))
    return "\n".join(lines)


@cache
def _texts(folder: Path) -> dict[str, str]:
    """All Lua below this folder, by path. Read at once: a process that is out of descriptors could not read later what
    it needs then, and another release may lie there. Raises OSError, where `glob` finds nothing and says no word."""
    entries = (*folder.iterdir(), *(folder / "lib").iterdir())
    return {it.relative_to(folder).as_posix(): it.read_text("utf-8") for it in entries if it.suffix == ".lua"}


@cache
def script(name: str) -> Script:
    """The script of one verb. Raises ValueError when its header is not whole."""
    texts = _texts(LUA)
    source = texts[f"{name}.lua"]
    header = _header(name, source)
    args = tuple(header["args"].split())
    helpers = [texts[f"lib/{helper}.lua"] for helper in header["uses"].split()]
    seldom = header.get("seldom", "").split()
    flags = ",".join(header.get("flags", "").split())
    text = "\n".join([f"#!lua flags={flags}" if flags else "#!lua", _bindings(args), linked(helpers, source, seldom)])
    sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
    return Script(name, text, sha, header["purpose"], tuple(header["moves"].split()), args)


def names() -> list[str]:
    """All verbs that have a script."""
    return sorted(entry.stem for entry in LUA.glob("*.lua"))


def commands() -> list[str]:
    """Every server command that the scripts cannot do without, by name: a user of the store needs the right to each.
    What they only try (`pcall`) is not among them."""
    called = {name for text in _texts(LUA).values() for pair in _CALLED.findall(text) for name in pair if name}
    return sorted(called)
