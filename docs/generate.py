"""Print the moves and the keys into internals.md, from the tables in the code. With `--check`, fail if they are
not current."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from procession.database.redis.keys import KEYS
from procession.moves import MOVES

PAGE = Path(__file__).with_name("internals.md")


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


def generated(page: str) -> str:
    """The page with both parts as they are now."""
    for name, part in (("moves", moves()), ("keys", keys())):
        block = f"<!-- {name} -->\n\n{part}\n\n<!-- end of {name} -->"
        page = re.sub(f"<!-- {name} -->.*?<!-- end of {name} -->", lambda _, block=block: block, page, flags=re.DOTALL)
    return page


if __name__ == "__main__":
    now = PAGE.read_text("utf-8")
    if "--check" in sys.argv:
        sys.exit(now != generated(now))
    PAGE.write_text(generated(now), "utf-8")
