"""`delayed`: plain functions become lazy.

Covers: `delayed`, `DelayedFunction` (a function whose calls are promises, with the canvas verbs).
Does not cover: promises (language.promise), canvases (language.canvas), making graphs (planning.lower).
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from lazygraph.errors import InvalidOption, WrongCanvas
from lazygraph.language.calls import Contract, site_of, taken
from lazygraph.language.canvas import Chain
from lazygraph.language.composing import group
from lazygraph.language.filling import GATHER
from lazygraph.language.promise import Delayed, build, settled
from lazygraph.language.signature import Signature
from lazygraph.language.travel import Travelling
from lazygraph.values.node import External, Node, Quoted, Recipe, Replacement, Site, identity
from lazygraph.values.options import DEFAULT, TaskOptions, changed, in_context

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping


class DelayedFunction(Delayed, Recipe):
    """A function whose calls are promises.  Itself it is a promise of the function, and has the canvas verbs."""

    __slots__ = ("__dict__", "_contract", "_options_of_calls")

    def __init__(self, function: Callable[..., Any], options: TaskOptions, site: Site | str) -> None:
        super().__init__(identity, (function,), None, DEFAULT, site)
        self._contract = Contract(function, bound=1 if options.bind else 0)
        self._options_of_calls = options
        for name in ("__module__", "__name__", "__qualname__", "__doc__", "__annotations__", "__wrapped__"):
            value = function if name == "__wrapped__" else getattr(function, name, None)
            if value is not None:
                self.__dict__[name] = value

    def __call__(self, /, *args: Any, **kwargs: Any) -> Delayed:
        site = site_of(sys._getframe(1))
        options = in_context(self._options_of_calls)
        contract = self._contract
        if kwargs:
            options, kwargs = taken(options, contract.name, kwargs, contract.ours)
        if kwargs or not contract.least <= len(args) <= contract.most:
            contract.check(args, kwargs, site)
        return build(self._leaves[0], args, kwargs, options, site)

    def __repr__(self) -> str:
        return f"<delayed function {self._contract.name!r}>"

    def __or__(self, other: Any) -> Any:
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

    # -- the canvas verbs --------------------------------------------------------------------------

    def options(self, **given: Any) -> DelayedFunction:
        """Return the same function with other options for its calls."""
        return DelayedFunction(self._leaves[0], changed(self._options_of_calls, self._contract.name, given), self._site)

    def s(self, /, *args: Any, **kwargs: Any) -> Signature:
        """Return a signature: a call whose first arguments come from what is before it in a canvas."""
        return self._partial(args, kwargs, immutable=False, site=site_of(sys._getframe(1)))

    def si(self, /, *args: Any, **kwargs: Any) -> Signature:
        """Return an immutable signature: it waits for what is before it and ignores its value."""
        return self._partial(args, kwargs, immutable=True, site=site_of(sys._getframe(1)))

    def signature(
        self, args: Iterable[Any] = (), kwargs: Mapping[str, Any] | None = None, immutable: bool = False, **options: Any
    ) -> Signature:
        """Return a signature, as Celery spells it: the arguments as one tuple, options as keywords."""
        site = site_of(sys._getframe(1))
        made = self._partial(tuple(args), dict(kwargs or {}), immutable=immutable, site=site)
        return made.set(**options) if options else made

    def map(self, items: Iterable[Any]) -> Signature:
        """Return one task that calls the function on each item and gives the list."""
        return self._many(map_items, items, sys._getframe(1))

    def starmap(self, items: Iterable[Iterable[Any]]) -> Signature:
        """Return one task that calls the function on each tuple of arguments and gives the list."""
        return self._many(starmap_items, items, sys._getframe(1))

    def chunks(self, items: Iterable[Iterable[Any]], size: int) -> Chain:
        """Return a canvas of `starmap` tasks of at most `size` calls each; it gives a list of lists."""
        if size < 1:
            raise InvalidOption(f"chunks(size={size!r}): a chunk holds at least 1 call")
        rows = list(items)
        frame = sys._getframe(1)
        # In a chain, because it is one member of whatever group it stands in.
        return Chain(
            (group(self._many(starmap_items, rows[at : at + size], frame) for at in range(0, len(rows), size)),)
        )

    def delay(self, /, *args: Any, **kwargs: Any) -> Any:
        """Start one call in the default executor; return its Future."""
        return self._partial(args, kwargs, immutable=False, site=site_of(sys._getframe(1))).delay()

    def apply_async(self, args: Iterable[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Any) -> Any:
        """Start one call with options (`link=` among them) in the default executor; return its Future."""
        signature = self._partial(tuple(args), dict(kwargs or {}), immutable=False, site=site_of(sys._getframe(1)))
        return signature.apply_async(**options)

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
        return Signature(how, Contract(how), options, (self._leaves[0], list(items)), {}, True, site_of(frame))


def map_items(function: Callable[..., Any], items: Iterable[Any]) -> Any:
    """Call the function on each item: the task behind `.map`."""
    return _whole([function(item) for item in items])


def starmap_items(function: Callable[..., Any], items: Iterable[Iterable[Any]]) -> Any:
    """Call the function on each tuple of arguments: the task behind `.starmap`."""
    return _whole([function(*item) for item in items])


def _whole(values: list[Any]) -> Any:
    """Return the list of many calls' values; where some are to be replaced, what becomes the list once they are."""
    if not any(isinstance(value, Replacement) for value in values):
        return values
    parts = [value.lazy if isinstance(value, Replacement) else Quoted(value) for value in values]
    return Replacement(build(identity, (parts,), {}, GATHER, "many calls in one task"))


def _again(function: Callable[..., Any], options: TaskOptions) -> DelayedFunction:
    return DelayedFunction(function, options, "")


_NOTHING: Any = object()


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
    if isinstance(obj, DelayedFunction):
        return obj.options(**given) if given else obj
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
