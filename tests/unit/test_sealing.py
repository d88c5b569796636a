"""The codec chain by itself: what goes in comes out, for the same job and role, with one of the keys, and only then."""

from __future__ import annotations

import zlib
from base64 import b64encode

import pytest

from procession import ConfigError, Encrypted, Failure, Sealed, Zlib
from procession.job import new_jid
from procession.sealing import CLOSED, LARGEST_OPENED, Keyed, Sealing, Timed, is_sealed, shown

OLD, NEW = Encrypted.new_key(), Encrypted.new_key()
JID = new_jid()
SECRET = b'{"card":"4111 1111"}'
LONG = b'{"text":"' + b"ada@example.org " * 500 + b'"}'


@pytest.mark.parametrize("raw", [SECRET, LONG, b"null"], ids=["short", "long", "null"])
@pytest.mark.parametrize(
    "chain", [[Zlib()], [Encrypted([NEW])], [Zlib(), Encrypted([NEW])]], ids=["zlib", "aes", "both"]
)
def test_what_is_sealed_opens_as_it_was(chain: list[Zlib | Encrypted], raw: bytes) -> None:
    sealing = Sealing(chain)
    stored = sealing.seal(raw, JID, "args")
    assert sealing.open(stored, JID, "args") == raw
    if isinstance(chain[-1], Encrypted):
        assert is_sealed(stored)
        assert b"4111 1111" not in stored
        assert b"ada@" not in stored  # three letters alone are now and then among ten thousand of base64


def test_small_values_are_not_compressed_and_large_ones_get_smaller() -> None:
    sealing = Sealing([Zlib(threshold=1_000)])
    assert sealing.seal(SECRET, JID, "args") == SECRET
    assert len(sealing.seal(LONG, JID, "args")) < len(LONG) / 20


def test_the_first_key_seals_and_every_key_opens() -> None:
    before, during, after = Sealing([Encrypted([OLD])]), Sealing([Encrypted([NEW, OLD])]), Sealing([Encrypted([NEW])])
    assert during.open(before.seal(SECRET, JID, "args"), JID, "args") == SECRET
    assert after.open(during.seal(SECRET, JID, "args"), JID, "args") == SECRET
    with pytest.raises(Sealed, match="none of the 1 keys here opens it"):
        after.open(before.seal(SECRET, JID, "args"), JID, "args")


def test_the_same_value_is_never_stored_twice_alike() -> None:
    sealing = Sealing([Encrypted([NEW])])
    assert len({sealing.seal(SECRET, JID, "args") for _ in range(50)}) == 50


def test_a_value_that_was_moved_or_changed_does_not_open() -> None:
    sealing = Sealing([Encrypted([NEW])])
    stored = sealing.seal(SECRET, JID, "args")
    for jid, role in ((new_jid(), "args"), (JID, "result")):
        with pytest.raises(Sealed, match="belongs to another job"):
            sealing.open(stored, jid, role)
    for at in range(20, len(stored) - 2, 7):
        changed = stored[:at] + (b"A" if stored[at : at + 1] != b"A" else b"B") + stored[at + 1 :]
        with pytest.raises(Sealed):
            sealing.open(changed, JID, "args")
    with pytest.raises(Sealed, match="belongs to another job"):
        sealing.open(stored[:40] + stored[-2:], JID, "args")


def test_what_is_sealed_for_a_unique_key_opens_in_jobs_of_its_name_and_under_its_key_only() -> None:
    sealing, key = Sealing([Encrypted([NEW])]), bytes(range(16))
    stored = sealing.seal(SECRET, Keyed("pay", key), "args")
    assert sealing.open(stored, JID, "args", "pay") == sealing.open(stored, new_jid(), "args", "pay") == SECRET
    for role, name in (("args", "refund"), ("args", ""), ("result", "pay"), ("unique", "pay")):
        with pytest.raises(Sealed, match="belongs to another job"):
            sealing.open(stored, JID, role, name)
    for other in (b"@" + bytes(16).hex().encode(), b""):
        with pytest.raises(Sealed, match="belongs to another job"):
            sealing.open(stored.replace(b"@" + key.hex().encode(), other), JID, "args", "pay")
    with pytest.raises(Sealed, match="is damaged"):
        sealing.open(stored.replace(b"@0001", b"@00zz"), JID, "args", "pay")


def test_what_is_sealed_for_a_schedule_opens_for_its_name_and_its_job_only() -> None:
    sealing = Sealing([Encrypted([NEW])])
    stored = sealing.seal(SECRET, Timed("nightly", "pay"), "args")
    assert sealing.open(stored, Timed("nightly", "pay"), "args") == SECRET
    for whose in (Timed("daily", "pay"), Timed("nightly", "refund"), JID):
        with pytest.raises(Sealed, match="belongs to another job"):
            sealing.open(stored, whose, "args", "pay")


def test_a_text_that_cannot_be_opened_has_a_placeholder() -> None:
    sealing = Sealing([Encrypted([NEW])])
    text = sealing.seal_text("card 4111", JID, "log")
    assert "4111" not in text
    assert shown(text, JID, "log", sealing) == "card 4111"
    assert shown(text, new_jid(), "log", sealing) == shown(text, JID, "log", None) == CLOSED
    assert shown(text[:-9], JID, "log", sealing) == shown(text + "?", JID, "log", sealing) == CLOSED
    assert shown("plain", JID, "log", None) == sealing.open_text("plain", JID, "log") == "plain"
    assert sealing.seal_text("", JID, "log") == ""


def test_what_was_stored_before_there_was_a_chain_opens_as_it_is() -> None:
    assert Sealing([Encrypted([NEW])]).open(SECRET, JID, "args") == SECRET


def test_a_link_that_is_missing_is_named() -> None:
    stored = Sealing([Encrypted([NEW])]).seal(SECRET, JID, "args")
    with pytest.raises(Sealed, match=r"args of job .* has no 'aes'"):
        Sealing([Zlib()]).open(stored, JID, "args")


def test_a_small_value_cannot_grow_without_bound() -> None:
    bomb = b'{"$sealed":"zlib:' + b64encode(zlib.compress(b"0" * (LARGEST_OPENED + 1))) + b'"}'
    with pytest.raises(Sealed, match="over 1,048,576 bytes"):
        Sealing([Zlib()]).open(bomb, JID, "args")


def test_of_an_error_only_the_type_stays_readable() -> None:
    failure = Failure(attempt=2, type="KeyError", message="4111 1111", traceback="in pay: 4111 1111", worker="w")
    sealing = Sealing([Zlib(), Encrypted([NEW])])
    sealed = sealing.seal_failure(failure, JID)
    assert (sealed.type, sealed.attempt, sealed.worker) == ("KeyError", 2, "w")
    assert "4111" not in sealed.message + sealed.traceback
    assert sealing.open_failure(sealed, JID) == failure


def test_no_key_is_shown() -> None:
    assert repr(Encrypted([OLD, NEW])) == "Encrypted(2 keys)"


@pytest.mark.parametrize("keys", [[], "k", ["short"], [b"x" * 31], ["é" * 44]], ids=str)
def test_what_is_no_list_of_keys_is_refused_without_showing_it(keys: list[str]) -> None:
    with pytest.raises(ConfigError, match=r"new_key\(\)"):
        Encrypted(keys)


def test_a_chain_that_cannot_be_told_apart_is_refused() -> None:
    with pytest.raises(ConfigError, match="same name"):
        Sealing([Zlib(), Zlib(10)])
    with pytest.raises(ConfigError, match="level 1 to 9"):
        Zlib(level=0)
