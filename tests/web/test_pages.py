"""What the pages show and hide, without a browser: over memory and real servers, as each role."""

from __future__ import annotations

import json
import re

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from procession import Procession
from procession.web import Access, Dashboard, Passwords, Role
from procession.web.assets import contents
from tests.web.conftest import HOSTILE, OURS, Client, enqueue, perform

PAGES = ["/", "/jobs", "/jobs?state=processed", "/queues", "/errors", "/schedules", "/workers"]


def test_an_empty_store_is_shown_as_one(client: Client) -> None:
    for page in PAGES:
        assert client.get(page).status_code == 200, page
    assert "Nothing has failed." in client.get("/").text


def test_the_overview_says_how_many_are_where(app: Procession, client: Client) -> None:
    enqueue(app, "a", "b", "failed to find it", "discard")
    perform(app)
    enqueue(app, "c", "d")
    enqueue(app, "e", delay="1h")
    shown = client.get("/").text
    assert re.findall(r"<b>([\d,]+)</b> (\w+)", shown) == [("2", "processed"), ("3", "scheduled"), ("1", "failed")]
    counts = dict(re.findall(r'id="flow-(?!title)(\w+)".*?data-flash="(\d+)"', shown, re.DOTALL))
    assert counts == {
        "delayed": "1", "queued": "2", "running": "0",
        "processed": "2", "retried": "0", "failed": "1", "cancelled": "1",
    }  # fmt: skip
    assert "ed to find it" in shown
    assert "No worker serves “mail”, 2 queued" in shown


def test_each_page_has_a_twin_of_the_same_facts_in_json(app: Procession, client: Client) -> None:
    (jid,) = enqueue(app, "a")
    for page in ("/overview.json", "/jobs.json?state=queued", f"/jobs/{jid}.json", "/queues.json", "/workers.json"):
        answer = client.get(page)
        assert answer.headers["content-type"] == "application/json"
        assert answer.json()["at"] > 0
    assert client.get("/jobs.json?state=queued").json()["jobs"][0]["job"]["jid"] == jid
    assert client.get("/queues.json").json()["queues"][0]["info"]["queued"] == 1


