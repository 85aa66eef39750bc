"""`delayed`: plain functions become lazy.

Covers: `delayed`, `DelayedFunction` (a function whose calls are promises, with the canvas verbs).
Does not cover: promises (language.promise), canvases (language.canvas), making graphs (planning.lower).
"""

from __future__ import annotations

import sys
from sys import _getframe
from types import CoroutineType
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, overload

from lazygraph.errors import InvalidOption, ReturnedPromise, WrongCanvas
from lazygraph.language.calls import Contract, site_of, taken
from lazygraph.language.canvas import Chain
from lazygraph.language.composing import group
from lazygraph.language.filling import GATHER
from lazygraph.language.methods import Method
from lazygraph.language.promise import ATOMS, Delayed, build, settled
from lazygraph.language.signature import Signature
from lazygraph.language.travel import Travelling
from lazygraph.values.node import External, Node, Quoted, Recipe, Replacement, Site, identity
from lazygraph.values.options import DEFAULT, TaskOptions, ambient, changed, in_context

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Mapping
    from typing import Concatenate, Literal, NoReturn, Protocol, Unpack

    from lazygraph.language.typed import (
        Builtin,
        Function,
        Loose,
        LoosePair,
        MakesOne,
        Open,
        Silent,
        SilentPair,
        Takes1,
    )
    from lazygraph.values.keywords import Binding, OfCalls, OfFunctions, Plain
    from lazygraph.values.lazy import Lazy
    from lazygraph.values.verbs import Future, GroupResult

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
K = TypeVar("K")
T = TypeVar("T")

_new = object.__new__
_NOWHERE = Site(identity.__code__, -1)

if not TYPE_CHECKING:

    class Function(Delayed, Generic[P, R_co]):
        """What checkers know of it is in language.typed."""

        __slots__ = ()


