"""What the store holds of arguments, results and errors when an app has a codec chain: `Procession(codec=[…])`.

The chain turns bytes into bytes: `Zlib` makes them smaller, `Encrypted` makes them unreadable. Ids, names, queues,
tags, times and the types of errors stay as they are, so that everything can still be found, counted and steered.
Called where calls are stored, performed and read back (`enqueuer.py`, `runtime/executor.py`, `client.py`); an app
without a chain has none of this. No key is ever logged, shown or stored.

A sealed value is JSON itself, so no script and no tool has to know of it: {"$sealed": "zlib+aes:<base64>"}.
"""

from __future__ import annotations

import os
import zlib
from binascii import Error as NotBase64
from binascii import a2b_base64, b2a_base64
from collections.abc import Sequence
from typing import Any, Protocol, TypeVar
from uuid import UUID

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from procession.codec import LARGEST
from procession.errors import ConfigError, Sealed
from procession.job import Crash, Failure, Job

J = TypeVar("J", Job, Job | None)

MARK = b'{"$sealed":'
PREFIX = "$sealed:"
"""How a sealed text begins: the message and the traceback of an error, a unique key, progress, a log line."""
CLOSED = "(sealed)"
"""What stands for a text that cannot be opened here, or that is kept nowhere."""
LARGEST_OPENED = 4 * LARGEST
"""Most bytes that a compressed value may come to: twice what is ever sealed in one piece, with room to spare."""
ID, NONCE, KEY = 4, 12, 32
"""Bytes of a key's id, of a nonce, and of a key."""


class Keyed(Struct, frozen=True):
    """Jobs of one name and one unique key. With `conflict="replace"` or `debounce=` the arguments of a call may come to
    stand in the record of the job that waits, so they are sealed for whichever of these jobs has them."""

    name: str
    key: bytes
    """16 bytes, as `Unique.key`."""

    def __str__(self) -> str:
        return f"the {self.name} jobs with unique key {self.key.hex()}"


class Timed(Struct, frozen=True):
    """A schedule, by its name, and the job that it runs."""

    name: str
    job: str

    def __str__(self) -> str:
        return f"schedule {self.name!r}"


class Died(Struct, frozen=True):
    """A queue worker whose process has died, by its name. One dossier goes to each job that it held, by whoever takes
    them back, so it is sealed for the worker, whom the error of each names."""

    worker: str

    def __str__(self) -> str:
        return f"worker {self.worker}"


Whose = UUID | Keyed | Timed | Died
"""What a value is sealed for: it opens nowhere else."""


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
        import hmac  # these and `base64` come with the first keys

        self._cipher, self._wrong, self._digest = AESGCM, InvalidTag, hmac.digest
        self._keys = {_key_id(key): key for key in map(_key, keys)}
        self._first = next(iter(self._keys))

    def __repr__(self) -> str:
        return f"Encrypted({len(self._keys)} keys)"

    @staticmethod
    def new_key() -> str:
        """A fresh key, as text: put it where secrets are kept."""
        from base64 import urlsafe_b64encode  # only where there are keys

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
        return self._cipher(self._digest(key, b"procession 1 " + what, "sha256"))


def _key(key: str | bytes) -> bytes:
    if not isinstance(key, str | bytes):  # such as None, of a variable that is not set
        raise ConfigError(f"a key is 32 bytes, or their URL-safe base64, and not {type(key).__name__}")
    raw = key
    if isinstance(key, str) or len(key) != KEY:
        from base64 import urlsafe_b64decode

        try:
            raw = urlsafe_b64decode(key)
        except (ValueError, NotBase64):
            raw = b""
    if len(raw) != KEY or isinstance(raw, str):
        raise ConfigError("a key is 32 bytes, or their URL-safe base64; Encrypted.new_key() makes one")
    return raw


def _key_id(key: bytes) -> bytes:
    import hashlib  # as in `unique.digest`

    return hashlib.sha256(b"procession key " + key).digest()[:ID]


