"""A thousand jobs that wait for a server, on one event loop of one worker.

    python examples/fetch_many.py

Starts a small server that answers each request after 50 ms, enqueues a thousand `async def` jobs that ask it, and
performs them in this process. One after the other they would wait fifty seconds.
"""

from __future__ import annotations

import asyncio
import time

from procession import Procession
from procession.runtime.queue_worker import QueueWorker

app = Procession(namespace="fetch-many")
JOBS = 1_000
ANSWER_AFTER = 0.05


@app.job(queue="fetch", name="fetch_many.fetch")
async def fetch(port: int, number: int) -> int:
    """Ask the server to double a number."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"{number}\n".encode())
    answer = int(await reader.readline())
    writer.close()
    await writer.wait_closed()
    return answer


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """The server: slow, as servers are."""
    number = int(await reader.readline())
    await asyncio.sleep(ANSWER_AFTER)
    writer.write(f"{number * 2}\n".encode())
    await writer.drain()
    writer.close()


async def main() -> None:
    """Serve, enqueue, perform, add up."""
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    handles = await app.enqueue_many_async(fetch.bind(port, number) for number in range(JOBS))
    started = time.perf_counter()
    await QueueWorker(app, burst=True, concurrency=200).run()
    took = time.perf_counter() - started
    total = sum([await handle.result_async(timeout=10) for handle in handles])
    await app.close_async()
    server.close()
    print(f"{JOBS} jobs, sum {total}, in {took:.1f} s; one after the other: {JOBS * ANSWER_AFTER:.0f} s")


if __name__ == "__main__":
    asyncio.run(main())
