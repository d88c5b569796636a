"""The dashboard inside a FastAPI application, for people whom its own session knows.

Run it with `uvicorn dashboard_fastapi:site`, post to /orders, and open http://127.0.0.1:8000/ops/jobs/ after /login.
"""

from fastapi import FastAPI, Response
from starlette.requests import HTTPConnection
from starlette.responses import RedirectResponse

from procession import Procession
from procession.web import Access, Dashboard, Role

app = Procession()
site = FastAPI(title="shop")
SESSIONS = {"4f2a": Access("ann", Role.OPERATOR)}  # yours are in a database, and made by chance


@app.job(queue="mail", retry=False)
async def confirm(order: int) -> str:
    return f"order {order} is confirmed"


@site.post("/orders/{order}")
async def place(order: int) -> dict[str, str]:
    job = await confirm.enqueue_async(order)
    return {"job": str(job.jid)}


@site.get("/login")
async def login(response: Response) -> str:
    response.set_cookie("session", "4f2a", httponly=True, samesite="strict")
    return "you are ann"


def who(request: HTTPConnection) -> Access | RedirectResponse:
    return SESSIONS.get(request.cookies.get("session", "")) or RedirectResponse("/login", 303)


site.mount("/ops/jobs", Dashboard(app, auth=who))
