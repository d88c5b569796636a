"""The names that users choose: queues, namespaces, tags, the stable name of a job, the store's URL as it may be shown.

Pure checks, at the edge.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from typing import Any

from procession.errors import ConfigError, ReservedQueue
from procession.job import RESERVED_QUEUES

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_SECRET = re.compile(r"([?&]\w*password=)[^&]*")
TAGS = 16
HEADERS, HEADER_TEXT = 16, 4_096
"""Most headers of a job, and most characters of all their names and values together."""


def is_reserved_queue(name: str) -> bool:
    """True for `processed`, `failed` and `cancelled`: names of final states, to which nothing is enqueued."""
    return name in RESERVED_QUEUES


def check_queue(name: object) -> str:
    """A queue name that may be used. Raises ConfigError, or ReservedQueue."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ConfigError(f"queue name {name!r} must be 1 to 64 of the characters A-Z a-z 0-9 _ . -")
    if is_reserved_queue(name):
        raise ReservedQueue(f"queue name {name!r} is the name of a final state; choose another")
    return name


def check_namespace(name: str) -> str:
    """A namespace that may be used. Raises ConfigError."""
    if not _NAME.fullmatch(name):
        raise ConfigError(f"namespace {name!r} must be 1 to 64 of the characters A-Z a-z 0-9 _ . -")
    return name


def check_text(text: object, what: str) -> str:
    """Raises ConfigError for what is no text, and for what UTF-8 cannot write: one half of a pair, such as
    `os.fsdecode` makes of odd bytes."""
    if not isinstance(text, str):
        raise ConfigError(f"{what}={text!r:.200} must be a text")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ConfigError(f"{what}={text!r} holds a lone surrogate, which is no text") from None
    return text


def check_tags(tags: object) -> tuple[str, ...]:
    """At most 16 tags of at most 64 characters. Raises ConfigError."""
    if isinstance(tags, str) or not isinstance(tags, list | tuple | set | frozenset):
        raise ConfigError(f"tags={tags!r} must be a list of strings")
    found = tuple(tags)
    if len(found) > TAGS or not all(isinstance(tag, str) and 0 < len(tag) <= 64 for tag in found):
        raise ConfigError(f"tags={tags!r}: at most {TAGS} strings of 1 to 64 characters")
    return tuple(check_text(tag, "tag") for tag in found)


def check_aliases(names: object) -> tuple[str, ...]:
    """Former names of a job. Raises ConfigError."""
    if not isinstance(names, list | tuple | set | frozenset) or not all(isinstance(it, str) and it for it in names):
        raise ConfigError(f"aliases={names!r} must be a list of strings")
    return tuple(names)


def check_headers(headers: object) -> dict[str, str]:
    """At most 16 texts by name, 4,096 characters in all. Raises ConfigError."""
    if not isinstance(headers, Mapping) or not all(isinstance(it, str) for pair in headers.items() for it in pair):
        raise ConfigError(f"headers={headers!r} must be a dict of strings")
    if len(headers) > HEADERS or sum(len(name) + len(value) for name, value in headers.items()) > HEADER_TEXT:
        raise ConfigError(f"at most {HEADERS} headers and {HEADER_TEXT:,} characters: data belongs into the arguments")
    return {check_text(name, "header"): check_text(value, f"headers[{name!r}]") for name, value in headers.items()}


def with_headers(headers: object, more: Mapping[str, str]) -> dict[str, str]:
    """A caller's headers, and of more what fits beside them, the first first: telemetry never makes an enqueue fail.
    Raises ConfigError for the caller's own."""
    found = check_headers(headers)
    for name, value in more.items():
        taken = sum(len(key) + len(text) for key, text in found.items()) + len(name) + len(value)
        if len(found) < HEADERS and taken <= HEADER_TEXT:
            found[name] = value
    return found


def job_name(source: Any, name: object) -> str:
    """The stable name of a job function or worker class: `name`, else `module.qualname`.

    What is defined in a script run as `__main__` takes the importable module name of that file.

    Raises:
        ConfigError: the code cannot be imported under that name by a queue worker.
    """
    if name is not None:
        if not (isinstance(name, str) and 0 < len(name) <= 200 and name.isprintable()):
            raise ConfigError(f"name={name!r} must be 1 to 200 printable characters")
        return name
    qualname: str = source.__qualname__
    if "<locals>" in qualname or "<lambda>" in qualname:
        qualname = qualname.replace("<locals>.", "").replace("<lambda>", "")
        if not qualname or qualname.endswith("."):
            raise ConfigError("a lambda has no name; give it one with name=")
    module: str = source.__module__
    if module == "__main__":
        module = main_module(qualname)
    return f"{module}.{qualname}"


def main_module(qualname: str) -> str:
    """The name under which another process can import what is `__main__` here. Raises ConfigError."""
    main = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    if spec is not None and spec.name:
        return str(spec.name).removesuffix(".__main__")
    from pathlib import Path  # only where a script defines jobs

    stem = Path(getattr(main, "__file__", None) or "").stem
    if not stem.isidentifier():
        raise ConfigError(
            f"{qualname} is defined in __main__, which no queue worker can import; give it a name= or a module"
        )
    return stem


def shown(url: str) -> str:
    """A URL fit to be printed: no password in it, also when it was written wrongly.

    >>> shown("redis://ada:s3cret@localhost/0?ssl_password=x&db=1")
    'redis://ada:***@localhost/0?ssl_password=***&db=1'
    """
    head, at, tail = _SECRET.sub(r"\1***", url).rpartition("@")
    if not at:
        return tail
    scheme, _, user = head.partition("://")
    name, colon, _ = user.partition(":")
    return f"{scheme}://{name}:***@{tail}" if colon else f"{scheme}://{name}@{tail}"
