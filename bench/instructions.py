"""How many instructions the server takes for a job's whole life: what repeats where wall clocks do not.

python bench/instructions.py [SRC]: the scripts of this tree, or of the one whose `src` folder is given, and the packed
floor beside them, each on a Valkey of its own under `valgrind --tool=callgrind` (Debian: valgrind), all warm. As a rule
of thumb 3,500 instructions are a microsecond. Nothing is written; PROFILE.md says what was seen.
"""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
SPEC = b'["noop",{"number":12345,"text":"a string of 20 chars"}]'
SINGLES = 25


class Counted:
    """A server under callgrind, on a unix socket."""

    def __init__(self, folder: str) -> None:
        from server import valkey_binary

        self.socket = f"{folder}/s"
        self._folder = Path(folder)
        options = ["--port", "0", "--unixsocket", self.socket, "--save", "", "--dir", folder, "--hz", "1"]
        options += ["--lua-time-limit", "0", "--io-threads", "1"]
        counting = ["valgrind", "--tool=callgrind", "--quiet", f"--callgrind-out-file={folder}/out"]
        self._process = subprocess.Popen([*counting, valkey_binary(), *options], stdout=subprocess.DEVNULL)
        while not Path(self.socket).exists():
            time.sleep(0.05)

    def instructions(self, call: Callable[[], Any]) -> int:
        """What the server does while this call is made, all of it."""
        self._control("-z")
        call()
        for old in self._folder.glob("out.*"):
            old.unlink()
        self._control("-d")
        dump = next(self._folder.glob("out.*")).read_text("utf-8", "replace")
        found = re.search(r"^(?:totals|summary): (\d+)", dump, re.MULTILINE)
        assert found, "callgrind wrote no total"
        return int(found[1])

    def _control(self, word: str) -> None:
        quiet = subprocess.DEVNULL
        subprocess.run(["callgrind_control", word, str(self._process.pid)], check=True, stdout=quiet, stderr=quiet)

    def close(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait(timeout=60)


@contextmanager
def counted() -> Iterator[Counted]:
    """A fresh server."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        made = Counted(folder)
        try:
            yield made
        finally:
            made.close()


def ours(server: Counted, *, kept: int = 100_000) -> dict[str, Callable[[int], Any]]:
    """Our three moves, each of so many jobs."""
    from procession.database import Policy
    from procession.database.redis import RedisDatabase
    from procession.job import NewJob, Outcome, new_jid

    database = RedisDatabase(f"unix://{server.socket}", namespace="bench", policy=Policy(processed_count=kept))
    connection = database.connect(300.0)
    last, claimed = [b""], []

    def enqueue(number: int) -> None:
        connection.ask(database.enqueue([NewJob(jid=new_jid(), spec=SPEC, queue="default") for _ in range(number)]))

    def claim(number: int) -> None:
        token = os.urandom(16)
        claims = connection.ask(
            database.claim(["default"], "host:1234:0123456789ab", token, limit=number, lease=15_000, after=last[0])
        )
        last[0], claimed[:] = token, claims.jobs
        assert len(claims.jobs) == number

    def settle(number: int) -> None:
        outcomes = [Outcome(jid=it.jid, token=it.token, move="process") for it in claimed]
        assert all(connection.ask(database.settle("host:1234:0123456789ab", outcomes)))
        assert len(outcomes) == number

    return {"enqueue": enqueue, "claim": claim, "settle": settle}


def packed(server: Counted) -> dict[str, Callable[[int], Any]]:
    """The packed floor's moves: its one script settles the batch before and claims the next."""
    import redis
    from floors.packed import ENQUEUE, TURN

    store = redis.Redis(unix_socket_path=server.socket, socket_timeout=300)
    add, turn = store.script_load(ENQUEUE), store.script_load(TURN)
    held = [b"", b""]

    def enqueue(number: int) -> None:
        store.evalsha(add, 1, "bench", *[word for _ in range(number) for word in (os.urandom(16), SPEC)])

    def claim_and_settle(number: int) -> None:
        token = os.urandom(8)
        ids, records = store.evalsha(turn, 1, "bench", *held, token, number, b"12345678")
        held[:] = token, ids
        assert len(records) == number

    return {"enqueue": enqueue, "claim and settle": claim_and_settle}


def shown(title: str, moves: dict[str, Callable[[int], Any]], server: Counted, number: int, *, times: int = 3) -> float:
    """Print what each move costs a job, in batches of `number` after warm ones; answers their sum."""
    sums = {}
    for _ in range(2):
        for move in moves.values():
            move(number)
    taken: dict[str, list[int]] = {name: [] for name in moves}
    for _ in range(times):
        for name, move in moves.items():
            taken[name].append(server.instructions(lambda move=move: move(number)))  # type: ignore[misc]
    sums = {name: statistics.mean(each) / number for name, each in taken.items()}
    parts = ", ".join(f"{name} {each:,.0f}" for name, each in sums.items())
    print(f"{title:<34} {sum(sums.values()):>10,.0f} a job: {parts}", flush=True)
    return sum(sums.values())


def main() -> None:
    """Print the table."""
    sys.path[:0] = [str(HERE), *sys.argv[1:2]]
    with counted() as server:
        moves = packed(server)
        floor = shown("packed floor, batches of 500", moves, server, 500)
        shown("packed floor, one job", moves, server, 1, times=SINGLES)
    with counted() as server:
        moves = ours(server)
        moves["enqueue"](1_000)
        life = shown("ours, batches of 500", moves, server, 500)
        print(f"{'':34} {life / floor:>10.2f} × the packed floor")
        shown("ours, batches of 100", moves, server, 100)
    with counted() as server:
        shown("ours, one job each, queue empty", ours(server), server, 1, times=SINGLES)
    with counted() as server:
        moves = ours(server, kept=1_000)
        for _ in range(2):
            for move in moves.values():
                move(500)
        shown("ours, history full, 500", moves, server, 500)


if __name__ == "__main__":
    main()
