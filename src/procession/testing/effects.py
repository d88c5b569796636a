"""What runs do to the world outside, as far as a test lets the kit see it: enqueues, watched calls, records.

Each effect belongs to the run that had it, so that two runs of one job can be compared (`drills.py`). An effect is
noted after it happened, and that is also where a drill may strike. What nobody watches is not seen, and no report says
anything about it.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, Literal

from msgspec import Struct
from msgspec.structs import replace

from procession.context import CURRENT
from procession.errors import ConfigError

CALLED: Any = object()
"""In the place of an answer: that of the real function."""
LONGEST = 200
"""Characters of one argument that are kept and compared."""


class Effect(Struct, frozen=True, kw_only=True):
    """One thing that a run did."""

    kind: Literal["call", "enqueue", "record"]
    what: str
    """The function, the job, or the text that was recorded."""
    details: str = ""
    """The arguments as text; what two runs have in common is the same effect."""
    key: str | None = None
    """An idempotency key that went with it: the other side does the same key once."""
    changed: bool = True
    """False for an enqueue that stored nothing because the job was there already."""
    fence: int = 0
    """Which run it was: `current_job().fence`; 0 outside of a run."""
    unwinding: bool = False
    """It came from `finally` or `except` blocks of a run that was killed. A killed process runs none."""

    def __str__(self) -> str:
        if self.kind == "record":
            return f"{self.what} {self.details}".strip()
        said = f"{self.what}({self.details})"
        return f"enqueue {said}" if self.kind == "enqueue" else said


class Effects:
    """The effects of one test. `log` is all of them, in order."""

    def __init__(self) -> None:
        self.log: list[Effect] = []
        self.struck: Callable[[int], None] = lambda fence: None
        """Called after each effect of a run, with its fence; a drill may raise here. For the kit."""
        self.run: list[int] = []
        """The fences of the runs that go on, the newest last, for effects of threads that know no job. For the kit."""
        self.killed: set[int] = set()
        """Runs that have been killed. For the kit."""
        self._watched: list[tuple[Any, str, Any, bool]] = []

    def record(self, what: str, *details: Any) -> None:
        """Say that something was done: `effects.record("mail sent", to)`, in a stand-in of your own for example."""
        self.add(Effect(kind="record", what=what, details=", ".join(_shown(it) for it in details)))

    def watch(self, owner: Any, name: str, *, key: str | None = None, returns: Any = CALLED) -> None:
        """Note each call of `owner.name`, a function of a module or a method of a class or object, until the test ends.

        Args:
            key: the parameter that carries an idempotency key. Two calls with the same key count as one.
            returns: answer this and do not call the real one; by default the real one is called.

        Raises:
            ConfigError: there is no such function, or it cannot be replaced, as those of types written in C.
        """
        missing = object()
        static = inspect.getattr_static(owner, name, missing)
        if static is missing or not callable(getattr(owner, name)):
            raise ConfigError(f"{owner!r} has no function {name!r} to watch")
        bound = not (inspect.isclass(owner) and inspect.isfunction(static))
        original: Any = getattr(owner, name) if bound else static
        watching = self._watching(original, f"{_name(owner)}.{name}", key, returns, 0 if bound else 1)
        own = name in vars(owner) if hasattr(owner, "__dict__") else True
        try:
            setattr(owner, name, staticmethod(watching) if bound and inspect.isclass(owner) else watching)
        except (AttributeError, TypeError) as error:
            raise ConfigError(
                f"{_name(owner)}.{name} cannot be watched: {error}; watch a function of your own that calls it, or say"
                " effects.record(…) there"
            ) from None
        self._watched.append((owner, name, static, own))

    def close(self) -> None:
        """Put back what was watched."""
        while self._watched:
            owner, name, static, own = self._watched.pop()
            if own:
                setattr(owner, name, static)
            else:
                delattr(owner, name)

    def add(self, *effects: Effect) -> None:
        """Note effects of the run that goes on here, if one does; several are what one trip to the store did."""
        current = CURRENT.get()
        fence = current.fence if current is not None else self.run[-1] if self.run else 0
        dead = fence in self.killed
        self.log += [replace(effect, fence=fence, unwinding=dead) for effect in effects]
        if fence and not dead:
            for _ in effects:
                self.struck(fence)

    def of_run(self, fence: int) -> tuple[Effect, ...]:
        """What one run did."""
        return tuple(it for it in self.log if it.fence == fence)

    def _watching(self, original: Any, what: str, key: str | None, returns: Any, skipped: int) -> Any:
        signature = _signature(original)
        if key is not None and signature is not None and key not in signature.parameters:
            raise ConfigError(f"{what}{signature} has no parameter {key!r} to carry a key")

        def noted(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            given = _named(signature, args, kwargs)
            its = given.pop(key, None) if key is not None else None
            shown = [*given.values()][skipped:] if given else []
            named = [*given][skipped:] if given else []
            details = ", ".join(f"{n}={_shown(v)}" for n, v in zip(named, shown, strict=True))
            self.add(Effect(kind="call", what=what, details=details, key=None if its is None else _shown(its)))

        if inspect.iscoroutinefunction(original):

            @functools.wraps(original)
            async def calling_async(*args: Any, **kwargs: Any) -> Any:
                result = await original(*args, **kwargs) if returns is CALLED else returns
                noted(args, kwargs)
                return result

            return calling_async

        @functools.wraps(original)
        def calling(*args: Any, **kwargs: Any) -> Any:
            result = original(*args, **kwargs) if returns is CALLED else returns
            noted(args, kwargs)
            return result

        return calling


def _signature(function: Any) -> inspect.Signature | None:
    try:
        return inspect.signature(function)
    except (TypeError, ValueError):  # a builtin that does not say
        return None


def _named(signature: inspect.Signature | None, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    if signature is not None:
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError:  # `returns=` takes what the real one would refuse
            pass
        else:
            return dict(bound.arguments)
    return {**{str(at): value for at, value in enumerate(args)}, **kwargs}


def _name(owner: Any) -> str:
    name = getattr(owner, "__name__", None) or type(owner).__name__
    return str(name).rpartition(".")[2]


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
