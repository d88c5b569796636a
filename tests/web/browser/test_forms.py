"""What people do with more than a button: bulk on a filter, edit and retry, planning; in a real browser."""

from __future__ import annotations

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, Route, expect

from procession import Procession
from procession.schedule import Schedule
from procession.web import bulk
from tests.web.browser.conftest import Watched
from tests.web.browser.test_browser import live
from tests.web.conftest import HOSTILE, enqueue, perform

pytestmark = pytest.mark.timeout(120)


def test_a_bulk_goes_on_by_itself_until_it_is_stopped_and_from_there(
    app: Procession, address: str, page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "SECONDS", 0)
    enqueue(app, *(["a"] * 1_700))
    page.goto(f"{address}/jobs?state=queued")
    live(page)
    page.get_by_role("button", name="Cancel all …").click()
    expect(page.locator(".number")).to_contain_text("1,700 jobs would be cancelled")
    held: list[Route] = []
    page.route("**/bulk", lambda route: route.continue_() if held else held.append(route))
    with page.expect_request("**/bulk"):
        page.get_by_role("button", name="Cancel 1,700 jobs").click()
    stop = page.get_by_role("button", name="Stop", exact=True)
    expect(stop).to_be_visible()
    stop.click()
    held[0].continue_()
    expect(page.locator("[data-says]")).to_have_text("500 jobs cancelled so far; 500 were looked at.")
    expect(page.locator("progress")).to_have_attribute("value", "500")
    assert app.stats().queued == 1_200
    page.get_by_role("button", name="Go on").click()
    expect(page.locator("[data-says]")).to_have_text("Done: 1,700 jobs cancelled.")
    expect(page.get_by_role("button", name="Go on")).to_be_hidden()
    page.get_by_role("link", name="back to the jobs").click()
    expect(page.locator(".empty")).to_be_visible()


def test_a_bulk_that_meets_an_error_says_so_and_can_go_on(app: Procession, address: str, watched: Watched) -> None:
    page = watched.page
    enqueue(app, "a")
    page.goto(f"{address}/bulk?do=cancel&state=queued")
    page.route("**/bulk", lambda route: route.fulfill(status=503, body="the store is away"))
    page.get_by_role("button", name="Cancel 1 job").click()
    expect(page.locator("[data-says]")).to_contain_text("It stopped: the dashboard answered 503.")
    page.unroute("**/bulk")
    page.get_by_role("button", name="Go on").click()
    expect(page.locator("[data-says]")).to_have_text("Done: 1 job cancelled.")
    watched.wrong = [it for it in watched.wrong if "503" not in it]  # the browser notes it, rightly


def test_without_a_script_a_bulk_is_gone_through_form_by_form(
    app: Procession, address: str, chromium: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "SECONDS", 0)
    enqueue(app, *(["a"] * 600))
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{address}/jobs?state=queued")
    page.get_by_role("button", name="Cancel all …").click()
    page.get_by_role("button", name="Cancel 600 jobs").click()
    for _ in range(5):
        if (going := page.get_by_role("button", name="Go on")).count():
            going.click()
    expect(page.locator("[data-says]")).to_have_text("Done: 600 jobs cancelled.")
    context.close()


def test_a_job_is_edited_and_retried(app: Procession, address: str, watched: Watched) -> None:
    page = watched.page
    (jid,) = enqueue(app, "fail")
    perform(app)
    page.goto(f"{address}/jobs/{jid}")
    live(page)
    page.get_by_role("link", name="Edit and retry").click()
    field = page.get_by_label("Arguments, as JSON")
    field.fill('{"what": 7}')
    page.get_by_role("button", name="Retry with these").click()
    expect(page.get_by_role("alert").first).to_contain_text("these arguments do not fit")
    expect(field).to_have_value('{"what": 7}')
    field.fill('{"what": "fine"}')
    page.get_by_role("button", name="Retry with these").click()
    expect(page.locator(".done")).to_have_text("1 job queued again with these arguments.")
    live(page)
    perform(app)
    expect(page.locator(".jobhead .state")).to_have_text("processed")
    watched.wrong = [it for it in watched.wrong if "400" not in it]  # the browser notes the refusal, rightly


