"""The dashboard as a person sees it: a real browser, a real server, a real store, real queue workers."""

from __future__ import annotations

import re

import msgspec
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, WebSocketRoute, expect

from procession import Procession
from procession.orders import new_order
from procession.trail import deed
from procession.web import Access, Dashboard, Role
from tests.web.browser.conftest import Watched
from tests.web.conftest import HOSTILE, enqueue, perform, served

pytestmark = pytest.mark.timeout(120)


NEWER = [
    "/?span=24h", "/jobs?q=error:ValueError", "/errors", "/errors?muted=1", "/schedules", "/trail", "/workers/w:1",
]  # fmt: skip


def live(page: Page) -> None:
    expect(page.locator("#status-text")).to_have_text("Live")


def every_page(app: Procession) -> list[str]:
    """All pages, with jobs of every fate and hostile words on them."""
    bad, good, *_ = enqueue(app, f"fail{HOSTILE}", HOSTILE, "discard", "fail" + "long " * 50_000)
    perform(app)
    enqueue(app, "a", HOSTILE)
    enqueue(app, "b", delay="1h")
    enqueue(app, "c", queue="other")
    app.pause("other", HOSTILE[:20])
    states = ["queued", "delayed", "blocked", "running", "processed", "failed", "cancelled"]
    lists = [f"/jobs?state={state}" for state in states]
    told = {"host": HOSTILE, "queues": [HOSTILE], "concurrency": 4, "quiet_at": 1, "quiet_by": HOSTILE}
    app.ask(app.database.heartbeat("w:1", lease=600_000, info=msgspec.json.encode(told)))
    app.ask(app.database.obeyed("w:1", "x", HOSTILE))
    app.ask(app.database.order(["w:1"], new_order("quiet", by=HOSTILE)))
    app.write_trail(deed(HOSTILE, "retry", HOSTILE))
    return ["/", *lists, f"/jobs/{bad}", f"/jobs/{good}", "/queues", "/workers", "/jobs?done=retry&n=1&of=2", *NEWER]


def test_every_page_comes_alive_without_an_error_or_a_report(app: Procession, address: str, page: Page) -> None:
    for path in every_page(app):
        page.goto(address + path)
        live(page)
    # the watched fixture fails on any error, any refusal by the policy, any warning


def test_jobs_are_seen_moving_without_a_reload(app: Procession, address: str, page: Page) -> None:
    page.goto(address)
    live(page)
    expect(page.locator("#flow-queued .count")).to_have_text("0")
    dots = page.locator("#flow-processed .dot")
    enqueue(app, "a", "b", "c", "fail now")
    expect(page.locator("#flow-queued .count")).to_have_text("4")
    perform(app)
    expect(dots.first).to_be_attached()
    expect(page.locator("#flow-processed .count")).to_have_text("3")
    expect(page.locator("#flow-failed .count")).to_have_text("1")
    expect(page.locator("#flow-queued .count")).to_have_text("0")
    expect(page.locator("[data-region=failures] .failure")).to_have_count(1)
    expect(page.locator("[data-region=errors] .failure")).to_have_count(1)
    expect(dots).to_have_count(0)


def test_nothing_travels_for_those_who_want_no_motion(app: Procession, address: str, page: Page) -> None:
    page.emulate_media(reduced_motion="reduce")
    page.goto(address)
    live(page)
    enqueue(app, "a")
    perform(app)
    expect(page.locator("#flow-processed .count")).to_have_text("1")
    expect(page.locator(".dot")).to_have_count(0)


def test_a_row_that_is_selected_and_focused_stays_the_same_while_the_list_moves(
    app: Procession, address: str, page: Page
) -> None:
    jids = enqueue(app, "fail 1", "fail 2", "fail 3")
    perform(app)
    page.goto(f"{address}/jobs?state=failed")
    live(page)
    box = page.locator(f"input[value='{jids[1]}']")
    box.focus()
    box.check()
    node = box.element_handle()
    for number in range(3):
        enqueue(app, f"fail again {number}")
        perform(app)
        expect(page.locator("#show-held")).to_have_text(f"{number + 1} newer – show")
    expect(page.locator("tbody tr")).to_have_count(3)
    page.locator("#show-held").click()
    expect(page.locator("tbody tr")).to_have_count(6)
    expect(box).to_be_checked()
    assert node is not None
    assert node.evaluate("node => node.isConnected")
    older = page.get_by_role("link", name="older ›")
    expect(older).to_have_count(0)
    enqueue(app, *(f"fail {number}" for number in range(120)))
    perform(app)
    expect(page.locator("#show-held")).to_have_text("50 or more newer – show")
    expect(older).to_have_count(0)  # behind the last row that is shown there is none
    box.uncheck()
    page.locator("#show-held").click()
    expect(page.locator("tbody tr")).to_have_count(50)
    last = page.locator("tbody tr").last.get_attribute("id")
    expect(older).to_have_id(f"further-{last}".replace("jobs-", ""))


