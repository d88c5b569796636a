"""The dashboard beside Django's ASGI application, for the staff that Django knows.

A whole project in one file: in yours, the last lines stand in asgi.py, and `who` may ask `request.scope`, a signed
cookie, or a proxy's header. Run it with `uvicorn dashboard_django:application`; the dashboard is at /ops/jobs/.
"""

from typing import Any

from django.conf import settings
from django.core import signing
from django.core.asgi import get_asgi_application
from django.http import HttpRequest, HttpResponse
from django.urls import path
from starlette.requests import HTTPConnection
from starlette.responses import RedirectResponse

from procession import Procession
from procession.web import Access, Dashboard, Role

settings.configure(SECRET_KEY="change me", ROOT_URLCONF=__name__, ALLOWED_HOSTS=["127.0.0.1", "localhost"])

app = Procession()
PREFIX = "/ops/jobs"


@app.job(queue="mail", retry=False)
async def greet(name: str) -> str:
    return f"hello {name}"


async def home(request: HttpRequest) -> HttpResponse:
    job = await greet.enqueue_async(str(request.GET.get("name", "world")))
    return HttpResponse(f"enqueued {job.jid}; see {PREFIX}/".encode())


def login(request: HttpRequest) -> HttpResponse:
    response = HttpResponse(b"you are ann")
    response.set_cookie("staff", signing.dumps("ann"), httponly=True, samesite="Strict")
    return response


urlpatterns = [path("", home), path("login", login)]


def who(request: HTTPConnection) -> Access | RedirectResponse:
    try:
        return Access(signing.loads(request.cookies.get("staff", ""), max_age=86_400), Role.ADMIN)
    except signing.BadSignature:
        return RedirectResponse("/login", 303)


dashboard, django = Dashboard(app, auth=who), get_asgi_application()


async def application(scope: Any, receive: Any, send: Any) -> None:
    """The dashboard below its prefix, its live socket included; everything else is Django's, which knows no sockets."""
    if scope["type"] in ("http", "websocket") and scope["path"].startswith(f"{PREFIX}/"):
        await dashboard({**scope, "root_path": PREFIX}, receive, send)
    else:
        await django(scope, receive, send)
