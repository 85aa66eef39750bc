"""Content keys: equal content, equal key, in every process, on every machine, under every hash seed.

    >>> key_of([1, 2]) == key_of([1, 2])
    True
    >>> key_of([1, 2]) == key_of([2, 1])
    False

A value is taken apart level by level (values.canonical) and put together again from digests, parts before wholes; what
occurs twice is looked at once.  Values that contain themselves are told apart as far as any walk through them could:
every member of such a knot starts with what it is without the others and takes in its neighbours' digests until that
tells nothing new.  Two objects that look alike from every side have one key, however often either is repeated.

Covers: tokens and keys of any value, the path to what can have none.
Does not cover: what a value is (values.canonical), why two keys differ (values.differences), calls (planning.sharing).
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from lazygraph.errors import Unkeyable
from lazygraph.values.canonical import form_of
from lazygraph.values.forms import ATOMS, SIZE, Form, digest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["Keys", "Unkeyable", "as_key", "key_of"]

_NOTHING: Any = object()
_SHOWN = 4
"""How many steps of a long path are shown at either end."""


def key_of(value: Any) -> str:
    """Return the content key of a value, 40 hexadecimal digits.  Raises `Unkeyable` with the path to what has none."""
    return as_key(Keys().token(value))


def as_key(token: bytes) -> str:
    """Return the key that is made of a token."""
    return (token[1:] if token[:1] == b"#" else blake2b(token, digest_size=SIZE).digest()).hex()


class _Open:
    """A value whose parts are being walked; afterwards, while its knot is still open, what stands for it there."""

    __slots__ = ("form", "left", "low", "number", "tokens", "value")

    def __init__(self, value: Any, form: Form, number: int) -> None:
        self.value, self.form, self.number = value, form, number
        self.low = number  # the lowest number that can be reached from here: Tarjan's strongly connected components
        self.left = iter(form.parts)
        self.tokens: list[bytes | _Open] = []


class Keys:
    """Tokens of values that live as long as this does: what is shared by many of them is digested once.

    Values must not change meanwhile.  With `keep=True` the forms stay readable under `forms`, by the id of the value.
    `form` says what one level of a value is; another one may look at less, or at more.
    """

    def __init__(self, *, keep: bool = False, form: Callable[[Any], Form] = form_of) -> None:
        self._form = form
        self.forms: dict[int, Form] | None = {} if keep else None
        self._done: dict[int, bytes] = {}
        self._alive: list[Any] = []  # so that an id stays what it is

    def token(self, value: Any) -> bytes:
        """Return the token of a value: itself if it is plain and small, else a digest."""
        atom = ATOMS.get(type(value))
        if atom is not None:
            return atom(value)
        known = self._done.get(id(value))
        return known if known is not None else self._walk(value)

    def _walk(self, root: Any) -> bytes:
        done = self._done
        met: dict[int, _Open] = {}
        numbered = 0
        knot: list[_Open] = []  # walked, but perhaps part of something that contains itself
        path: list[_Open] = []
        entering = root
        while True:
            top = self._opened(entering, numbered, path)
            numbered += 1
            met[id(entering)] = top
            path.append(top)
            knot.append(top)
            while path:
                top = path[-1]
                entering = _advance(top, done, met)
                if entering is not _NOTHING:
                    break
                path.pop()
                if top.low == top.number:
                    self._close(top, knot, met)
                if path:
                    above = path[-1]
                    above.low = min(above.low, top.low)
                    above.tokens.append(done.get(id(top.value), top))
            else:
                return done[id(root)]

    def _opened(self, value: Any, number: int, path: Sequence[_Open]) -> _Open:
        try:
            form = self._form(value)
        except Unkeyable as error:
            raise Unkeyable(error.thing, error.reason, _path(path)) from None
        self._alive.append(value)
        if self.forms is not None:
            self.forms[id(value)] = form
        return _Open(value, form, number)

    def _close(self, top: _Open, knot: list[_Open], met: dict[int, _Open]) -> None:
        """Give a token to `top` and to everything that is knotted to it."""
        at = len(knot) - 1
        while knot[at] is not top:
            at -= 1
        members = knot[at:]
        del knot[at:]
        for member in members:
            del met[id(member.value)]
        if len(members) == 1 and top not in top.tokens:
            self._done[id(top.value)] = digest(top.form, top.tokens)  # type: ignore[arg-type]
        else:
            for member, token in zip(members, _untied(members), strict=True):
                self._done[id(member.value)] = token


def _advance(top: _Open, done: Mapping[int, bytes], met: Mapping[int, _Open]) -> Any:
    """Write down parts until one has to be walked first; return that, or nothing."""
    tokens = top.tokens
    for part in top.left:
        atom = ATOMS.get(type(part))
        if atom is not None:
            tokens.append(atom(part))
            continue
        known = done.get(id(part))
        if known is not None:
            tokens.append(known)
            continue
        seen = met.get(id(part))
        if seen is None:
            return part
        top.low = min(top.low, seen.number)
        tokens.append(seen)
    return _NOTHING


def _untied(members: Sequence[_Open]) -> list[bytes]:
    """Return the tokens of values that contain one another."""
    colours = dict.fromkeys(members, b"*")
    classes = 0
    while True:
        colours = {
            member: digest(member.form, [part if isinstance(part, bytes) else colours[part] for part in member.tokens])
            for member in members
        }
        found = len(set(colours.values()))
        if found == classes:
            break
        classes = found
    # Two knots may agree for as many rounds as one of them takes; they are the same only if all their classes agree.
    whole = b"".join(sorted(set(colours.values())))
    return [digest(Form("knot", whole), (colours[member],)) for member in members]


def _path(path: Sequence[_Open]) -> str:
    steps = [open_.form.label(len(open_.tokens)) for open_ in (path if len(path) <= 2 * _SHOWN else path[:_SHOWN])]
    if len(path) > 2 * _SHOWN:
        steps.append(f"({len(path) - 2 * _SHOWN} levels more)")
        steps.extend(open_.form.label(len(open_.tokens)) for open_ in path[-_SHOWN:])
    return ", ".join(steps)
