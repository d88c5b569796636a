"""A call given as words of the command line: the app is imported, the job found in it, the arguments checked."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import msgspec

from procession.client import Procession
from procession.enqueuer import Call, Options
from procession.errors import BadArguments, UnknownJob
from procession.registry import Registered
from procession.runtime.target import load_app


def open_target(target: str, url: str | None, namespace: str | None) -> Procession:
    """The app behind MODULE:APP. A store given on the command line reaches it as environment."""
    for variable, value in (("PROCESSION_URL", url), ("PROCESSION_NAMESPACE", namespace)):
        if value is not None:
            os.environ[variable] = value
    return load_app(target)


def called(app: Procession, name: str, words: Sequence[str], options: Options) -> Call[Any]:
    """The call of the job `name`: words are JSON, a bare word is a string, `key=value` goes by name.

    Raises:
        UnknownJob: the app has no job of this name.
        BadArguments: they do not fit it.
    """
    registered = app.registry.get(name)
    if registered is None:
        raise UnknownJob(f"no job {name!r} in this app; it has {', '.join(app.registry.names()) or 'none'}")
    args = [_value(it) for it in words if not _is_named(it)]
    kwargs = {key: _value(value) for key, _, value in (it.partition("=") for it in words if _is_named(it))}
    return Call(registered, _encoded(registered, args, kwargs), options)


def _value(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text


def _is_named(argument: str) -> bool:
    key, equals, _ = argument.partition("=")
    return bool(equals) and key.isidentifier()


def _encoded(registered: Registered, args: list[Any], kwargs: dict[str, Any]) -> bytes:
    """JSON from the command line, read by the annotations so that a date or a bytes value can be given as text."""
    signature = registered.signature
    try:
        named = signature.signature.bind(*args, **kwargs).arguments
    except TypeError as error:
        raise BadArguments(f"{signature}: {error}") from None
    return signature.checked(named)
