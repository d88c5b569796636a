"""What a type checker must accept, and (lines marked `# E`) must refuse. Never run."""

from __future__ import annotations

from typing import assert_type

from procession import Call, JobHandle, Limit, Procession, Worker

app = Procession("memory://typing")


@app.job
def sync(a: int, b: str = "") -> float:
    return a / 2


@app.job(queue="q", retry=False)
async def coroutine(a: int, *, b: str) -> bytes:
    return b.encode()


@app.job(executor="process", timeout="5m", hard_timeout=400, max_memory="512MB")
def heavy(n: int) -> int:
    return n


@app.every("1m", jitter=5, kwargs={"n": 2})
@app.cron("@daily", tz="Europe/Paris", name="daily", args=[1], overlap="queue_one")
@app.job
def timed(n: int) -> int:
    return n


@app.job(limit=Limit(2, by=("n",)))
def limited(n: int) -> int:
    return n


@app.job(limit=3)  # E
def misled(n: int) -> int:
    return n


@app.job(executor="fork")  # E
def forked(n: int) -> int:
    return n


@app.worker(queue="w")
class Sync(Worker):
    def perform(self, path: str, width: int) -> str:
        return path * width


@app.worker
class Coroutine(Worker):
    async def perform(self, n: int) -> list[int]:
        return [n]


async def accepted() -> None:
    assert_type(sync(1, "b"), float)
    assert_type(await coroutine(1, b="x"), bytes)
    assert_type(sync.enqueue(1, b="x"), JobHandle[float])
    assert_type(sync.enqueue(1).result(), float)
    assert_type(heavy.enqueue(1).result(), int)
    assert_type(limited.using(limit=Limit(1, name="x")).enqueue(1), JobHandle[int])
    assert_type(limited.using(limit=False).enqueue(1), JobHandle[int])
    assert_type(timed(1), int)
    assert_type(timed.enqueue(1), JobHandle[int])
    assert_type(await coroutine.enqueue_async(1, b="x"), JobHandle[bytes])
    assert_type(coroutine.using(delay="5m", priority=3).enqueue(1, b="x"), JobHandle[bytes])
    assert_type(coroutine.bind(1, b="x"), Call[bytes])
    assert_type(Sync.enqueue("a", width=3), JobHandle[str])
    assert_type(await Coroutine.enqueue_async(3), JobHandle[list[int]])
    assert_type(Coroutine.bind(3), Call[list[int]])
    assert_type(Sync.using(tags=["x"]).enqueue("a", 3), JobHandle[str])
    assert_type(app.enqueue(Sync.bind("a", 3)), JobHandle[str])
    assert_type(app.enqueue("images", Sync, "a", width=3), JobHandle[str])
    assert_type(app.enqueue("images", Sync.bind("a", 3)), JobHandle[str])
    assert_type(app.enqueue_many(sync.bind(n) for n in range(3)), list[JobHandle[float]])
    assert_type(app.enqueue_many([sync.bind(1)], spread="1m"), list[JobHandle[float]])
    app.enqueue_many([sync.bind(1), coroutine.bind(1, b="x"), Sync.bind("a", 3)])
    await app.enqueue_many_async([timed.bind(1), Coroutine.bind(3)])
    assert_type(sync.using(unique=("a",), until="start", conflict="raise").enqueue(1), JobHandle[float])
    assert_type(Sync.using(unique=True, throttle="1m", deadline="1h").enqueue("a", 3), JobHandle[str])


async def refused() -> None:
    app.job(hard_timeuot=3)  # E
    app.worker(max_memory=1.5)  # E
    app.every("1m", overlap="never")  # E
    app.cron("@daily", zone="UTC")  # E
    app.schedules.upsert("timed", timed, every=5, missed="some")  # E
    sync.enqueue("a")  # E
    sync.enqueue()  # E
    sync.enqueue(1, c=2)  # E
    coroutine.enqueue(1, "x")  # E
    await coroutine.enqueue_async(1, b=2)  # E
    sync.using(dealy=3)  # E
    sync.using(unique="k", until="end")  # E
    app.job(unique=True, conflict="merge")  # E
    sync.using(delay="5m").enqueue("a")  # E
    coroutine.bind("a", b="x")  # E
    Sync.enqueue("a", width="3")  # E
    Sync.enqueue("a")  # E
    Sync.using(priority="high")  # E
    await Coroutine.enqueue_async("3")  # E
    Coroutine.bind()  # E
    app.enqueue("images", Sync, "a", width="3")  # E
    text: str = sync.enqueue(1).result()  # E
    print(text)
