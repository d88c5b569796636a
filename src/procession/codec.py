"""Calls, results and errors as JSON, and back by the annotations of the function.

A call's arguments become one JSON object, parameter name to value, that a person can read. They are checked in the
caller:
what would not come back equal, with the same type, is refused there with the path of the value, and nothing
reaches the store. Callers: the enqueuer and the executor. No pickle, no import by name from data.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime, time
from typing import Any, get_type_hints

import msgspec
from msgspec import UNSET, Struct, UnsetType

from procession.depends import Dependency
from procession.errors import BadArguments, ConfigError, NotEncodable, TooLarge
from procession.job import NO_OPTIONS, Failure, Spec

LARGEST = 256 * 1024
"""Most bytes of one call's arguments, and of one result."""
DEEPEST = 64
"""Most levels of containers in a value."""

PLAIN = (str, int, bool, float, type(None))
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NAMELESS = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.VAR_POSITIONAL)
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def _to_builtin(value: Any) -> Any:
    dump = getattr(value, "model_dump", None)  # a pydantic model, known by its methods and never imported
    if dump is not None:
        return dump(mode="json", by_alias=False, round_trip=True)
    raise NotImplementedError(f"a {type(value).__qualname__} has no JSON form")


def _from_builtin(kind: Any, value: Any) -> Any:
    if kind is object:
        return value
    validate = getattr(kind, "model_validate_json", None)  # a strict model takes a date as text from JSON alone
    if validate is None:
        shown = kind.__qualname__ if isinstance(kind, type) else kind
        raise NotImplementedError(
            f"nothing annotated as {shown} can be read from JSON; annotate it as a list, a dict, a dataclass or a model"
        )
    raw = msgspec.json.encode(value)
    try:
        return validate(raw, by_name=True)  # as it was dumped; the names on its outside may be one-way
    except TypeError:  # before pydantic 2.11
        return validate(raw)


_encoder = msgspec.json.Encoder(enc_hook=_to_builtin)


def _decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind, dec_hook=_from_builtin)


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    try:
        return get_type_hints(function, include_extras=True)
    except Exception:  # one name that cannot be resolved must not cost the others
        known = {}
        for name, text in getattr(function, "__annotations__", {}).items():
            try:
                known[name] = get_type_hints(
                    type("_", (), {"__annotations__": {name: text}}), vars(inspect.getmodule(function))
                )[name]
            except Exception:
                known[name] = Any
        return known