def is_sealed(raw: bytes | msgspec.Raw) -> bool:
    """True for a value that went through a chain."""
    return bytes(raw).startswith(MARK)


def shown(text: str, jid: UUID, role: str, sealing: Sealing | None) -> str:
    """A text of a job for whoever reads it: in plain, or `(sealed)` where it cannot be opened."""
    if not text.startswith(PREFIX):
        return text
    try:
        return CLOSED if sealing is None else sealing.open_text(text, jid, role)
    except Sealed:
        return CLOSED


def opened(job: J, sealing: Sealing | None) -> J:
    """A record for whoever reads it, as far as it can be opened here."""
    if job is None:
        return job
    if job.progress is not None:
        text = shown(job.progress.text, job.jid, "progress", sealing)
        job = replace(job, progress=replace(job.progress, text=text))
    plain: Any = job if sealing is None else sealing.open_job(job)
    if any(it.crash is not None for it in plain.failures):
        plain = replace(plain, failures=tuple(map(_with_dossier_shown, plain.failures)))
    return plain  # type: ignore[no-any-return]


def _with_dossier_shown(failure: Failure) -> Failure:
    """Kilobytes that cannot be read say no more than that they are there."""
    if (crash := failure.crash) is None:
        return failure
    log = tuple(CLOSED if line.startswith(PREFIX) else line for line in crash.log)
    stack = CLOSED if crash.stack.startswith(PREFIX) else crash.stack
    return replace(failure, crash=replace(crash, log=log, stack=stack))


def _is_link(codec: object) -> bool:
    return not isinstance(codec, type) and all(hasattr(codec, it) for it in ("name", "seal", "open"))


