"""The page of one schedule and its forms, in memory: what is due, made, edited, filled in and removed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from html import unescape

import pytest
from msgspec import Raw
from msgspec.structs import replace

from procession import Limit, Procession
from procession.schedule import Schedule, ScheduleInfo
from procession.web import Access, Dashboard, Role
from procession.web.oneschedule import instant_of, previewed, slots_of
from tests.web.conftest import OURS, Client, made

NAME = "nightly <b>report</b>"


@pytest.fixture
def app(namespace: str) -> Iterator[Procession]:
    app = made(f"memory://{namespace}", namespace)
    yield app
    app.flush(confirm=namespace)
    app.close()


@pytest.fixture
def planned(app: Procession) -> Procession:
    registered = app.registry.get("shop.deliver")
    assert registered is not None
    app.schedules.upsert(NAME, app.caller(registered.source).bind("x"), cron="30 3 * * *", tz="Europe/Paris")
    return app


def form_of(shown: str) -> dict[str, str]:
    """The fields of the form as they stand."""
    form = shown.split('action="/schedule/save"')[1].split("</form>")[0]
    fields = {name: unescape(value) for name, value in re.findall(r'<input [^>]*name="(\w+)" value="([^"]*)"', form)}
    for name, inner in re.findall(r'<select [^>]*name="(\w+)">(.*?)</select>', form):
        chosen = re.search(r"<option selected>(\w+)", inner)
        assert chosen is not None
        fields[name] = chosen[1]
    area = re.search(r"<textarea [^>]*>\n(.*?)</textarea>", form, re.DOTALL)
    assert area is not None
    return {**fields, "args": unescape(area[1])}


def found(app: Procession, name: str = NAME) -> Schedule:
    info = app.schedules.find(name)
    assert info is not None
    return info.schedule


class TestHTML:
    def test_it_says_what_is_due_by_its_own_clocks_and_what_ran(self, planned: Procession, client: Client) -> None:
        planned.schedules.run_now(NAME)
        shown = client.get(f"/schedule?schedule={NAME}").text
        assert "nightly &lt;b&gt;report&lt;/b&gt;" in shown
        assert "Europe/Paris" in shown
        assert "by hand" in shown
        twin = client.get(f"/schedule.json?schedule={NAME}").json()
        assert len(twin["slots"]) >= 8
        assert {it["there"][15:21] for it in twin["slots"]} == {"03:30:"}
        assert [it["note"] for it in twin["slots"] if it["note"].startswith("clocks go")]
        assert client.get("/schedule?schedule=none").status_code == 404
        assert f'href="/schedule?schedule={NAME.replace(" ", "+")[:8]}' in client.get("/schedules").text

    def test_an_edit_is_stored_and_what_the_form_does_not_have_stays(self, planned: Procession, client: Client) -> None:
        planned.schedules.save(replace(found(planned), tags=("a",)))
        form = form_of(client.get(f"/schedule?schedule={NAME}").text)
        assert (form["cron"], form["tz"], form["args"]) == ("30 3 * * *", "Europe/Paris", '{\n  "what": "x"\n}')
        changed = {**form, "cron": "", "every": "90m", "overlap": "skip", "args": '{"what": "y"}'}
        done = client.post("/schedule/save", data=changed, headers=OURS)
        assert done.status_code == 303, done.text
        assert "The schedule is stored." in client.get(done.headers["location"]).text
        now = found(planned)
        assert (now.cron, now.every, now.overlap, bytes(now.args), now.tags) == (
            "", 5_400_000, "skip", b'{"what":"y"}', ("a",),
        )  # fmt: skip
        assert form_of(client.get(f"/schedule?schedule={NAME}").text)["every"] == "90m"
        late = client.post("/schedule/save", data=form, headers=OURS)
        assert (late.status_code, "changed or removed meanwhile" in late.text) == (400, True)

    def test_an_edit_of_the_arguments_goes_over_to_their_limit(self, app: Procession, client: Client) -> None:
        @app.job(name="shop.one_each", limit=Limit(1, by="shop"))
        def one_each(shop: str) -> None: ...

        app.schedules.upsert("each", one_each.bind("a"), every=60)
        form = form_of(client.get("/schedule?schedule=each").text)
        edited = {**form, "args": '{"shop": "b"}'}
        assert client.post("/schedule/save", data=edited, headers=OURS).status_code == 303
        assert found(app, "each").limit == "shop.one_each/b"

    @pytest.mark.parametrize(
        ("wrong", "says"),
        [
            ({"cron": "61 * * * *"}, "61"),
            ({"every": "5m"}, "one of them"),
            ({"tz": "Mars/Olympus"}, "no time zone"),
            ({"args": '{"who": 1}'}, "do not fit"),
            ({"args": "["}, "no JSON object"),
            ({"queue": "a b"}, "queue name"),
            ({"missed": "all", "overlap": "skip"}, "forbids"),
        ],
    )
    def test_what_cannot_be_kept_is_said_beside_what_was_typed(
        self, planned: Procession, client: Client, wrong: dict[str, str], says: str
    ) -> None:
        before = found(planned)
        form = {**form_of(client.get(f"/schedule?schedule={NAME}").text), **wrong}
        answer = client.post("/schedule/save", data=form, headers=OURS)
        assert (answer.status_code, says in unescape(answer.text)) == (400, True)
        assert form_of(answer.text) == form
        assert found(planned) == before

    def test_one_is_made_for_a_job_that_this_app_knows_or_not(self, app: Procession, client: Client) -> None:
        assert 'href="/schedule">New schedule' in client.get("/schedules").text
        form = form_of(client.get("/schedule").text)
        for name, job, queue in (("known", "shop.deliver", "mail"), ("stranger", "other.job", "default")):
            asked = {**form, "schedule": name, "job": job, "every": "1h", "args": '{"what": "z"}'}
            assert client.post("/schedule/save", data=asked, headers=OURS).status_code == 303
            assert (found(app, name).queue, found(app, name).every) == (queue, 3_600_000)
            answer = client.post("/schedule/save", data=asked, headers=OURS)
            assert (answer.status_code, "already" in answer.text) == (400, True)
        answer = client.post("/schedule/save", data={**form, "schedule": "x"}, headers=OURS)
        assert (answer.status_code, "which job" in answer.text) == (400, True)

    def test_a_backfill_is_counted_before_it_is_enqueued(self, planned: Procession, client: Client) -> None:
        span = {"schedule": NAME, "after": "2026-01-01T00:00", "until": "2026-01-09T00:00"}
        shown = client.get("/schedule", params=span).text
        assert "<b>8</b> runs would be enqueued" in shown
        assert "Thu 2026-01-01 03:30:00 +0100" in shown
        assert "Sun 2026-01-04" not in shown, "only the first and the last are named"
        assert planned.stats().queued == 0
        done = client.post("/schedule/backfill", data=span, headers=OURS)
        assert "8 jobs enqueued." in client.get(done.headers["location"]).text
        assert planned.stats().queued == 8
        assert "More than 100" in client.get("/schedule", params={**span, "after": "2025-01-01T00:00"}).text
        for wrong in ("soon", "0001-01-01T00:00"):
            assert "is no moment" in client.get("/schedule", params={**span, "after": wrong}).text
        assert client.post("/schedule/backfill", data={**span, "until": ""}, headers=OURS).status_code == 400

    def test_roles_bound_who_plans(self, planned: Procession) -> None:
        eve = Client(Dashboard(planned, auth=lambda _: Access("eve", Role.VIEWER)), planned)
        assert 'method="post" action="/schedule' not in eve.get(f"/schedule?schedule={NAME}").text
        for path in ("/schedule/save", "/schedule/backfill"):
            assert eve.post(path, data={"schedule": NAME}, headers=OURS).status_code == 403
        form = {"do": "remove-schedule", "schedule": NAME, "back": "/schedules"}
        ann = Client(Dashboard(planned, auth=lambda _: Access("ann", Role.OPERATOR)), planned)
        assert ann.post("/schedules/act", data=form, headers=OURS).status_code == 403
        admin = Client(Dashboard(planned), planned)
        done = admin.post("/schedules/act", data=form, headers=OURS)
        assert "The schedule is removed" in admin.get(done.headers["location"]).text
        assert planned.schedules.find(NAME) is None


def moment(*parts: int) -> int:
    return round(datetime(*parts, tzinfo=UTC).timestamp() * 1_000)  # type: ignore[arg-type,misc]


def daily(**fields: str) -> tuple[Schedule, ScheduleInfo]:
    schedule = Schedule(name="n", job="j", args=Raw(b"{}"), **{"cron": "30 2 * * *", "tz": "Europe/Paris", **fields})  # type: ignore[arg-type]
    return schedule, ScheduleInfo(name="n", asked=b"")


@pytest.mark.parametrize(
    ("now", "there", "note"),
    [
        ((2026, 1, 10), ["Sat 2026-03-28 02:30:00 +0100", "Sun 2026-03-29 03:00:00 +0200"], "forward to 03:00"),
        ((2026, 3, 27), ["Sat 2026-03-28 02:30:00 +0100", "Sun 2026-03-29 03:00:00 +0200"], "forward to 03:00"),
        ((2026, 6, 1), ["Sat 2026-10-24 02:30:00 +0200", "Sun 2026-10-25 02:30:00 +0200"], "back to 02:00"),
    ],
)
def test_what_is_due_is_shown_across_the_next_change_of_clocks(
    now: tuple[int, ...], there: list[str], note: str
) -> None:
    schedule, info = daily()
    at = moment(*now)
    first = next(schedule.upcoming(at))
    slots = slots_of(schedule, ScheduleInfo(name=info.name, asked=b"", next_at=first), at)
    told = [it.there for it in slots]
    assert [it for it in told if it in there] == there
    assert any(it.note.startswith(f"clocks go {note}") for it in slots)
    assert len({it.key for it in slots}) == len(slots)
    assert [it.at for it in slots] == sorted(it.at for it in slots)


def test_a_rule_without_clocks_has_no_change() -> None:
    schedule = Schedule(name="n", job="j", every=3_600_000)
    slots = slots_of(schedule, ScheduleInfo(name="n", asked=b"", next_at=moment(2026, 1, 1, 1)), moment(2026, 1, 1))
    assert len(slots) == 8
    assert not any(it.note for it in slots)


def test_the_last_moment_of_a_backfill_is_included_and_the_first_is_not() -> None:
    schedule, _ = daily(tz="UTC")
    asked = previewed(schedule, "2026-01-01T02:30", "2026-01-02T02:30")
    assert asked is not None
    assert (asked.count, asked.slots[0].there[:14]) == (1, "Fri 2026-01-02")
    assert previewed(schedule, "", "") is None


def test_a_moment_is_told_by_the_clocks_of_the_schedule_unless_it_names_an_offset() -> None:
    noon = datetime(2026, 7, 1, 12, tzinfo=UTC)
    for text in ("2026-07-01T14:00", "2026-07-01T12:00Z", "2026-07-01T09:00-03:00"):
        assert instant_of(text, "Europe/Paris", "after") == noon
