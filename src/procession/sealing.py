"""What the store holds of arguments, results and errors when an app has a codec chain: `Procession(codec=[…])`.

The chain turns bytes into bytes: `Zlib` makes them smaller, `Encrypted` makes them unreadable. Ids, names, queues,
tags, times and the types of errors stay as they are, so that everything can still be found, counted and steered.
Called where calls are stored, performed and read back (`enqueuer.py`, `runtime/executor.py`, `client.py`); an app
without a chain has none of this. No key is ever logged, shown or stored.

A sealed value is JSON itself, so no script and no tool has to know of it: {"$sealed": "zlib+aes:<base64>"}.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import zlib
from base64 import b64decode, b64encode, urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as NotBase64
from collections.abc import Sequence
from typing import Any, Protocol, TypeVar
from uuid import UUID

import msgspec
from msgspec.structs import replace

from procession.codec import LARGEST
from procession.errors import ConfigError, Sealed
from procession.job import Failure, Job

J = TypeVar("J", Job, Job | None)

MARK = b'{"$sealed":'
PREFIX = "$sealed:"
"""How a sealed text begins: the message and the traceback of an error."""
LARGEST_OPENED = 4 * LARGEST
"""Most bytes that a compressed value may come to: twice what is ever sealed in one piece, with room to spare."""
ID, NONCE, KEY = 4, 12, 32
"""Bytes of a key's id, of a nonce, and of a key."""


class Codec(Protocol):
    """One link of the chain. Its `name` is stored with each value, so it stays as it is."""

    name: str

    def seal(self, data: bytes, what: bytes) -> bytes | None:
        """The data as it is stored; None to leave it as it is. `what` says whose it is and is not stored."""
        ...

    def open(self, data: bytes, what: bytes) -> bytes:
        """The reverse. Raises Sealed when it cannot be opened here."""
        ...


class Zlib:
    """Compress what is at least `threshold` bytes long (1,024), where that makes it smaller; `level` 1 to 9.

    Put it in front of `Encrypted`: what is encrypted does not compress. Lengths of compressed secrets tell something
    of them when an attacker can choose what stands beside them (CRIME, 2012); leave it out where that can be.
    """

    name = "zlib"

    def __init__(self, threshold: int = 1_024, level: int = 6) -> None:
        if threshold < 0 or not 1 <= level <= 9:
            raise ConfigError(f"Zlib({threshold}, {level}): threshold is a number of bytes, level 1 to 9")
        self._threshold = threshold
        self._level = level

    def seal(self, data: bytes, what: bytes) -> bytes | None:
        """See `Codec.seal`."""
        if len(data) < self._threshold:
            return None
        small = zlib.compress(data, self._level)
        return small if len(small) * 4 < len(data) * 3 else None  # base64 takes a third again

    def open(self, data: bytes, what: bytes) -> bytes:
        """See `Codec.open`: at most 1 MiB comes out, whatever goes in."""
        unpacking = zlib.decompressobj()
        try:
            opened = unpacking.decompress(data, LARGEST_OPENED)
        except zlib.error as error:
            raise Sealed(f"a compressed value is damaged: {error}") from None
        if not unpacking.eof:
            raise Sealed(f"a compressed value is cut off, or over {LARGEST_OPENED:,} bytes")
        return opened


class Encrypted:
    """Encrypt and authenticate: AES-256-GCM, with `pip install procession[crypto]`.

    The first key seals, every key opens. To rotate: append the new key everywhere, then put it first, and drop the old
    one when the last job sealed with it is over. Each value is bound to its job and its role, so that a value put
    somewhere else does not open. Each job and role has a key of its own, derived by HMAC-SHA-256: the limit of 2³²
    messages under one key with random nonces (NIST SP 800-38D, section 8.3) is then never near.

    Args:
        keys: of `Encrypted.new_key()`: 32 bytes each, as bytes or as URL-safe base64.

    Raises:
        ConfigError: a key is not 32 bytes, there is none, or `cryptography` is not installed.
    """

    name = "aes"

    def __init__(self, keys: Sequence[str | bytes]) -> None:
        if isinstance(keys, str | bytes) or not keys:
            raise ConfigError("Encrypted takes a list of keys, the one that seals first; Encrypted.new_key() makes one")
        try:
            from cryptography.exceptions import InvalidTag
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM
        except ImportError:
            raise ConfigError("encryption needs the extra: pip install procession[crypto]") from None
        self._cipher, self._wrong = AESGCM, InvalidTag
        self._keys = {_key_id(key): key for key in map(_key, keys)}
        self._first = next(iter(self._keys))

    def __repr__(self) -> str:
        return f"Encrypted({len(self._keys)} keys)"

    @staticmethod
    def new_key() -> str:
        """A fresh key, as text: put it where secrets are kept."""
        return urlsafe_b64encode(os.urandom(KEY)).decode()

    def seal(self, data: bytes, what: bytes) -> bytes:
        """See `Codec.seal`."""
        nonce = os.urandom(NONCE)
        sealed: bytes = self._for(self._keys[self._first], what).encrypt(nonce, data, what)
        return self._first + nonce + sealed

    def open(self, data: bytes, what: bytes) -> bytes:
        """See `Codec.open`."""
        key = self._keys.get(data[:ID])
        if key is None:
            raise Sealed(f"none of the {len(self._keys)} keys here opens it: it was sealed with key {data[:ID].hex()}")
        try:
            opened: bytes = self._for(key, what).decrypt(data[ID : ID + NONCE], data[ID + NONCE :], what)
        except (self._wrong, ValueError):
            raise Sealed("it was changed after it was sealed, or belongs to another job") from None
        return opened

    def _for(self, key: bytes, what: bytes) -> Any:
        return self._cipher(hmac.digest(key, b"procession 1 " + what, "sha256"))