class Sealing:
    """The chain of one app. Raises ConfigError for what is no link, and when two links share a name."""

    def __init__(self, chain: Sequence[Codec]) -> None:
        if not (isinstance(chain, list | tuple) and all(map(_is_link, chain))):
            raise ConfigError(f"codec={chain!r:.200} must be a list of codecs, such as codec=[Zlib(), Encrypted(keys)]")
        self._chain = list(chain)
        self._by_name = {codec.name: codec for codec in self._chain}
        if len(self._by_name) < len(self._chain):
            raise ConfigError("two codecs of the chain have the same name; each link stands in it once")

    def seal(self, raw: bytes, whose: Whose, role: str) -> bytes:
        """A JSON value as the store gets it."""
        text = self._sealed(raw, whose, role)
        return raw if text is None else b'%s"%s"}' % (MARK, text)

    def open(self, raw: bytes | msgspec.Raw, whose: UUID | Timed, role: str, name: str = "") -> bytes:
        """The JSON value. What was stored before there was a chain is returned as it is. Raises Sealed.

        Args:
            name: of the job, as it is stored with it; needed for arguments, which may be sealed for a unique key.
        """
        raw = bytes(raw)
        if not raw.startswith(MARK):
            return raw
        return self._opened(raw[len(MARK) + 1 : -2], whose, role, name)

    def seal_text(self, text: str, whose: Whose, role: str) -> str:
        """A text as the store gets it; nothing stays nothing."""
        sealed = self._sealed(text.encode(), whose, role) if text else None
        return text if sealed is None else PREFIX + sealed.decode()

    def open_text(self, text: str, whose: UUID | Died | Timed, role: str, name: str = "") -> str:
        """The reverse. Raises Sealed."""
        if not text.startswith(PREFIX):
            return text
        return self._opened(text.removeprefix(PREFIX).encode(), whose, role, name).decode()

    def seal_failure(self, failure: Failure, jid: UUID) -> Failure:
        """An error whose message, traceback and dossier nobody else reads; its type stays."""
        message, traceback = (self._seal_said(text, jid, "error") for text in (failure.message, failure.traceback))
        crash = None if failure.crash is None else self.seal_crash(failure.crash, failure.worker)
        return replace(failure, message=message, traceback=traceback, crash=crash)

    def open_failure(self, failure: Failure, jid: UUID) -> Failure:
        """The reverse. Raises Sealed."""
        message, traceback = (self.open_text(text, jid, "error") for text in (failure.message, failure.traceback))
        crash = None if failure.crash is None else self.open_crash(failure.crash, failure.worker)
        return replace(failure, message=message, traceback=traceback, crash=crash)

    def seal_crash(self, crash: Crash, worker: str) -> Crash:
        """A dossier whose log lines and stacks nobody else reads; how the process ended stays. The lines become one
        text, so that their number and lengths are not seen either."""
        log = self._seal_said("\n".join(crash.log), Died(worker), "log")
        return replace(crash, log=(log,) if log else (), stack=self._seal_said(crash.stack, Died(worker), "stack"))

    def open_crash(self, crash: Crash, worker: str) -> Crash:
        """The reverse. Raises Sealed."""
        log = [line for text in crash.log for line in self.open_text(text, Died(worker), "log").split("\n")]
        return replace(crash, log=tuple(log), stack=self.open_text(crash.stack, Died(worker), "stack"))

    def open_job(self, job: Job) -> Job:
        """A record in plain; when one part of it cannot be opened, all of it stays sealed."""
        try:
            args = msgspec.json.decode(self.open(msgspec.json.encode(job.args), job.jid, "args", job.name))
            unique = self.open_text(job.unique, job.jid, "unique", job.name)
            limit = self.open_text(job.limit, job.jid, "limit", job.name)
            failures = tuple(self.open_failure(it, job.jid) for it in job.failures)
            result = None if job.result is None else msgspec.Raw(self.open(job.result, job.jid, "result"))
        except Sealed:
            return job
        return replace(job, args=args, unique=unique, limit=limit, failures=failures, result=result)

    def _seal_said(self, text: str, whose: Whose, role: str) -> str:
        """`seal_text` of what must get to the store in any case. Where the chain raises (a key service is away), the
        text is kept nowhere: an error without its message is worth more than a job that comes to no end."""
        try:
            return self.seal_text(text, whose, role)
        except Exception:
            import logging  # whoever sees something fail has loaded it

            logging.getLogger("procession").exception("the %s of %s could not be sealed and is not kept", role, whose)
            return CLOSED

    def _sealed(self, data: bytes, whose: Whose, role: str) -> bytes | None:
        what, names = _what(whose, role), []
        for codec in self._chain:
            changed = codec.seal(data, what)
            if changed is not None:
                data = changed
                names.append(codec.name)
        key = f"@{whose.key.hex()}" if isinstance(whose, Keyed) else ""
        return b"%s:%s" % (f"{'+'.join(names)}{key}".encode(), b2a_base64(data, newline=False)) if names else None

    def _opened(self, text: bytes, its: UUID | Timed | Died, role: str, job: str) -> bytes:
        whose: Whose = its
        said = f"the {role} of {f'job {its}' if isinstance(its, UUID) else its}"
        links, _, coded = text.partition(b":")
        names, _, key = links.decode(errors="replace").partition("@")
        try:
            data = a2b_base64(coded, strict_mode=True)
            if key:
                whose = Keyed(job, bytes.fromhex(key))
        except (ValueError, NotBase64):
            raise Sealed(f"{said}: a sealed value is damaged") from None
        for name in reversed(names.split("+")):
            codec = self._by_name.get(name)
            if codec is None:
                raise Sealed(f"{said}: the app's codec chain has no {name!r}")
            try:
                data = codec.open(data, _what(whose, role))
            except Sealed as error:
                raise Sealed(f"{said}: {error}") from None
        return data


def _what(whose: Whose, role: str) -> bytes:
    """What a value is authenticated with: no two of these read the same."""
    match whose:
        case Keyed(name, key):
            return b"key %s %s %s" % (key, role.encode(), name.encode())
        case Timed(name, job):
            return f"schedule {name}\0{job}\0{role}".encode()
        case Died(worker):
            return f"worker {worker}\0{role}".encode()
    return b"%s %s" % (whose.bytes, role.encode())