def test_a_page_is_compressed_unless_another_site_made_the_browser_ask_for_it(client: Client) -> None:
    for site in ("same-origin", "none"):
        answer = client.get("/", headers={"Sec-Fetch-Site": site, "Accept-Encoding": "gzip"})
        assert (answer.headers["content-encoding"], "Overview" in answer.text) == ("gzip", True)
    for headers in ({"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {}):
        answer = client.get("/overview.json", headers={**headers, "Accept-Encoding": "gzip"})
        assert ("content-encoding" in answer.headers, "Sec-Fetch-Site" in answer.headers["vary"]) == (False, True)


def test_jobs_are_paged_by_cursor_and_filtered_by_queue_and_name(app: Procession, client: Client) -> None:
    jids = enqueue(app, *(f"n{number}" for number in range(60)))
    enqueue(app, "elsewhere", queue="other")
    first = client.get("/jobs?state=queued&queue=mail").text
    further = re.search(r'rel="next" href="([^"]+)"', first)
    assert further is not None
    second = client.get(further[1].replace("&amp;", "&")).text
    seen = re.findall(r'name="jid" value="([^"]+)"', first + second)
    assert seen == jids
    assert "elsewhere" in client.get("/jobs?state=queued&queue=other").text
    assert "shop.deliver" not in client.get("/jobs?state=queued&name=nobody").text.split("<tbody")[1]


@pytest.mark.parametrize(
    ("address", "status"),
    [
        ("/jobs?cursor=zzz", 400),
        ("/jobs?state=queued&cursor=1", 400),
        ("/live?view=jobs&cursor=zzz", 400),
        ("/api/jobs?state=foo", 400),
        (f"/jobs?done=retry&of=1&n={'9' * 5_000}", 200),
    ],
    ids=["cursor", "cursor of another state", "live cursor", "state", "number"],
)
def test_a_wrong_address_is_answered_in_words(valkey_url: str, namespace: str, address: str, status: int) -> None:
    app = Procession(valkey_url, namespace=namespace)
    answer = Client(Dashboard(app), app).get(address)
    assert answer.status_code == status
    assert answer.headers["content-type"].startswith("application/json") is address.startswith("/api")
    app.close()


def test_the_page_of_a_job_tells_its_course_its_arguments_and_its_error(app: Procession, client: Client) -> None:
    good, bad = enqueue(app, "a", "fail because")
    perform(app)
    shown = client.get(f"/jobs/{good}").text
    assert "Result" in shown
    assert "processed after" in shown
    shown = client.get(f"/jobs/{bad}").text
    assert "Traceback (most recent call last)" in shown
    assert re.search("failed after .* ms: ValueError: because", shown)
    assert ">Retry</button>" in shown


def test_a_job_that_is_not_there_is_said_so_with_a_404(client: Client) -> None:
    answer = client.get("/jobs/019a0000-0000-7000-8000-000000000000")
    assert (answer.status_code, "No such job" in answer.text) == (404, True)
    assert client.get("/jobs/rubbish").status_code == 400
    assert client.get("/jobs?state=rubbish").status_code == 400
    assert client.get("/nowhere").status_code == 404


def test_the_search_box_leads_to_a_job_or_to_the_jobs_of_a_filter(client: Client) -> None:
    jid = "019a0000-0000-7000-8000-000000000000"
    assert client.get("/find", params={"q": jid}).headers["location"] == f"/jobs/{jid}"
    assert client.get("/find", params={"q": "shop.deliver"}).headers["location"] == "/jobs?q=shop.deliver"


@pytest.mark.parametrize("what", [HOSTILE, f"fail{HOSTILE}", "x" * 200_000, f"fail{'<b>' * 60_000}"])
def test_what_strangers_wrote_is_text_wherever_it_is_shown(app: Procession, client: Client, what: str) -> None:
    (jid,) = enqueue(app, what)
    pages = ["/", "/jobs?state=queued", f"/jobs/{jid}", "/queues", f"/live?view=job&jid={jid}"]
    shown = [client.get(page).text for page in pages]
    perform(app)
    shown += [client.get(page).text for page in [*pages, "/jobs?state=failed", "/jobs?state=processed"]]
    for text in shown:
        rows = json.dumps(json.loads(text)) if text.startswith("{") else text
        assert "<script>alert" not in text
        assert "<img" not in text
        assert "<b><b>" not in rows
        assert not set(text) & {"\u202e", "\x00"}
        assert len(text) < 200_000


@pytest.mark.parametrize("page", ["/jobs?queue=%22%3E%3Cscript%3E", "/jobs?name=%3Cscript%3E&done=<script>"])
def test_what_an_address_says_is_text_too(client: Client, page: str) -> None:
    assert "<script>" not in client.get(page).text.replace('<script type="module"', "")


def test_a_viewer_is_offered_no_action_and_an_operator_no_removal(app: Procession) -> None:
    (jid,) = enqueue(app, "fail")
    perform(app)
    seen = {}
    for role in Role:
        client = Client(Dashboard(app, auth=lambda _, role=role: Access("ann", role)), app)
        shown = client.get(f"/jobs/{jid}").text + client.get("/queues").text + client.get("/jobs").text
        seen[role] = {verb for verb in ("retry", "remove", "pause") if f'value="{verb}"' in shown}
    assert seen == {
        Role.VIEWER: set(), Role.OPERATOR: {"retry", "pause"}, Role.ADMIN: {"retry", "remove", "pause"},
    }  # fmt: skip


def test_every_answer_forbids_foreign_scripts_and_frames(client: Client) -> None:
    for page in ["/", "/nowhere", "/healthz", "/jobs.json"]:
        headers = client.get(page).headers
        assert "unsafe" not in headers["content-security-policy"]
        assert "require-trusted-types-for 'script'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
    for text in (client.get(page).text for page in PAGES):
        assert not re.search(r'\sstyle="|\son\w+="|<style|<script(?! type="module" src=)', text)


def test_scripts_and_styles_are_small_and_kept_for_ever(client: Client) -> None:
    addresses = set(re.findall(r'"(/static/[^"]+)"', client.get("/").text))
    assert {address.rsplit("/", 1)[1] for address in addresses} == set(contents())
    for address in addresses:
        answer = client.get(address)
        assert "immutable" in answer.headers["cache-control"]
        assert answer.headers["content-encoding"] == "gzip"
    packed = sum(len(packed) for _, packed in contents().values())
    assert packed < 30_000
    assert client.get("/static/old/style.css").status_code == 404


def test_a_mounted_dashboard_stays_below_its_prefix(app: Procession) -> None:
    (jid,) = enqueue(app, "a")
    outer = Starlette(routes=[Mount("/ops/jobs", Dashboard(app))])
    client = Client(outer, app)
    for page in ["/", "/jobs?state=queued", f"/jobs/{jid}", "/queues", "/errors", "/schedules", "/workers"]:
        shown = client.get(f"/ops/jobs{page}").text
        addresses = re.findall(r'(?:href|src|action|data-live)="([^#"]+)"', shown)
        assert len(addresses) > 10
        assert all(address.startswith("/ops/jobs/") for address in addresses)
    form = {"do": "cancel", "jid": jid, "back": "/ops/jobs/jobs"}
    done = client.post("/ops/jobs/jobs/act", data=form, headers=OURS)
    assert done.headers["location"] == "/ops/jobs/jobs?done=cancel&n=1&of=1"
    style = re.search(r'"(/ops/jobs/static/[^"]+\.css)"', client.get("/ops/jobs/").text)
    assert style is not None
    assert client.get(style[1]).status_code == 200


def test_machines_read_health_and_bounded_metrics(app: Procession, client: Client) -> None:
    enqueue(app, "a", "b")
    assert client.get("/healthz").text == "ok\n"
    metrics = client.get("/metrics").text
    assert 'procession_queue_jobs{queue="mail"} 2\n' in metrics
    assert 'procession_jobs_total{event="enqueued"} 2\n' in metrics
    assert metrics.count("# TYPE") == metrics.count("# HELP") == 7


@pytest.mark.parametrize(
    ("header", "packs"),
    [
        ("gzip, deflate, br", True), ("GZIP;q=0.5", True), ("br, gzip ; q=1", True), ("", False), ("br", False),
        ("gzip;q=0", False), ("identity, gzip; q=0.00, br", False), ("gzip;q=0.01", True),
    ],
)  # fmt: skip
def test_what_cannot_be_unpacked_by_who_asks_is_not_packed(client: Client, header: str, packs: bool) -> None:
    style = re.search(r'"(/static/[^"]+\.css)"', client.get("/").text)
    assert style is not None
    for path in ("/", style[1]):
        answer = client.get(path, headers={"Sec-Fetch-Site": "none", "Accept-Encoding": header})
        assert ("content-encoding" in answer.headers) is packs


def test_an_address_that_takes_another_method_says_which(client: Client) -> None:
    for answer, takes in (
        (client.get("/theme"), {"POST"}),
        (client.post("/healthz", headers=OURS), {"GET", "HEAD"}),
        (client.post("/api/stats", headers=OURS), {"GET", "HEAD"}),
    ):
        assert (answer.status_code, {*answer.headers["allow"].split(", ")}) == (405, takes)
        assert "no such page" not in answer.text


def test_metrics_are_exact_however_far_they_have_counted(app: Procession, client: Client) -> None:
    info = b'{"queues":["mail"],"concurrency":12345678}'
    app.ask(app.database.heartbeat("w", lease=60_000, info=info))
    assert "procession_worker_places 12345678\n" in client.get("/metrics").text


def test_a_password_file_names_users_and_roles(app: Procession) -> None:
    client = Client(Dashboard(app, auth=Passwords(["# who", "ann:s3:cret", "eve:look:viewer"])), app)
    refused = client.get("/")
    assert (refused.status_code, refused.headers["www-authenticate"][:5]) == (401, "Basic")
    assert "by HTTP Basic" in client.get("/api/stats").json()["error"]
    assert client.get("/", auth=("ann", "wrong")).status_code == 401
    assert client.get("/", auth=("nobody", "")).status_code == 401
    assert client.get("/", headers={"Authorization": b"Basic \xe9"}).status_code == 401
    assert "ann · operator" in client.get("/", auth=("ann", "s3:cret")).text
    assert "eve · viewer" in client.get("/", auth=("eve", "look")).text
    assert client.get("/healthz").status_code == 200