def test_rows_do_not_move_under_the_pointer(app: Procession, address: str, page: Page) -> None:
    enqueue(app, "fail early")
    perform(app)
    page.goto(f"{address}/errors")
    live(page)
    row = page.locator("tbody tr").first
    row.get_by_role("button", name="Mute").hover()
    place = row.bounding_box()
    enqueue(app, "fail late")
    perform(app)
    expect(page.locator("#show-held")).to_have_text("1 newer – show")
    assert row.bounding_box() == place
    expect(row).to_contain_text("early")
    page.mouse.move(0, 0)
    expect(row).to_contain_text("late")
    expect(page.locator("#held")).to_be_hidden()


def test_a_focused_row_that_moves_keeps_its_focus(app: Procession, address: str, page: Page) -> None:
    for queue in ("b", "c", "d"):
        enqueue(app, "x", queue=queue)
    page.goto(f"{address}/queues")
    live(page)
    field = page.locator("#queues-c input[name=reason]")
    field.fill("half a word")
    enqueue(app, "x", queue="a")
    enqueue(app, "x", queue="c")
    expect(page.locator("tbody tr").first).to_have_id("queues-a")
    expect(page.locator("#queues-c td").first).to_have_text("2")
    expect(field).to_be_focused()
    expect(field).to_have_value("half a word")


def test_a_button_that_an_update_renames_does_what_it_says(app: Procession, address: str, page: Page) -> None:
    (jid,) = enqueue(app, "fail")
    page.goto(f"{address}/jobs/{jid}")
    live(page)
    expect(page.get_by_role("button", name="Cancel")).to_be_visible()
    perform(app)
    page.get_by_role("button", name="Retry").click()
    expect(page.locator(".done")).to_have_text("1 job queued again.")


def test_a_page_comes_back_after_its_server_was_restarted(app: Procession, watched: Watched) -> None:
    page = watched.page
    with served(Dashboard(app)) as address:
        page.goto(address)
        live(page)
        watched.away = True
    expect(page.locator("#status-text")).to_have_text("Reconnecting")
    enqueue(app, "meanwhile")
    with served(Dashboard(app), int(address.rsplit(":", 1)[1])):
        live(page)
        expect(page.locator("#flow-queued .count")).to_have_text("1")


def test_a_page_that_hears_nothing_says_so_and_connects_anew(address: str, page: Page) -> None:
    sockets: list[WebSocketRoute] = []

    def silent(socket: WebSocketRoute) -> None:
        sockets.append(socket)
        there = socket.connect_to_server()
        there.on_message(lambda it: socket.send(it) if len(sockets) != 2 else None)

    page.route_web_socket("**/live*", silent)
    page.clock.install()
    page.goto(address)
    live(page)
    page.clock.fast_forward(39_000)
    live(page)
    page.clock.fast_forward(2_000)
    expect(page.locator("#status-text")).to_have_text("Reconnecting")
    page.clock.fast_forward(42_000)
    live(page)
    assert len(sockets) == 3


