"""A FastAPI application that enqueues, waits, and shows the dashboard. Run it with `uvicorn fastapi_shop:site`.

The worker runs inside the web process, so that one command is enough to try it; in production leave `worker=True`
away and run `procession worker fastapi_shop:app` beside it.
"""

from fastapi import FastAPI

from procession import Procession
from procession.integrations.fastapi import Jobs, lifespan
from procession.web import Dashboard

app = Procession()


@app.job(queue="mail")
async def greet(name: str) -> str:
    return f"hello {name}"


site = FastAPI(lifespan=lifespan(app, worker=True))
site.mount("/jobs", Dashboard(app))  # answers this machine only, until auth= says who may enter


@site.post("/greetings/{name}", status_code=202)
async def ask(name: str) -> dict[str, str]:
    job = await greet.enqueue_async(name)
    return {"jid": str(job.jid)}


@site.get("/greetings/{jid}")
async def answer(jid: str, jobs: Jobs) -> dict[str, str | None]:
    found = await jobs.find_job_async(jid)
    return {"state": found.state if found else None, "result": await greeting(jobs, jid) if found else None}


async def greeting(jobs: Procession, jid: str) -> str:
    greeting: str = await jobs.handle(jid).result_async(timeout=10)
    return greeting
