"""Many clients at once on one unique key: one live job, whatever state it is in."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest

from procession import DuplicateJob, Procession
from procession.job import Outcome, State
from procession.moves import Move

CLIENTS = 50
RACER = """
import sys
from procession import Procession
app = Procession(sys.argv[1], namespace=sys.argv[2])
@app.job(name="sync", queue="mail", unique=("user",))
def sync(user: str, n: int) -> None: ...
app.stats()
print("ready", flush=True)
sys.stdin.readline()
handles = app.enqueue_many(sync.bind("ada", n) for n in range(20))
print(*{str(handle.jid) for handle in handles}, sum(not handle.duplicate for handle in handles))
"""
STATES = ["nothing", "queued", "running", "waiting for a retry", "failed", "cancelled", "removed", "recovered"]


def brought_to(app: Procession, state: str, jid: Any) -> bool:
    """Bring the only job into a state; True when it holds its key there."""

    def settled(move: Move) -> None:
        outcome = Outcome(jid=jid, token=b"t" * 16, move=move, delay=60_000)
        assert app.ask(app.database.settle("w", [outcome])) == [True]

    if state in ("running", "waiting for a retry", "failed", "recovered"):
        assert app.ask(app.database.claim(["mail"], "w", b"t" * 16, limit=1, lease=15_000)).jobs
    match state:
        case "waiting for a retry":
            settled(Move.RETRY)
        case "failed":
            settled(Move.FAIL)
        case "cancelled":
            app.cancel(jid)
        case "removed":
            app.remove(jid)
        case "recovered":
            app.ask(app.database.leave("w"))
    return state not in ("failed", "cancelled", "removed")


@pytest.mark.parametrize("state", STATES)
def test_fifty_clients_racing_on_one_key_leave_one_live_job(valkey_url: str, namespace: str, state: str) -> None:
    app = Procession(valkey_url, namespace=namespace)

    @app.job(name="sync", queue="mail", unique=True)
    def sync(user: str) -> None: ...

    first = None if state == "nothing" else sync.enqueue("ada")
    held = first is not None and brought_to(app, state, first.jid)
    start = Barrier(CLIENTS)

    def client(_: int) -> tuple[Any, bool]:
        own = Procession(valkey_url, namespace=namespace)
        caller = own.job(name="sync", queue="mail", unique=True)(sync.registered.source)
        own.stats()
        start.wait()
        handle = caller.enqueue("ada")
        own.close()
        return handle.jid, handle.duplicate

    with ThreadPoolExecutor(CLIENTS) as pool:
        answers = [*pool.map(client, range(CLIENTS))]
    assert len({jid for jid, _ in answers}) == 1
    assert sum(not duplicate for _, duplicate in answers) == (0 if held else 1)
    assert first is None or (answers[0][0] == first.jid) is held
    live = [job.jid for it in State if not it.final for job in app.jobs(it).jobs]
    assert live == [answers[0][0]]
    assert app.repair().clean
    app.flush(confirm=namespace)
    app.close()


def test_processes_racing_on_one_key_leave_one_job(valkey_url: str, namespace: str) -> None:
    command = [sys.executable, "-c", RACER, valkey_url, namespace]
    racers = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    said = []
    for racer in racers:
        assert racer.stdout is not None
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("go\n")
        racer.stdin.flush()
    for racer in racers:
        out, _ = racer.communicate(timeout=30)
        assert racer.returncode == 0
        said.append(out.split())
    assert len({jid for jid, _ in said}) == 1
    assert sum(int(new) for _, new in said) == 1
    app = Procession(valkey_url, namespace=namespace)
    assert app.counts().queued == 1
    app.flush(confirm=namespace)
    app.close()


def test_concurrent_callers_of_one_loop_get_one_job_and_those_who_wish_an_error(
    valkey_url: str, namespace: str
) -> None:
    app = Procession(valkey_url, namespace=namespace)

    @app.job(name="sync", queue="mail", unique=True)
    async def sync(user: str) -> None: ...

    async def main() -> list[Any]:
        first = await sync.enqueue_async("ada")
        calls = [sync.using(conflict="raise" if n % 2 else "keep").enqueue_async("ada") for n in range(CLIENTS)]
        answers = await asyncio.gather(*calls, return_exceptions=True)
        await app.close_async()
        return [first, *answers]

    first, *answers = asyncio.run(main())
    assert {answer.jid for answer in answers} == {first.jid}
    assert sum(isinstance(answer, DuplicateJob) for answer in answers) == CLIENTS // 2
    assert app.counts().queued == 1
    app.flush(confirm=namespace)
    app.close()
