"""The Jobs page and its filter, in memory."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from procession import Procession
from tests.web.conftest import HOSTILE, Client, enqueue, made, perform


@pytest.fixture
def app(namespace: str) -> Iterator[Procession]:
    app = made(f"memory://{namespace}", namespace)
    yield app
    app.flush(confirm=namespace)
    app.close()


def listed(shown: str) -> list[str]:
    return re.findall(r'name="jid" value="([^"]+)"', shown)


class TestHTML:
    def test_a_filter_finds_jobs_of_every_state_or_of_one(self, app: Procession, client: Client) -> None:
        one, two = enqueue(app, "vera", "fail vera")  # a word that no jid contains
        perform(app)
        three, _ = enqueue(app, "vera", "bob")
        found = client.get("/jobs", params={"q": "args.what:*vera queue:mail"}).text
        assert set(listed(found)) == {one, two, three}
        assert 'value="args.what:*vera queue:mail"' in found
        assert listed(client.get("/jobs", params={"q": "vera", "state": "queued"}).text) == [three]
        assert listed(client.get("/jobs", params={"q": "error:ValueError"}).text) == [two]
        assert client.get("/live", params={"view": "jobs", "q": "bob"}).json()["regions"]["jobs"]["order"]

    def test_what_was_found_is_paged_by_cursor(self, app: Procession, client: Client) -> None:
        jids = enqueue(app, *(f"n{number}" for number in range(120)))
        seen, address = [], "/jobs?q=queue%3Amail"
        while address:
            shown = client.get(address).text
            seen += listed(shown)
            further = re.search(r'rel="next" href="([^"]+)"', shown)
            address = further[1].replace("&amp;", "&") if further else ""
        assert seen == jids

    def test_the_link_to_older_jobs_moves_on_with_the_rows(self, app: Procession, client: Client) -> None:
        enqueue(app, *(f"n{number}" for number in range(60)))
        perform(app)
        shown = client.get("/jobs?state=processed").text
        enqueue(app, *(f"m{number}" for number in range(60)))
        perform(app)
        now = client.get("/live?view=jobs&state=processed").json()["regions"]
        ((key, link),) = now["further"]["set"].items()
        assert f'id="{key}"' not in shown
        assert "older ›" in link
        address = re.findall(r'href="([^"]+)"', link)[0].replace("&amp;", "&")
        following = [f"jobs-{jid}" for jid in listed(client.get(address).text)]
        assert len({*now["jobs"]["order"], *following}) == 100

    @pytest.mark.parametrize(
        ("text", "token", "says"),
        [
            ("state:queued stat:failed", "stat:failed", "There is no stat: here"),
            ("(queue:mail", "(", "A parenthesis is still open"),
            ("ran:>soon x", "ran:&gt;soon", "is not a duration"),
            ("queue:mail OR", "␣", "A condition is missing here"),
        ],
    )
    def test_a_filter_that_cannot_be_read_marks_the_token_and_says_what_is_right(
        self, client: Client, text: str, token: str, says: str
    ) -> None:
        answer = client.get("/jobs", params={"q": text})
        assert answer.status_code == 400
        assert f"<mark>{token}</mark>" in answer.text
        assert says in answer.text
        assert 'aria-invalid="true"' in answer.text
        twin = client.get("/jobs.json", params={"q": text})
        assert (twin.status_code, says in twin.json()["trouble"]["says"]) == (400, True)

    def test_a_filter_of_strangers_is_text(self, client: Client) -> None:
        shown = client.get("/jobs", params={"q": HOSTILE.replace("\x00", "")}).text
        assert "<script>alert" not in shown
        assert "<img" not in shown
        assert "\u202e" not in shown

    def test_a_filter_that_is_too_long_is_refused_in_words(self, client: Client) -> None:
        answer = client.get("/jobs", params={"q": "x" * 3_000})
        assert (answer.status_code, "A filter has at most 2,000 characters" in answer.text) == (400, True)

    def test_queue_and_name_in_an_address_become_a_filter(self, client: Client) -> None:
        assert 'value="queue:mail job:shop.deliver"' in client.get("/jobs?queue=mail&name=shop.deliver").text
