"""Middleware: code around every enqueue and every run, in one shape that serves sync and async code alike.

A layer is a generator that yields once: what stands before the `yield` runs before, what stands behind it runs after,
and what the enclosed code raises is raised at the `yield`. A generator never waits, so one text serves threads and the
loop. Composed into the call of a job by `registry.py` and around enqueues by `client.py`; where an app has no
middleware, nothing of this runs.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from procession.context import CurrentJob, current_job
from procession.errors import ConfigError

if TYPE_CHECKING:
    from procession.enqueuer import Call
    from procession.handle import JobHandle

    Around = Generator[Call[Any], JobHandle[Any], None]

R = TypeVar("R")

NOTHING_REFUSED: Mapping[int, BaseException] = MappingProxyType({})


class Middleware:
    """Subclass it and write one or both: `enqueue`, `perform`. The first that an app uses is the outermost.

    One instance serves all threads and the loop at once, so keep what belongs to one run in local variables.
    """

    def enqueue(self, call: Call[Any]) -> Around:
        """Around one enqueue, in the caller's thread or on its loop: do not block there.

        Yield the call that is to be stored (this one, or a changed one); the `yield` answers with its handle, or raises
        why nothing was stored. Raise before it to refuse the enqueue. In `enqueue_many`, all calls are yielded before
        any is stored.
        """
        yield call

    def perform(self, job: CurrentJob) -> Generator[None, Any, Any]:
        """Around one run, where that runs: in the thread of a `def` job, on the loop for `async def`, in the job
        process of an `executor="process"` job.

        The `yield` answers with what the job returned. Returning something other than None takes its place; an
        exception raised here is the outcome of the run, and one that is caught here and not raised again is gone: the
        job counts as processed.
        """
        return (yield)

    async def perform_async(self, job: CurrentJob, following: Callable[[], Awaitable[Any]]) -> Any:
        """Around one run of an `async def` job, for layers that have to await; by default it is what `perform` says.

        Call and await `following` once and return what it returned. `def` jobs never come here: write `perform` too.
        """
        layer = self.perform(job)
        _begin(layer, self, "perform")
        try:
            result = await following()
        except BaseException as error:
            return _raised(layer, error)
        return _returned(layer, self, "perform", result)


def around_runs(middleware: Sequence[Middleware], call: Callable[..., Any], *, on_loop: bool) -> Callable[..., Any]:
    """The call of a job within its layers, the first one outermost. Layers that say nothing of runs cost nothing."""
    for layer in reversed(middleware):
        kind = type(layer)
        if on_loop and (kind.perform, kind.perform_async) != (Middleware.perform, Middleware.perform_async):
            call = _layer_async(layer, call)
        elif not on_loop and kind.perform is not Middleware.perform:
            call = _layer(layer, call)
    return call


def around_enqueues(middleware: Sequence[Middleware]) -> list[Middleware]:
    """The layers that say something of enqueues."""
    return [layer for layer in middleware if type(layer).enqueue is not Middleware.enqueue]


class Enqueuing:
    """The layers around one trip of calls, from the outermost inwards and back. As a context manager it encloses the
    trip, sync or async alike, and sees to it that layers hear of an error."""

    def __init__(self, layers: Sequence[Middleware], calls: Iterable[Call[Any]]) -> None:
        self._layers = layers
        self.calls = list(calls)
        """What is to be stored, in order, as the layers have it."""
        self._open: list[list[tuple[Middleware, Around]]] = []

    def __enter__(self) -> Self:
        if self._layers:
            try:
                self.calls = [self._begun(call) for call in self.calls]
            except BaseException as error:
                self.__exit__(type(error), error, error.__traceback__)
                raise
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is not None and self._open:
            other = self._failed(error)
            if other is not error:
                raise other

    def stored(
        self, handles: list[JobHandle[R]], refused: Mapping[int, BaseException] = NOTHING_REFUSED
    ) -> list[JobHandle[R]]:
        """The store has answered: tell the layers of each call, the innermost first, its handle, or why it is `refused`
        (by its place). Raises the first of these errors, or of what a layer raises, when all are told."""
        raised = [*refused.values()] if not self._open else []
        for place, (opened, handle) in enumerate(zip(self._open, handles, strict=False)):  # no layers, nothing open
            error = refused.get(place)
            while opened and error is None:
                layer, generator = opened.pop()
                try:
                    _returned(generator, layer, "enqueue", handle)
                except BaseException as other:
                    error = other
            if error is not None:
                raised.append(_heard(opened, error))
        if raised:
            raise raised[0]
        return handles

    def _begun(self, call: Call[Any]) -> Call[Any]:
        opened: list[tuple[Middleware, Around]] = []
        self._open.append(opened)
        for layer in self._layers:
            generator = layer.enqueue(call)
            begun = _begin(generator, layer, "enqueue")
            opened.append((layer, generator))
            if not isinstance(begun, type(call)):
                raise ConfigError(f"{type(layer).__qualname__}.enqueue yielded {begun!r}; yield the call to be stored")
            call = begun
        return call

    def _failed(self, error: BaseException) -> BaseException:
        """Tell all layers that are open. Answers with the error for the caller, which a layer may replace; one that
        only catches it hides nothing."""
        for opened in self._open:
            error = _heard(opened, error)
        return error


def _heard(opened: list[tuple[Middleware, Around]], error: BaseException) -> BaseException:
    """The error, as the layers of one call leave it that are open still."""
    while opened:
        _, generator = opened.pop()
        try:
            _raised(generator, error)
        except BaseException as other:
            error = other
    return error


def _layer(layer: Middleware, call: Callable[..., Any]) -> Callable[..., Any]:
    def within(*args: Any, **kwargs: Any) -> Any:
        generator = layer.perform(current_job())
        _begin(generator, layer, "perform")
        try:
            result = call(*args, **kwargs)
        except BaseException as error:
            return _raised(generator, error)
        return _returned(generator, layer, "perform", result)

    return within


def _layer_async(layer: Middleware, call: Callable[..., Any]) -> Callable[..., Any]:
    async def within(*args: Any, **kwargs: Any) -> Any:
        return await layer.perform_async(current_job(), lambda: call(*args, **kwargs))

    return within


def _begin(generator: Generator[Any, Any, Any], layer: Middleware, name: str) -> Any:
    if not isinstance(generator, Generator):
        raise ConfigError(f"{type(layer).__qualname__}.{name} is no generator; yield once, or raise to refuse")
    try:
        return next(generator)
    except StopIteration:
        raise ConfigError(
            f"{type(layer).__qualname__}.{name} ended without a yield; yield once, or raise to refuse"
        ) from None


def _returned(generator: Generator[Any, Any, Any], layer: Middleware, name: str, value: Any) -> Any:
    try:
        generator.send(value)
    except StopIteration as end:
        return value if end.value is None else end.value
    generator.close()
    raise ConfigError(f"{type(layer).__qualname__}.{name} yielded twice; what it encloses happens once")


def _raised(generator: Generator[Any, Any, Any], error: BaseException) -> Any:
    try:
        generator.throw(error)
    except StopIteration as end:
        if end is error:
            raise
        return end.value
    except RuntimeError as wrapped:
        if isinstance(error, StopIteration) and wrapped.__cause__ is error:  # PEP 479 made it one on its way through
            raise error from None
        raise
    generator.close()
    raise ConfigError("a layer of middleware yielded again after an error") from error
