"""What cached tasks call: a function whose value is kept, and one that fetches what was kept.

Both travel in the table of functions and run wherever tasks do, so no executor needs to know of them.  A value that
cannot be kept is given all the same, with a warning.

Covers: looking a call up by its arguments, keeping its value, also that of a coroutine or a replacement.
Does not cover: which task calls what (planning.caching), stores (executors.files).
"""

from __future__ import annotations

import warnings
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from lazygraph.errors import CacheWarning, LostData, Unkeyable, WorkerDied
from lazygraph.language.promise import Delayed
from lazygraph.values.forms import Form, digest
from lazygraph.values.keys import Keys, as_key
from lazygraph.values.node import Node, Replacement
from lazygraph.values.options import TaskOptions
from lazygraph.values.references import portable, restored

if TYPE_CHECKING:
    from collections.abc import Callable

    from lazygraph.values.storing import ResultStore


class Kept:
    """Calls a function and keeps its value under `key`; without one, under a key of `token` and the arguments' values.

    What is there already is not made.  `node` and `origin` say in warnings which task it is.  `once`: a call that was
    begun, of which there is no value, is an error: whoever had begun it has died.
    """

    __slots__ = ("function", "key", "node", "once", "origin", "store", "token")

    def __init__(
        self,
        function: Callable[..., Any],
        key: str | None,
        token: bytes,
        store: ResultStore,
        node: str,
        origin: str,
        once: bool = False,
    ) -> None:
        self.function, self.key, self.token, self.store = function, key, token, store
        self.node, self.origin, self.once = node, origin, once

    def __reduce__(self) -> tuple[Any, ...]:
        facts = self.key, self.token, self.store, self.node, self.origin, self.once
        return _kept_again, (portable(self.function), *facts)

    def __repr__(self) -> str:
        return f"<kept {self.node!r} built at {self.origin}>"

    def __lazygraph_key__(self) -> Any:
        return self.key, self.token, repr(self.store)

    def around(self, function: Callable[..., Any]) -> Kept:
        """Return the same for another function in its place, one that watches it."""
        return Kept(function, self.key, self.token, self.store, self.node, self.origin, self.once)

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        key = self.key or self._key_of(args, kwargs)
        if key is not None:
            found = self.store.load(key)
            if found is not None:
                return found.value
        if self.once and key is not None:
            self._begin(key)
        returned = self.function(*args, **kwargs)
        return returned if key is None else self._after(key, returned)

    def _begin(self, key: str) -> None:
        """Note that it begins.  Raises `WorkerDied` if that was noted before."""
        mark = as_key(f"{key} begun".encode())
        if self.store.find(mark):
            raise WorkerDied(self.node, 1, "an earlier process of this run")
        self.store.keep(mark, True, f"{self.node} has begun")

    def _key_of(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str | None:
        try:
            keys = Keys()
            return as_key(digest(Form("call of values"), [self.token, keys.token(args), keys.token(kwargs)]))
        except Unkeyable as error:
            self.warn(f"an argument has no key: {error}")
            return None

    def _after(self, key: str, returned: Any) -> Any:
        """Return what was returned, having kept it, or what keeps it later."""
        if isinstance(returned, Coroutine):
            return self._awaited(key, returned)
        if isinstance(returned, Replacement):
            row = TaskOptions(name=self.node)
            return Replacement(Delayed(Keeping(self, key), (returned.lazy,), None, row, self.origin))
        if not isinstance(returned, Node):  # else it is an error, and the runner says so
            self.keep(key, returned)
        return returned

    async def _awaited(self, key: str, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return self._after(key, await coroutine)

    def keep(self, key: str, value: Any) -> None:
        """Keep a value; where that is not possible, warn."""
        try:
            self.store.keep(key, value, self.node)
        except Exception as error:
            self.warn(f"{type(error).__name__}: {error}")

    def warn(self, why: str) -> None:
        """Say that the value is not kept."""
        warnings.warn(
            CacheWarning(f"the value of {self.node!r} (built at {self.origin}) is not kept", why), stacklevel=3
        )


def _kept_again(function: Any, *facts: Any) -> Kept:
    return Kept(restored(function), *facts)


class Keeping:
    """Called with what a task was replaced by: keeps that as the task's value."""

    __slots__ = ("_kept", "_key")

    def __init__(self, kept: Kept, key: str) -> None:
        self._kept, self._key = kept, key

    def __reduce__(self) -> tuple[Any, ...]:
        return Keeping, (self._kept, self._key)

    def __call__(self, value: Any, /) -> Any:
        self._kept.keep(self._key, value)
        return value


class Found:
    """Fetches what was found under a key.  If it has gone since, the task becomes what makes it again."""

    __slots__ = ("key", "node", "origin", "store")

    def __init__(self, key: str, store: ResultStore, node: str, origin: str) -> None:
        self.key, self.store, self.node, self.origin = key, store, node, origin

    def __reduce__(self) -> tuple[Any, ...]:
        return Found, (self.key, self.store, self.node, self.origin)

    def __repr__(self) -> str:
        return f"<found {self.node!r} built at {self.origin}>"

    def __lazygraph_key__(self) -> Any:
        return self.key, repr(self.store)

    def __call__(self, recipes: Any, /) -> Any:
        """Return the value; `recipes` (planning.caching) know how to make it again."""
        found = self.store.load(self.key)
        if found is not None:
            return found.value
        promise = recipes.promise(self.key)
        if promise is None:
            what = f"the kept value of {self.node!r} (built at {self.origin})"
            raise LostData(what, f"{self.store!r} had it when the run was planned; run it again")
        return Replacement(promise)