def test_a_search_that_found_nothing_goes_on_by_itself(app: Procession, address: str, page: Page) -> None:
    enqueue(app, *(["straw"] * 2_600), "needle")
    page.goto(f"{address}/jobs?q=needle")
    expect(page.locator("[data-row]")).to_contain_text("needle")
    assert "cursor=" in page.url
    live(page)
    page.goto(f"{address}/jobs?q=nowhere")
    expect(page.locator(".empty")).to_contain_text("2,601 were looked at, all that there are.")
    expect(page.get_by_role("button", name="Stop looking")).to_be_hidden()
    expect(page.locator("a[rel=next]")).to_be_hidden()


def test_a_search_rests_while_the_page_is_paused_and_ends_when_it_is_stopped(
    app: Procession, address: str, page: Page
) -> None:
    enqueue(app, *(["straw"] * 3_700))
    held: list[Route] = []
    page.route("**/jobs.json?*", lambda route: held.append(route))
    with page.expect_request("**/jobs.json?*"):
        page.goto(f"{address}/jobs?q=nowhere")
    live(page)
    page.get_by_role("button", name="Pause").click()
    held.pop().continue_()
    expect(page.locator("[data-looked]")).to_have_text("2,100")
    page.wait_for_timeout(1_000)
    assert held == []
    with page.expect_request("**/jobs.json?*"):
        page.get_by_role("button", name="Go on").click()
    page.get_by_role("button", name="Stop looking").click()
    held.pop().continue_()
    expect(page.get_by_role("button", name="Stop looking")).to_be_hidden()
    page.get_by_role("link", name="go on looking").click()
    expect(page.locator(".empty")).to_contain_text("550 were looked at.")


def test_a_schedule_is_made_edited_and_filled_in(app: Procession, address: str, page: Page) -> None:
    page.goto(f"{address}/schedules")
    live(page)
    page.get_by_role("link", name="New schedule").click()
    page.get_by_label("Name").fill("nightly")
    page.get_by_label("Job", exact=True).fill("shop.deliver")
    page.get_by_label("Cron").fill("30 2 * * *")
    page.get_by_label("Time zone").fill("Europe/Paris")
    page.get_by_label("Arguments, as JSON").fill('{"what": "a"}')
    page.get_by_role("button", name="Make it").click()
    expect(page.locator(".done")).to_have_text("The schedule is stored.")
    live(page)
    expect(page.locator("[data-region=slots]")).to_contain_text("clocks go")
    page.get_by_label("Cron").fill("45 2 * * *")
    page.get_by_role("button", name="Save").click()
    expect(page.locator("[data-region=slots]")).to_contain_text("02:45:00")
    page.get_by_label("after (Europe/Paris)").fill("2026-01-01T00:00")
    page.get_by_label("until, included").fill("2026-01-04T00:00")
    page.get_by_role("button", name="How many?").click()
    page.get_by_role("button", name="Enqueue 3").click()
    expect(page.locator(".done")).to_have_text("3 jobs enqueued.")
    expect(page.locator("[data-region=runs] li")).to_have_count(3)


def test_job_names_are_seen_counted_without_a_reload(app: Procession, address: str, page: Page) -> None:
    page.goto(f"{address}/names")
    live(page)
    expect(page.locator(".empty")).to_be_visible()
    enqueue(app, "a", "fail")
    perform(app)
    row = page.locator("[data-region=names] tr")
    expect(row).to_contain_text("shop.deliver")
    expect(row).to_contain_text("50.0 %")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_url("**/jobs?q=job*")
    live(page)
    expect(page.locator("tbody[data-region=jobs] tr")).to_have_count(2)


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
def test_axe_finds_nothing_on_pages_with_forms(
    app: Procession, address: str, page: Page, scheme: str, width: int
) -> None:
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")  # type: ignore[arg-type]
    page.set_viewport_size({"width": width, "height": 900})
    (jid,) = enqueue(app, f"fail{HOSTILE}")
    perform(app)
    enqueue(app, "a", HOSTILE)
    nightly = Schedule(name="nightly", job="shop.deliver", cron="30 2 * * *", tz="Europe/Paris")
    app.schedules.save(nightly)
    app.schedules.run_now("nightly")
    filling = "/schedule?schedule=nightly&after=2026-01-01T00:00&until=2026-02-01T00:00"
    paths = ["/bulk?do=retry&state=failed", "/bulk?do=remove&q=queue:mail", f"/edit?jid={jid}", "/schedule", "/names"]
    for path in [*paths, filling, "/queue?queue=mail"]:
        page.goto(address + path)
        if path.startswith(("/names", "/queue", "/schedule")):
            live(page)
        found = Axe().run(page).response["violations"]
        assert [(it["id"], [node["html"][:200] for node in it["nodes"]]) for it in found] == [], path
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path