class DelayedFunction(Function[P, R_co], Recipe):
    """A function whose calls are promises.  Itself it is a promise of the function, and has the canvas verbs."""

    __slots__ = ("__dict__", "_contract", "_last_site", "_options_of_calls")

    def __init__(self, function: Callable[..., Any], options: TaskOptions, site: Site | str) -> None:
        super().__init__(identity, (function,), None, DEFAULT, site)
        self._contract = Contract(function, bound=1 if options.bind else 0)
        self._options_of_calls = options
        self._last_site = _NOWHERE
        for name in ("__module__", "__name__", "__qualname__", "__doc__", "__annotations__", "__wrapped__"):
            value = function if name == "__wrapped__" else getattr(function, name, None)
            if value is not None:
                self.__dict__[name] = value

    def __repr__(self) -> str:
        return f"<delayed function {self._contract.name!r}>"

    def __or__(self, other: Any) -> NoReturn:
        raise WrongCanvas(f"{self!r} has no place in a chain; write {self._contract.name}.s(...)")

    __ror__ = __or__

    def to_nodes(self, *args: Any) -> Any:
        """As an argument of another call, a delayed function is its function."""
        return self._leaves[0]

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (Travelling(self._leaves[0]), self._options_of_calls)

    @property
    def key(self) -> str:
        """The function's name."""
        return self._contract.name

    def called(self, args: tuple[Any, ...], kwargs: dict[str, Any], site: Site) -> Delayed:
        """Return the promise of one call that was written at `site`."""
        options = in_context(self._options_of_calls)
        contract = self._contract
        if kwargs:
            options, kwargs = taken(options, contract.name, kwargs, contract.ours)
        if kwargs or not contract.least <= len(args) <= contract.most:
            contract.check(args, kwargs, site)
        return build(self._leaves[0], args, kwargs, options, site)

    def like(self, function: Callable[..., Any]) -> DelayedFunction[..., Any]:
        """Return another function made lazy as this one is."""
        return DelayedFunction(function, self._options_of_calls, self._site)

    # -- calls and the canvas verbs ----------------------------------------------------------------

    if not TYPE_CHECKING:  # their types are in language.typed

        def __call__(self, /, *args: Any, **kwargs: Any) -> Delayed:
            # `called` for the plainest of calls, in one frame: graphs are made of these by the million.
            frame, site, contract = _getframe(1), self._last_site, self._contract
            if site.instruction != frame.f_lasti or site.code is not frame.f_code:  # calls in a loop share theirs
                site = self._last_site = Site(frame.f_code, frame.f_lasti)
            if kwargs or not contract.least <= len(args) <= contract.most or ambient():
                return self.called(args, kwargs, site)
            for leaf in args:
                if type(leaf) not in ATOMS:
                    return self.called(args, kwargs, site)
            node = _new(Delayed)  # as Delayed.__init__ does it
            node._function = self._leaves[0]
            node._leaves = args
            node._options = options = self._options_of_calls
            node._site = site
            node._after = node._links = ()
            node._template = node._scope = None
            node._key = options.key
            return node

        def __get__(self, instance: Any, owner: Any = None) -> Any:
            return self if instance is None or "_static" in self.__dict__ else Method(self, instance)

        def s(self, /, *args: Any, **kwargs: Any) -> Signature:
            """Return a signature: a call whose first arguments come from what is before it in a canvas."""
            return self._partial(args, kwargs, immutable=False, site=site_of(sys._getframe(1)))

        def si(self, /, *args: Any, **kwargs: Any) -> Signature:
            """Return an immutable signature: it waits for what is before it and ignores its value."""
            return self._partial(args, kwargs, immutable=True, site=site_of(sys._getframe(1)))

        def map(self, items: Iterable[Any]) -> Signature:
            """Return one task that calls the function on each item and gives the list."""
            return self._many(map_items, items, sys._getframe(1))

        def delay(self, /, *args: Any, **kwargs: Any) -> Any:
            """Start one call in the default executor; return its Future."""
            return self._partial(args, kwargs, immutable=False, site=site_of(sys._getframe(1))).delay()

    @overload
    def options(
        self: Takes1[Any, Q, Delayed[R]], *, bind: Literal[True], **given: Unpack[OfCalls]
    ) -> DelayedFunction[Q, R]: ...
    @overload
    def options(self, **given: Unpack[OfFunctions]) -> DelayedFunction[P, R_co]: ...
    def options(self: Any, **given: Any) -> Any:
        """Return the same function with other options for its calls."""
        return DelayedFunction(self._leaves[0], changed(self._options_of_calls, self._contract.name, given), self._site)

    def signature(
        self,
        args: Iterable[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        immutable: bool = False,
        **options: Unpack[OfCalls],
    ) -> Signature[Any, R_co]:
        """Return a signature, as Celery spells it: the arguments as one tuple, options as keywords."""
        site = site_of(sys._getframe(1))
        made = self._partial(tuple(args), dict(kwargs or {}), immutable=immutable, site=site)
        return made.set(**options) if options else made

    def starmap(self, items: Iterable[Iterable[Any]]) -> Signature[object, list[R_co]]:
        """Return one task that calls the function on each tuple of arguments and gives the list."""
        return self._many(starmap_items, items, sys._getframe(1))

    def chunks(
        self, items: Iterable[Iterable[Any]], size: int
    ) -> Chain[object, list[list[R_co]], GroupResult[list[R_co]]]:
        """Return a canvas of `starmap` tasks of at most `size` calls each; it gives a list of lists."""
        if size < 1:
            raise InvalidOption(f"chunks(size={size!r}): a chunk holds at least 1 call")
        rows = _rows(items, f"{self._contract.name}.chunks")
        frame = sys._getframe(1)
        # In a chain, because it is one member of whatever group it stands in.
        return Chain(
            (group(self._many(starmap_items, rows[at : at + size], frame) for at in range(0, len(rows), size)),)
        )

    def apply_async(
        self, args: Iterable[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> Future[R_co]:
        """Start one call with options (`link=` among them) in the default executor; return its Future."""
        signature = self._partial(tuple(args), dict(kwargs or {}), immutable=False, site=site_of(sys._getframe(1)))
        future: Future[R_co] = signature.apply_async(**options)
        return future

    def _partial(self, args: tuple[Any, ...], kwargs: dict[str, Any], *, immutable: bool, site: Site) -> Signature:
        # Nothing will ever be added to an immutable one.
        (self._contract.check if immutable else self._contract.check_part)(args, kwargs, site)
        options = in_context(self._options_of_calls)
        if kwargs:
            kwargs = dict(zip(kwargs, settled(list(kwargs.values())), strict=True))
        return Signature(self._leaves[0], self._contract, options, settled(args), kwargs, immutable, site)

    def _many(self, how: Callable[..., Any], items: Iterable[Any], frame: Any) -> Signature:
        name = f"{self._contract.name}.{how.__name__.partition('_')[0]}"
        options = in_context(changed(self._options_of_calls, name, {"name": name}))
        return Signature(how, Contract(how), options, (self._leaves[0], _rows(items, name)), {}, True, site_of(frame))


def _rows(items: Any, verb: str) -> list[Any]:
    if isinstance(items, Node | External | Recipe):
        raise WrongCanvas(f"{verb}() takes a list that is known now, not {items!r}; for what a task returns use each()")
    try:
        return list(items)
    except TypeError:
        raise WrongCanvas(f"{verb}() takes a list, not {items!r}") from None


def map_items(function: Callable[..., Any], items: Iterable[Any]) -> Any:
    """Call the function on each item: the task behind `.map`."""
    return _whole([function(item) for item in items])


def starmap_items(function: Callable[..., Any], items: Iterable[Iterable[Any]]) -> Any:
    """Call the function on each tuple of arguments: the task behind `.starmap`."""
    return _whole([function(*item) for item in items])


def _whole(values: list[Any]) -> Any:
    """Return the list of many calls' values; where some are to be replaced, what becomes the list once they are."""
    if any(isinstance(value, CoroutineType) for value in values):
        return _awaited(values)
    for value in values:
        if isinstance(value, Node):
            raise ReturnedPromise(repr(value))
    if not any(isinstance(value, Replacement) for value in values):
        return values
    parts = [value.lazy if isinstance(value, Replacement) else Quoted(value) for value in values]
    return Replacement(build(identity, (parts,), {}, GATHER, "many calls in one task"))


async def _awaited(values: list[Any]) -> Any:
    import asyncio  # only those pay for it who write async tasks

    ended = iter(await asyncio.gather(*[value for value in values if isinstance(value, CoroutineType)]))
    return _whole([next(ended) if isinstance(value, CoroutineType) else value for value in values])


def _again(function: Callable[..., Any], options: TaskOptions) -> DelayedFunction[..., Any]:
    return DelayedFunction(function, options, "")


_NOTHING: Any = object()

if TYPE_CHECKING:
    # What is loose or silent is a case of what comes after it, and earlier on purpose.
    class Decorator(Protocol):
        """`@delayed(retries=3)`."""

        @overload
        def __call__(self, obj: SilentPair[P, R], /) -> DelayedFunction[P, R]: ...  # type: ignore[overload-overlap]
        @overload
        def __call__(self, obj: LoosePair, /) -> DelayedFunction[..., Any]: ...
        @overload
        def __call__(self, obj: Silent[P, R], /) -> DelayedFunction[P, R]: ...  # type: ignore[overload-overlap]
        @overload
        def __call__(self, obj: Loose, /) -> DelayedFunction[..., Any]: ...
        @overload
        def __call__(self, obj: Open[P, R], /) -> DelayedFunction[P, R]: ...
        @overload
        def __call__(self, obj: Callable[P, Coroutine[Any, Any, R]], /) -> DelayedFunction[P, R]: ...
        @overload
        def __call__(self, obj: Callable[P, R], /) -> DelayedFunction[P, R]: ...

    class BindingDecorator(Protocol):
        """`@delayed(bind=True)`: the context, which comes first, is not the caller's."""

        @overload
        def __call__(self, obj: Callable[Concatenate[Any, P], Coroutine[Any, Any, R]], /) -> DelayedFunction[P, R]: ...
        @overload
        def __call__(self, obj: Callable[Concatenate[Any, P], R], /) -> DelayedFunction[P, R]: ...


@overload
def delayed(*, name: str | None = ..., **options: Unpack[Binding]) -> BindingDecorator: ...
@overload
def delayed(*, name: str | None = ..., **options: Unpack[Plain]) -> Decorator: ...
@overload
def delayed(obj: DelayedFunction[P, R], name: str | None = ..., **options: Unpack[Plain]) -> DelayedFunction[P, R]: ...
@overload
def delayed(obj: Lazy[T], name: str | None = ..., **options: Unpack[Plain]) -> Delayed[T]: ...
@overload
def delayed(
    obj: Callable[Concatenate[Any, P], Coroutine[Any, Any, R]], name: str | None = ..., **options: Unpack[Binding]
) -> DelayedFunction[P, R]: ...
@overload
def delayed(
    obj: Callable[Concatenate[Any, P], R], name: str | None = ..., **options: Unpack[Binding]
) -> DelayedFunction[P, R]: ...
@overload
def delayed(obj: type[Builtin], name: str | None = ..., **options: Unpack[Plain]) -> DelayedFunction[..., Builtin]: ...
@overload
def delayed(  # type: ignore[overload-overlap]
    obj: SilentPair[P, R], name: str | None = ..., **options: Unpack[Plain]
) -> DelayedFunction[P, R]: ...
@overload
def delayed(obj: LoosePair, name: str | None = ..., **options: Unpack[Plain]) -> DelayedFunction[..., Any]: ...
@overload
def delayed(  # type: ignore[overload-overlap]
    obj: Silent[P, R], name: str | None = ..., **options: Unpack[Plain]
) -> DelayedFunction[P, R]: ...
@overload
def delayed(obj: Loose, name: str | None = ..., **options: Unpack[Plain]) -> DelayedFunction[..., Any]: ...
@overload
def delayed(obj: MakesOne[P, T], name: str | None = ..., **options: Unpack[Plain]) -> DelayedFunction[P, T]: ...
@overload
def delayed(obj: Open[P, R], name: str | None = ..., **options: Unpack[Plain]) -> DelayedFunction[P, R]: ...
@overload
def delayed(
    obj: Callable[P, Coroutine[Any, Any, R]], name: str | None = ..., **options: Unpack[Plain]
) -> DelayedFunction[P, R]: ...
@overload
def delayed(obj: Callable[P, R], name: str | None = ..., **options: Unpack[Plain]) -> DelayedFunction[P, R]: ...
@overload
def delayed(obj: list[Lazy[T]], name: str | None = ..., **options: Unpack[Plain]) -> Delayed[list[T]]: ...
@overload
def delayed(obj: dict[K, Lazy[T]], name: str | None = ..., **options: Unpack[Plain]) -> Delayed[dict[K, T]]: ...
@overload
def delayed(obj: T, name: str | None = ..., **options: Unpack[Plain]) -> Delayed[T]: ...
def delayed(
    obj: Any = _NOTHING,
    name: str | None = None,
    pure: bool | None = None,
    nout: int | None = None,
    traverse: bool = True,
    **options: Any,
) -> Any:
    """Make a function lazy, or a value a promise.

    Used as `@delayed`, `@delayed(retries=3)`, `delayed(f)(x)` or `delayed([a, {"k": b}])`.  `name` is the key of a
    wrapped value or the display name of a function's calls; `pure` says that equal calls may share one node; `nout`
    how many outputs a call has; `traverse=False` does not look for promises inside a collection.  All task options of
    `TaskOptions` are taken.  Raises `UnknownOption` for others.
    """
    given = {key: value for key, value in (("name", name), ("pure", pure), ("nout", nout)) if value is not None}
    given.update(options)
    row = changed(DEFAULT, "delayed()", given)
    site = site_of(sys._getframe(1))
    if obj is _NOTHING:
        return lambda function: _promise(function, given, row, traverse, site)
    return _promise(obj, given, row, traverse, site)


def _promise(obj: Any, given: dict[str, Any], row: TaskOptions, traverse: bool, site: Site) -> Delayed:
    if isinstance(obj, Method):
        obj = obj.bound()
    if isinstance(obj, DelayedFunction):
        return obj.options(**given) if given else obj
    if isinstance(obj, staticmethod):
        made: DelayedFunction[..., Any] = DelayedFunction(obj.__func__, row, site)
        made.__dict__["_static"] = True
        return made
    if isinstance(obj, classmethod):
        raise InvalidOption(f"@delayed stands above @classmethod at {site}; write @classmethod first, then @delayed")
    if isinstance(obj, Recipe):
        obj = obj.to_delayed()
    if isinstance(obj, Delayed) and not given:
        return obj
    if callable(obj) and not isinstance(obj, Node | External):
        return DelayedFunction(obj, row, site)
    said = {"key" if key == "name" else key: value for key, value in given.items()}
    options = in_context(changed(DEFAULT, "delayed()", {"name": type(obj).__name__, **said}))
    if not traverse:
        return Delayed(identity, (obj,), None, options, site)
    return build(identity, (obj,), {}, options, site)
