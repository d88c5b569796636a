"""A call given as words of the command line: the app is imported, the job found in it, the arguments checked."""

from __future__ import annotations

import os
import re
import traceback
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

import click
import msgspec

from procession.cli.ending import Ended
from procession.cli.shared import FAILED
from procession.client import Procession
from procession.enqueuer import Call, Options
from procession.errors import BadArguments, ConfigError, ProcessionError, UnknownJob
from procession.registry import Registered
from procession.runtime.target import load_app

OURS = ("procession", "importlib")
"""Whose frames stand above those of an app that is imported."""


class Words(click.Command):
    """A command that takes numbers below zero as arguments, and no mistyped option."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """See `click.Command.parse_args`."""
        options = {name: it for it in self.get_params(ctx) if isinstance(it, click.Option) for name in it.opts}
        words = iter(args[: args.index("--")] if "--" in args else args)
        for word in words:
            name, equals, _ = word.partition("=")
            if re.match("--?[a-zA-Z]", name):
                if name not in options and not ctx.resilient_parsing:
                    raise click.NoSuchOption(name, possibilities=get_close_matches(name, options), ctx=ctx)
                if name in options and not (equals or options[name].is_flag):
                    next(words, None)
        return super().parse_args(ctx, args)


def open_target(target: str, url: str | None, namespace: str | None, code: int = FAILED) -> Procession:
    """The app behind MODULE:APP, as `loaded`. A store given on the command line reaches it as environment, and whatever
    we start. Raises ConfigError where its code names another, which would count more: nothing is to be done to a store
    that nobody meant."""
    for variable, value in (("PROCESSION_URL", url), ("PROCESSION_NAMESPACE", namespace)):
        if value is not None:
            os.environ[variable] = value
    app = loaded(target, code)
    own = app.settings
    if url is not None and _place(own.url) != _place(url):
        raise ConfigError(f"{target} names its store itself, {own.shown_url}; --url does not reach it")
    if namespace is not None and own.namespace != namespace:
        raise ConfigError(f"{target} names its namespace itself, {own.namespace}; --namespace does not reach it")
    return app


def _place(url: str) -> tuple[str, str]:
    """A store without who we are there."""
    scheme, _, rest = url.partition("://")
    where = re.match("[^/?]*", rest)[0]  # type: ignore[index]  # it matches anything
    return scheme, rest[where.rfind("@") + 1 :]


def loaded(target: str, code: int = FAILED) -> Procession:
    """The app behind MODULE:APP. Where its own code raises, that is shown without our frames, and ends the command with
    `code`."""
    try:
        app = load_app(target)
    except ProcessionError:
        raise
    except Exception as error:
        frames = error.__traceback__
        while frames is not None and frames.tb_frame.f_globals.get("__name__", "").partition(".")[0] in OURS:
            frames = frames.tb_next
        click.echo("".join(traceback.format_exception(error.with_traceback(frames))), err=True, nl=False)
        raise Ended(f"cannot load {target}: the error above is its own", code) from None
    if app.settings.url.startswith("memory:"):
        click.echo(f"procession: no other process sees what is in {app.settings.url}: it lives in this one", err=True)
    return app


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
