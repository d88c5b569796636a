"""The dashboard inside an application of one's own, below a prefix, for people whom the application knows.

Run it with `uvicorn dashboard_mounted:site` and open http://127.0.0.1:8000/ops/jobs/ as ann, password "lovelace".
"""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from procession import Procession
from procession.web import Dashboard, Passwords

app = Procession()


@app.job(queue="mail", retry=False)
async def greet(name: str) -> str:
    return f"hello {name}"


async def home(request: Request) -> PlainTextResponse:
    job = await greet.enqueue_async(request.query_params.get("name", "world"))
    return PlainTextResponse(f"enqueued {job.jid}; see /ops/jobs/\n")


# Any callable that looks at the request may say who it is: a session, a header of your proxy, …
dashboard = Dashboard(app, auth=Passwords(["ann:lovelace:operator", "eve:looking:viewer"]))
site = Starlette(routes=[Route("/", home), Mount("/ops/jobs", dashboard)])
