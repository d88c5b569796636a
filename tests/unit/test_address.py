"""What a URL says, and what of it may be shown."""

from __future__ import annotations

import pytest

from procession.config import Settings
from procession.database.redis.address import Credentials, Place, moved, read
from procession.errors import ConfigError
from procession.names import shown


@pytest.mark.parametrize(
    ("url", "places", "database", "service", "secured"),
    [
        ("redis://h", [("h", 6379)], 0, "", False),
        ("redis://", [("localhost", 6379)], 0, "", False),
        ("valkey://h:1/2", [("h", 1)], 2, "", False),
        ("valkeys://h?db=3", [("h", 6379)], 3, "", True),
        ("rediss://[::1]:7000/", [("::1", 7000)], 0, "", True),
        ("redis://[::1]", [("::1", 6379)], 0, "", False),
        ("redis://a:1,b,c:3/", [("a", 1), ("b", 6379), ("c", 3)], 0, "", False),
        ("redis+sentinel://a,b:1/orders/4", [("a", 26379), ("b", 1)], 4, "orders", False),
        ("valkeys+sentinel://a/work", [("a", 26379)], 0, "work", True),
        ("unix:///run/a%20b.sock?db=1", [("/run/a b.sock", 0)], 1, "", False),
        ("unix://ada:pw@/run/s", [("/run/s", 0)], 0, "", False),
    ],
)
def test_a_url_names_places_a_database_and_a_service(
    url: str, places: list[tuple[str, int]], database: int, service: str, secured: bool
) -> None:
    address = read(url)
    assert [tuple(place) for place in address.places] == places
    assert (address.database, address.service, address.tls is not None) == (database, service, secured)


@pytest.mark.parametrize(
    "url",
    [
        "http://h", "redis://h:x", "redis://h:70000", "redis://h/one", "unix://", "redis+sentinel://h", "redis://h?nope=1",
        "redis+cluster://h", "rediss://h?ssl_cert_reqs=maybe", "redis://:a/b@h", "redis://:1/b@h", "redis://:a?b@h",
        "rediss://h?ssl_min_version=1.2", "redis://h?ssl_ca_certs=ca.pem", "unix:///run/s?ssl_check_hostname=false",
    ],
)  # fmt: skip
def test_a_url_that_cannot_be_meant_is_refused_with_what_to_write(url: str) -> None:
    with pytest.raises(ConfigError, match="cannot use the store URL"):
        read(url)


def test_credentials_come_from_the_url_percent_decoded_and_are_not_shown() -> None:
    address = read("redis+sentinel://ada:p%40%2Fw@h/work?sentinel_username=s&sentinel_password=q")
    assert address.credentials == ("ada", "p@/w")
    assert address.sentinel_credentials == ("s", "q")
    assert "p@/w" not in repr(address)
    assert Credentials("", "only").command() == [("AUTH", "only")]
    assert Credentials("ada", "pw").command() == [("AUTH", "ada", "pw")]
    assert Credentials().command() == []


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("MOVED 12 10.0.0.1:7001", ("10.0.0.1", 7001)),
        ("MOVED 12 :7001", ("here", 7001)),
        ("MOVED 12 ?:7001", ("here", 7001)),
        ("MOVED 12 ::1:7001", ("::1", 7001)),
        ("MOVED 12 node-1.example:7001", ("node-1.example", 7001)),
        ("MOVED", None),
    ],
)
def test_a_redirection_names_a_place(text: str, place: tuple[str, int] | None) -> None:
    found = moved(text, Place("here", 1))
    assert found is None if place is None else tuple(found or ()) == place


@pytest.mark.parametrize(
    ("place", "local"),
    [
        (("localhost", 1), True),
        (("127.0.0.9", 1), True),
        (("::1", 1), True),
        (("/run/s", 0), True),
        (("10.0.0.1", 1), False),
    ],
)
def test_a_loopback_place_is_known_as_one(place: tuple[str, int], local: bool) -> None:
    assert Place(*place).is_loopback is local


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://h/0", "redis://h/0"),
        ("redis://ada@h/0", "redis://ada@h/0"),
        ("redis://ada:pw@h,i/0", "redis://ada:***@h,i/0"),
        ("redis://:p/w@h", "redis://:***@h"),
        ("redis://:p?w@h", "redis://:***@h"),
        ("redis://h?db=1&password=pw", "redis://h?db=1&password=***"),
        ("redis+sentinel://h/s?sentinel_password=a@b&db=1", "redis+sentinel://h/s?sentinel_password=***&db=1"),
        ("embedded", "embedded"),
    ],
)
def test_what_is_shown_of_a_url_holds_no_password(url: str, expected: str) -> None:
    assert shown(url) == expected


def test_username_and_password_of_the_settings_stand_in_where_the_url_names_none() -> None:
    who = {"username": "ada", "password": "p@w"}
    assert Settings.load(url="redis://h/0", **who).url == "redis://ada:p%40w@h/0"
    assert Settings.load(url="redis://h/0?client_name=a@b", **who).url == "redis://ada:p%40w@h/0?client_name=a@b"
    for named in ("redis://eve:x@h/0", "redis://:x@h", "redis://h?password=x", "redis://h?username=eve", "redis://eve@h"):
        assert Settings.load(url=named, **who).url == named
    for ours in ("redis://ada@h", "redis://ada@h,i:1/2", "redis://h?username=ada", "unix:///run/a@b", "unix://ada@/run/s"):
        assert read(Settings.load(url=ours, **who).url).credentials == ("ada", "p@w")
        assert read(Settings.load(url=ours, **who).url).places == read(ours).places
    assert read(Settings.load(url="redis://a%40b@h", password="p@w").url).credentials == ("a@b", "p@w")
    assert Settings.load(url="redis://eve@h", username="ada").url == "redis://eve@h"
    assert Settings.load(host="h", **who).url == "redis://ada:p%40w@h:6379/0"
    assert Settings.load(url="memory://", **who).url == "memory://"
    assert Settings.load(**who).url == "embedded"
    assert "p@w" not in repr(Settings.load(url="redis://h", **who))