class Signature:
    """The signature of one job function, compiled once: calls to JSON and back, results to JSON and back."""

    __slots__ = (
        "_call", "_nameless", "_names", "_ordinary", "_plain", "_required", "_result", "_returns", "_shape",
        "_varied", "name", "signature",
    )  # fmt: skip

    def __init__(self, name: str, signature: inspect.Signature, hints: Mapping[str, Any]) -> None:
        self.name = name
        self.signature = signature
        self._names = tuple(signature.parameters)
        self._ordinary = all(it.kind is it.POSITIONAL_OR_KEYWORD for it in signature.parameters.values())
        self._nameless = [at for at, it in enumerate(signature.parameters.values()) if it.kind in _NAMELESS]
        self._required = {p for p, it in signature.parameters.items() if it.default is it.empty}
        self._plain = {p: _plain_types(hints.get(p, Any)) for p in self._names}
        self._varied = any(not it or it == {float} for it in self._plain.values())
        self._returns = hints.get("return", Any)
        fields: list[tuple[str, Any, Any]] = []
        for position, parameter in enumerate(signature.parameters.values()):
            kind = hints.get(parameter.name, Any)
            if parameter.kind is parameter.VAR_POSITIONAL:
                kind = list[kind]  # type: ignore[valid-type]
            elif parameter.kind is parameter.VAR_KEYWORD:
                kind = dict[str, kind]  # type: ignore[valid-type]
            fields.append((f"p{position}", kind | UnsetType if _joins(kind) else Any, UNSET))
        rename = {f"p{position}": p for position, p in enumerate(self._names)}
        try:
            self._shape = msgspec.defstruct("Arguments", fields, rename=rename, forbid_unknown_fields=True)
            self._call = _decoder(self._shape)
            self._result = _decoder(self._returns if self._returns is not None else type(None))
        except TypeError as error:
            raise ConfigError(f"{self}: an annotation cannot be kept as JSON: {error}") from None

    @classmethod
    def of(cls, function: Callable[..., Any], *, bound: bool = False) -> Signature:
        """Compile a function's signature; `bound` leaves its first parameter out. Raises ConfigError."""
        signature = inspect.signature(function)
        signature = signature.replace(
            parameters=[it for it in signature.parameters.values() if not isinstance(it.default, Dependency)]
        )
        if bound:
            signature = signature.replace(parameters=list(signature.parameters.values())[1:])
        return cls(function.__qualname__, signature, _hints(function))

    def __str__(self) -> str:
        return f"{self.name}{self.signature}"

    def named(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """A call's arguments by parameter name. Raises BadArguments when they do not fit."""
        return self._given(args, kwargs)

    def encode(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
        """A call's arguments as a JSON object; defaults that were not given are left out.

        Raises:
            BadArguments: they do not fit the signature.
            NotEncodable: a value would not come back as it went in; `path` names it.
            TooLarge: over 256 kB, or nested over 64 levels deep.
        """
        given = self._given(args, kwargs)
        plain = self._plain
        for name, value in given.items():
            if type(value) not in plain[name] or (type(value) is float and not math.isfinite(value)):
                raw = self._encode_checked(given)
                break
        else:
            try:
                raw = _encoder.encode(given)
            except (OverflowError, UnicodeError, ValueError) as error:
                raise self._unencodable(given, error) from None
        if len(raw) > LARGEST:
            raise TooLarge(
                f"{self}: the arguments take {len(raw):,} bytes, {LARGEST:,} are allowed;"
                " store the data elsewhere and enqueue a reference to it"
            )
        return raw

    def defaults(self) -> dict[str, Any]:
        """The defaults of parameters as they look in JSON; one that has no such form is left out."""
        found: dict[str, Any] = {}
        for name, parameter in self.signature.parameters.items():
            if parameter.default is not parameter.empty:
                with suppress(Exception):
                    found[name] = msgspec.json.decode(_encoder.encode(parameter.default))
        return found

    def one_form(self, arguments: bytes | msgspec.Raw) -> dict[str, Any]:
        """Encoded arguments as values of JSON, in the one form that equal ones share: a set in order, 1.0 for a float
        of 1. Those that no longer fit, or a set of what has no order, are as they stand."""
        if self._varied:
            with suppress(Exception):
                call = self._call.decode(arguments)
                same: dict[str, Any] = msgspec.to_builtins(
                    call, str_keys=True, order="deterministic", enc_hook=_to_builtin
                )
                return same
        plain: dict[str, Any] = msgspec.json.decode(arguments)
        return plain

    def _given(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """Parameter name to value. An ordinary call is bound here, ten times as fast as by `inspect`; its word is asked
        for all others, and for what is wrong with a call."""
        if self._ordinary and len(args) <= len(self._names):
            given = dict(zip(self._names, args, strict=False))
            if not kwargs:
                if len(args) == len(self._names) or self._required <= given.keys():
                    return given
            elif not given.keys() & kwargs.keys() and kwargs.keys() <= self._plain.keys():
                given |= kwargs
                if self._required <= given.keys():
                    return given
        try:
            return self.signature.bind(*args, **kwargs).arguments
        except TypeError as error:
            raise BadArguments(f"{self}: {error}") from None

    def _encode_checked(self, given: dict[str, Any]) -> bytes:
        try:
            _too_deep(given, "args")
            raw = _encoder.encode(given)
        except (TooLarge, NotEncodable):
            raise
        except Exception as error:
            raise self._unencodable(given, error) from None
        try:
            came = self._call.decode(raw)
        except (msgspec.ValidationError, NotImplementedError) as error:
            lost = isinstance(error, NotImplementedError) or _lost_in_json(given, "args")
            raise (NotEncodable if lost else BadArguments)(f"{self}: {_located(error)}") from None
        for position, name in enumerate(self._names):
            if name in given:
                value, kind = given[name], self.signature.parameters[name].kind
                sent = list(value) if kind is inspect.Parameter.VAR_POSITIONAL else value
                _compare(sent, getattr(came, f"p{position}"), f"args.{name}")
        return raw

    def _unencodable(self, given: dict[str, Any], error: Exception) -> NotEncodable:
        path, value = _first_unencodable(given, "args")
        return NotEncodable(f"{self}: {path} cannot be kept as JSON: {_shown(value)}: {error}", path=path)

    def checked(self, given: Mapping[str, Any]) -> bytes:
        """Arguments by parameter name, in the forms that JSON has for them (a date as text), as `encode` stores them.

        Raises:
            BadArguments, NotEncodable, TooLarge: as `encode`.
        """
        return self.encode(*self.decode(checked_plain(given), "these arguments do not fit"))

    def decode(
        self, raw: bytes | msgspec.Raw, trouble: str = "the stored arguments no longer fit"
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments of a stored call. Raises BadArguments when the code has changed meanwhile and they no
        longer fit."""
        try:
            shape = self._call.decode(raw)
        except (msgspec.ValidationError, msgspec.DecodeError, ValueError, NotImplementedError, RecursionError) as error:
            raise BadArguments(f"{trouble} {self}: {_located(error)}") from None
        values = msgspec.structs.astuple(shape)
        if self._ordinary and UNSET not in values:
            return values, {}
        args: list[Any] = []
        kwargs: dict[str, Any] = {}
        by_name, by_place = False, self._by_place(values) if self._nameless else 0
        for position, (name, parameter) in enumerate(self.signature.parameters.items()):
            value = values[position]
            if value is UNSET:
                if parameter.default is parameter.empty and parameter.kind not in (
                    parameter.VAR_POSITIONAL,
                    parameter.VAR_KEYWORD,
                ):
                    raise BadArguments(f"{trouble} {self}: {name!r} is missing")
                if position < by_place:
                    args.append(parameter.default)  # else what follows would slide into its place
                else:
                    by_name = True  # a positional after a gap has to go by name
            elif parameter.kind is parameter.VAR_POSITIONAL:
                args.extend(value)
            elif parameter.kind is parameter.VAR_KEYWORD:
                kwargs.update(value)
            elif parameter.kind in _POSITIONAL and not by_name:
                args.append(value)
            else:
                kwargs[name] = value
        return tuple(args), kwargs

    def _by_place(self, values: tuple[Any, ...]) -> int:
        """The position up to which arguments go by place: that of the last one given that has no name in a call."""
        return max((at for at in self._nameless if values[at] is not UNSET), default=0)

    def encode_result(self, value: Any) -> bytes:
        """What a job returned, as JSON. Raises NotEncodable or TooLarge (256 kB)."""
        if value is None:
            return b"null"
        try:
            _too_deep(value, "result")
            raw = _encoder.encode(value)
            if type(value) is float or type(value) not in _plain_types(self._returns):
                _compare(value, self._result.decode(raw), "result")
        except (NotEncodable, TooLarge):
            raise
        except msgspec.ValidationError as error:
            raise NotEncodable(
                f"the result of {self} is not what it declares: {_located(error)}", path="result"
            ) from None
        except Exception as error:
            path, bad = _first_unencodable(value, "result")
            raise NotEncodable(f"{path} of {self} cannot be kept as JSON: {_shown(bad)}: {error}", path=path) from None
        if len(raw) > LARGEST:
            raise TooLarge(
                f"the result of {self} takes {len(raw):,} bytes, {LARGEST:,} are allowed; store it elsewhere"
            )
        return raw

    def decode_result(self, raw: bytes | msgspec.Raw) -> Any:
        """A stored result by the return annotation. Raises BadArguments when it no longer fits."""
        try:
            return self._result.decode(raw)
        except (msgspec.ValidationError, ValueError, NotImplementedError) as error:
            raise BadArguments(f"the stored result no longer fits {self}: {_located(error)}") from None


def _joins(kind: Any) -> bool:
    return kind not in (Any, object)


def _plain_types(kind: Any) -> frozenset[type]:
    if kind in (str, int, bool, float):
        return frozenset({kind})
    if kind in (Any, object):
        return frozenset(PLAIN)
    return frozenset()


def _located(error: Exception) -> str:
    return str(error).replace("`$.", "`args.").replace(" - at ", " at ").replace("`$`", "the arguments")


def _shown(value: Any) -> str:
    try:
        text = repr(value)
    except Exception:
        text = f"a {type(value).__qualname__}"
    return text if len(text) <= 80 else text[:77] + "…"


def _parts(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield f"{path}.{key}", item
    elif isinstance(value, list | tuple | set | frozenset):
        for position, item in enumerate(value):
            yield f"{path}[{position}]", item
    elif isinstance(value, Struct):
        for name in value.__struct_fields__:
            yield f"{path}.{name}", getattr(value, name)
    elif hasattr(type(value), "__dataclass_fields__"):
        from dataclasses import fields  # is there, if there is one of them

        for field in fields(value):
            yield f"{path}.{field.name}", getattr(value, field.name)


def _too_deep(value: Any, path: str, depth: int = 0) -> None:
    if type(value) in PLAIN:
        return
    if depth > DEEPEST:
        raise TooLarge(f"{path[:200]} is nested over {DEEPEST} levels deep, or contains itself")
    if isinstance(value, datetime | time) and value.tzinfo is None and isinstance(value, datetime):
        raise NotEncodable(
            f"{path} is a datetime without a time zone: {value}; write datetime(…, tzinfo=UTC)", path=path
        )
    for where, item in _parts(value, path):
        _too_deep(item, where, depth + 1)


def _first_unencodable(value: Any, path: str) -> tuple[str, Any]:
    for where, item in _parts(value, path):
        try:
            _encoder.encode(item)
        except Exception:
            return _first_unencodable(item, where)
    return path, value


def _lost_in_json(value: Any, path: str) -> str:
    """Where the first number is that JSON has no form for; "" when there is none."""
    if isinstance(value, float):
        return "" if math.isfinite(value) else path
    return next(filter(None, (_lost_in_json(item, where) for where, item in _parts(value, path))), "")


def _compare(sent: Any, came: Any, path: str) -> None:
    """Raise NotEncodable unless the value came back equal and of the same type."""
    if type(sent) is int and type(came) is float and sent == came:
        return  # PEP 484: an int is welcome where a float is declared
    if type(sent) is not type(came):
        raise NotEncodable(
            f"{path} is a {type(sent).__qualname__} and would come back as {type(came).__qualname__}: {_shown(sent)};"
            " annotate the parameter with its type, or pass what JSON can hold",
            path=path,
        )
    parts = list(_parts(sent, path))
    if isinstance(sent, Mapping) and isinstance(came, Mapping):
        if list(sent) != list(came) and [*map(_moment, sent)] != [*map(_moment, came)]:
            raise NotEncodable(f"{path} has keys that JSON would change: {_shown(list(sent))}", path=path)
        for (key, item), back in zip(sent.items(), came.values(), strict=True):
            _compare(item, back, f"{path}.{key}")
    elif parts and not isinstance(sent, set | frozenset):
        for (where, item), (_, back) in zip(parts, _parts(came, path), strict=True):
            _compare(item, back, where)
    elif sent != came and _moment(sent) != _moment(came):
        inside, back = _attributes(sent), _attributes(came)
        if not inside or inside.keys() != back.keys():
            raise NotEncodable(f"{path} would not come back equal: {_shown(sent)} becomes {_shown(came)}", path=path)
        for name, item in inside.items():
            _compare(item, back[name], f"{path}.{name}")


def _moment(value: Any) -> Any:
    """What is compared of a value. Of a moment it is how far it is from the epoch: by PEP 495, one at which a zone's
    clocks change equals none of another zone, not even the same moment."""
    if isinstance(value, datetime) and value.utcoffset() is not None:
        return value - _EPOCH
    return {_moment(it) for it in value} if isinstance(value, set | frozenset) else value


def _attributes(value: Any) -> dict[str, Any]:
    """What an object of pydantic or attrs holds, by name, also what it leaves out of its JSON; else nothing."""
    kind = type(value)
    if hasattr(kind, "__attrs_attrs__"):
        names = [it.name for it in kind.__attrs_attrs__]
    elif hasattr(kind, "model_fields"):
        names = [*kind.model_fields]
        names += [it for part in ("model_extra", "__pydantic_private__") for it in getattr(value, part, None) or ()]
    else:
        return {}
    return {name: getattr(value, name) for name in names}


# Arguments whose signature is not known


def checked_plain(given: Mapping[str, Any]) -> bytes:
    """Arguments by parameter name as a JSON object, for a job whose code is not known here.

    Raises:
        BadArguments: it is not an object of names.
        NotEncodable, TooLarge: as `Signature.encode`.
    """
    if not isinstance(given, Mapping) or not all(isinstance(name, str) for name in given):
        raise BadArguments('arguments are an object of names and values, such as {"to": "ada@example.org"}')
    _too_deep(given, "args")
    try:
        raw = _encoder.encode(given)
    except Exception as error:
        path, value = _first_unencodable(given, "args")
        raise NotEncodable(f"{path} cannot be kept as JSON: {_shown(value)}: {error}", path=path) from None
    if lost := _lost_in_json(given, "args"):
        raise NotEncodable(f"{lost} cannot be kept as JSON, which has neither infinity nor nan", path=lost)
    if len(raw) > LARGEST:
        raise TooLarge(f"the arguments take {len(raw):,} bytes, {LARGEST:,} are allowed")
    return raw


# Specs and failures

_spec_decoder = msgspec.json.Decoder(Spec)


def encode_spec(spec: Spec) -> bytes:
    """What was asked for, as the JSON that is stored; options only where there are some."""
    return msgspec.json.encode(spec if spec.options != NO_OPTIONS else (spec.name, spec.args))


def decode_spec(raw: bytes) -> Spec:
    """The reverse. Raises msgspec.DecodeError for bytes that are no spec."""
    try:
        return _spec_decoder.decode(raw)
    except RecursionError:
        raise msgspec.DecodeError("it is nested too deeply") from None


def encode_failure(failure: Failure) -> bytes:
    """One attempt's error, as the JSON that is stored."""
    return msgspec.json.encode(failure)


def decode_failure(raw: bytes) -> Failure:
    """The reverse. Raises msgspec.DecodeError."""
    failure: Failure = _decoder(Failure).decode(raw)
    return failure