def test_a_page_whose_reader_is_let_in_no_more_says_so(
    app: Procession, watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("procession.web.live.BEAT", 0.5)
    access: list[Access | None] = [Access("ann", Role.OPERATOR)]
    with served(Dashboard(app, auth=lambda _: access[-1])) as address:
        watched.page.goto(address)
        live(watched.page)
        access.append(None)
        expect(watched.page.locator("#status-text")).to_have_text("Refused")
        expect(watched.page.get_by_role("alert")).to_contain_text("Load the page again to sign in")
        access.append(access[0])
        live(watched.page)
        expect(watched.page.get_by_role("alert")).to_be_hidden()
    watched.wrong = [it for it in watched.wrong if "403" not in it]  # the browser notes the refusal, rightly


def test_where_no_socket_gets_through_the_page_asks_instead(app: Procession, address: str, watched: Watched) -> None:
    page = watched.page
    watched.away = True
    page.route_web_socket("**/live*", lambda socket: socket.close(code=1011))
    page.goto(address)
    live(page)
    enqueue(app, "a")
    expect(page.locator("#flow-queued .count")).to_have_text("1")


def test_paused_means_that_nothing_changes(app: Procession, address: str, page: Page) -> None:
    page.goto(address)
    live(page)
    page.keyboard.press("p")
    expect(page.locator("#status-text")).to_have_text("Paused")
    enqueue(app, "a")
    perform(app)
    page.keyboard.press("p")
    live(page)
    expect(page.locator("#flow-processed .count")).to_have_text("1")


def test_without_a_script_all_is_there_and_actions_work(app: Procession, address: str, chromium: Browser) -> None:
    (jid,) = enqueue(app, "fail hard")
    perform(app)
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(address)
    expect(page.locator("#flow-failed .count")).to_have_text("1")
    page.get_by_role("link", name="Jobs").click()
    page.get_by_role("link", name="shop.deliver").click()
    expect(page.locator("pre.trace")).to_contain_text("ValueError")
    page.get_by_role("button", name="Retry").click()
    expect(page.locator(".done")).to_have_text("1 job queued again.")
    page.get_by_role("link", name="Queues").click()
    page.get_by_label("Why mail is paused").fill("lunch")
    page.get_by_role("button", name="Pause mail").click()
    expect(page.locator("tbody")).to_contain_text("lunch")
    job = app.find_job(jid)
    assert job is not None
    assert job.state == "queued"
    context.close()


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 1280), ("light", 390), ("dark", 390)])
def test_axe_finds_nothing(app: Procession, address: str, page: Page, scheme: str, width: int) -> None:
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")  # type: ignore[arg-type]
    page.set_viewport_size({"width": width, "height": 900})
    paths = every_page(app)
    for path in [paths[0], paths[1], paths[6], *paths[8:]]:
        page.goto(address + path)
        live(page)
        found = Axe().run(page).response["violations"]
        assert [(it["id"], [node["html"][:200] for node in it["nodes"]]) for it in found] == [], path
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path


def test_a_stack_that_was_asked_for_comes_to_the_page_by_itself(app: Procession, address: str, page: Page) -> None:
    app.ask(app.database.heartbeat("w:1", lease=600_000, info=b"{}"))
    page.goto(f"{address}/workers")
    live(page)
    page.get_by_role("link", name="w:1").click()
    page.get_by_role("button", name="Stack of all").click()
    live(page)
    expect(page.locator(".done")).to_contain_text("asked for its stack")
    expect(page.locator("[data-region=head]")).to_contain_text("told to stack not heard yet")
    (order,) = app.ask(app.database.orders(["w:1"]))[0]
    app.ask(app.database.obeyed("w:1", order.id, "in the guilty function"))
    expect(page.locator("pre.trace")).to_have_text("in the guilty function")
    expect(page.locator("[data-region=head]")).not_to_contain_text("not heard yet")


def test_keys_lead_from_page_to_page_and_row_to_row(app: Procession, address: str, page: Page) -> None:
    enqueue(app, "fail 1", "fail 2")
    perform(app)
    page.goto(address)
    live(page)
    page.keyboard.press("g")
    page.keyboard.press("j")
    page.wait_for_url("**/jobs")
    live(page)
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("x")
    expect(page.locator("tbody tr").nth(1).locator("input")).to_be_checked()
    page.keyboard.press("/")
    expect(page.locator("#find")).to_be_focused()
    page.keyboard.type("shop.deliver?")
    expect(page.locator("#keys")).to_be_hidden()


def test_long_times_are_read_on_a_narrow_screen(app: Procession, address: str, page: Page) -> None:
    enqueue(app, "a")
    perform(app)
    page.set_viewport_size({"width": 390, "height": 900})
    page.goto(f"{address}/names")
    live(page)
    ran = page.locator("td[data-label=ran]")
    is_cut = """it => {
        it.lastChild.data = "59 min 59 s · 23 h 59 min · 1,365 d 23 h";
        const words = document.createRange();
        words.selectNodeContents(it);
        return words.getBoundingClientRect().right > it.closest(".panel").getBoundingClientRect().right;
    }"""
    assert ran.evaluate(is_cut) is False


def test_a_chart_is_read_out_by_arrow_keys(app: Procession, address: str, page: Page) -> None:
    page.goto(address)
    live(page)
    enqueue(app, "a", "b")
    perform(app)
    expect(page.locator("#flow-processed .count")).to_have_text("2")
    page.locator(".plot").focus()
    page.keyboard.press("ArrowLeft")
    expect(page.locator(".readout")).to_have_text(re.compile(r"^\d\d-\d\d \d\d:\d\d UTC .*processed"))


def test_a_viewer_sees_it_live_and_is_offered_nothing(app: Procession, page: Page) -> None:
    enqueue(app, "fail")
    perform(app)
    with served(Dashboard(app, auth=lambda _: Access("eve", Role.VIEWER))) as address:
        page.goto(f"{address}/jobs")
        live(page)
        expect(page.locator(".who")).to_have_text("eve · viewer")
        expect(page.get_by_role("button", name="Retry")).to_have_count(0)
