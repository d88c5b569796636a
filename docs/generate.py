"""Print moves and keys into internals.md, rights and answers into connecting.md, from the tables in the code.

With `--check`, fail if a page is not current.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import fill

from procession.database.redis.keys import KEYS
from procession.database.redis.replies import ANSWERS
from procession.database.redis.scripts import commands
from procession.moves import MOVES

HERE = Path(__file__).parent
DIRECTLY = ("EVALSHA", "EVAL", "BLPOP", "HSETNX", "HGET", "HSET", "SELECT", "WAIT", "WAITAOF", "ROLE")
"""What connections say themselves, beside what the scripts call; the last four only where they are used."""


def moves() -> str:
    """The table of moves as a diagram."""
    rows = [
        f"    {source or '[*]'} --> {row.target or '[*]'}: {move}"
        for move, row in MOVES.items()
        for source in sorted(row.sources, key=str)
    ]
    return "\n".join(["```mermaid", "stateDiagram-v2", *rows, "```"])


def keys() -> str:
    """The table of keys."""
    rows = [f"| `{key.name}` | {key.type} | {key.holds} | {key.bound} | {key.expiry} |" for key in KEYS]
    return "\n".join(["| key | type | holds | bound | goes away |", "|---|---|---|---|---|", *rows])


def rights() -> str:
    """An ACL user that may do what is needed and nothing else."""
    names = sorted({*DIRECTLY, *commands()})
    granted = fill(" ".join(f"+{name.lower()}" for name in names), 110, initial_indent="  ", subsequent_indent="  ")
    return f"```\nACL SETUSER jobs on >secret ~{{procession:* resetchannels -@all\n{granted}\n```"


def answers() -> str:
    """The table of what a server's errors mean."""
    rows = [f"| `{it.text}` | {it.meaning} | {it.then.value} |" for it in ANSWERS]
    return "\n".join(["| the server says | it means | what is done |", "|---|---|---|", *rows])


PAGES = {"internals.md": {"moves": moves, "keys": keys}, "connecting.md": {"rights": rights, "answers": answers}}


def generated(page: str, parts: dict[str, Callable[[], str]]) -> str:
    """A page with its parts as they are now."""
    for name, part in parts.items():
        block = f"<!-- {name} -->\n\n{part()}\n\n<!-- end of {name} -->"
        page = re.sub(f"<!-- {name} -->.*?<!-- end of {name} -->", lambda _, block=block: block, page, flags=re.DOTALL)
    return page


if __name__ == "__main__":
    for name, parts in PAGES.items():
        path = HERE / name
        now = path.read_text("utf-8")
        if "--check" in sys.argv and now != generated(now, parts):
            sys.exit(f"{name} is not current: run python docs/generate.py")
        path.write_text(generated(now, parts), "utf-8")