def _key(key: str | bytes) -> bytes:
    raw = key
    if isinstance(key, str) or len(key) != KEY:
        try:
            raw = urlsafe_b64decode(key)
        except (ValueError, NotBase64):
            raw = b""
    if len(raw) != KEY or isinstance(raw, str):
        raise ConfigError("a key is 32 bytes, or their URL-safe base64; Encrypted.new_key() makes one")
    return raw


def _key_id(key: bytes) -> bytes:
    return hashlib.sha256(b"procession key " + key).digest()[:ID]


def is_sealed(raw: bytes | msgspec.Raw) -> bool:
    """True for a value that went through a chain."""
    return bytes(raw).startswith(MARK)


class Sealing:
    """The chain of one app. Raises ConfigError when two links share a name."""

    def __init__(self, chain: Sequence[Codec]) -> None:
        self._chain = list(chain)
        self._by_name = {codec.name: codec for codec in self._chain}
        if len(self._by_name) < len(self._chain):
            raise ConfigError("two codecs of the chain have the same name; each link stands in it once")

    def seal(self, raw: bytes, jid: UUID, role: str) -> bytes:
        """A JSON value as the store gets it."""
        text = self._sealed(raw, jid, role)
        return raw if text is None else b'%s"%s"}' % (MARK, text)

    def open(self, raw: bytes | msgspec.Raw, jid: UUID, role: str) -> bytes:
        """The JSON value. What was stored before there was a chain is returned as it is. Raises Sealed."""
        raw = bytes(raw)
        if not raw.startswith(MARK):
            return raw
        return self._opened(raw[len(MARK) + 1 : -2], jid, role)

    def seal_failure(self, failure: Failure, jid: UUID) -> Failure:
        """An error whose message and traceback nobody else reads; its type stays."""

        def seal(text: str) -> str:
            sealed = self._sealed(text.encode(), jid, "error")
            return text if sealed is None else PREFIX + sealed.decode()

        return replace(failure, message=seal(failure.message), traceback=seal(failure.traceback))

    def open_failure(self, failure: Failure, jid: UUID) -> Failure:
        """The reverse. Raises Sealed."""

        def open_(text: str) -> str:
            if not text.startswith(PREFIX):
                return text
            return self._opened(text.removeprefix(PREFIX).encode(), jid, "error").decode()

        return replace(failure, message=open_(failure.message), traceback=open_(failure.traceback))

    def open_job(self, job: J) -> J:
        """A record with all that can be opened here in plain; what cannot stays sealed."""
        if job is None:
            return job
        try:
            args = msgspec.json.decode(self.open(msgspec.json.encode(job.args), job.jid, "args"))
            failures = tuple(self.open_failure(it, job.jid) for it in job.failures)
            result = None if job.result is None else msgspec.Raw(self.open(job.result, job.jid, "result"))
        except Sealed:
            return job
        return replace(job, args=args, failures=failures, result=result)

    def _sealed(self, data: bytes, jid: UUID, role: str) -> bytes | None:
        what, names = _what(jid, role), []
        for codec in self._chain:
            changed = codec.seal(data, what)
            if changed is not None:
                data = changed
                names.append(codec.name)
        return b"%s:%s" % ("+".join(names).encode(), b64encode(data)) if names else None

    def _opened(self, text: bytes, jid: UUID, role: str) -> bytes:
        names, _, coded = text.partition(b":")
        try:
            data = b64decode(coded, validate=True)
        except (ValueError, NotBase64):
            raise Sealed(f"the {role} of job {jid}: a sealed value is damaged") from None
        for name in reversed(names.decode(errors="replace").split("+")):
            codec = self._by_name.get(name)
            if codec is None:
                raise Sealed(f"the {role} of job {jid}: the app's codec chain has no {name!r}")
            try:
                data = codec.open(data, _what(jid, role))
            except Sealed as error:
                raise Sealed(f"the {role} of job {jid}: {error}") from None
        return data


def _what(jid: UUID, role: str) -> bytes:
    return b"%s %s" % (jid.bytes, role.encode())
