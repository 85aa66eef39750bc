"""Why two keys differ: a value as an account of its parts, and the places where two accounts part ways.

    >>> print(*diff_keys({"rate": 1, "steps": [1, 2]}, {"rate": 1, "steps": [1, 3]}), sep="\\n")
    ['steps'], [1]: 2 | 3

An account is plain data, so that one made by another process or machine can be compared (`to_json`, `from_json`).

Covers: `explain`, `diff`, accounts as JSON.
Does not cover: the keys themselves (values.keys), printing them (cli.keys).
"""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from lazygraph.errors import LazyGraphError
from lazygraph.values.forms import ATOMS, UNORDERED, Form, digest, short
from lazygraph.values.keys import Keys, as_key

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_MARK, _VERSION = "lazygraph keys", 1
_KEY = "key "
NOTHING = "nothing"
"""What stands on the side of a difference that has no such part."""


class NoAccount(LazyGraphError, ValueError):
    """A text that is no account."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"this is no account of a key ({reason}); write one with: lazygraph keys save MODULE:attr FILE"
        )


class Part(NamedTuple):
    """A part of an entry: what it is called there, and its place in the account."""

    label: str
    entry: int


class Entry(NamedTuple):
    """One value in an account: its text for people, its key, a key of its own level alone, and its parts."""

    text: str
    key: str
    own: str
    ordered: bool = True
    parts: tuple[Part, ...] = ()


class Account(NamedTuple):
    """A value and everything in it, the value itself first.  What occurs several times stands there once."""

    entries: tuple[Entry, ...]

    @property
    def key(self) -> str:
        """The key of the value."""
        return self.entries[0].key

    def lines(self, most: int = 20) -> Iterator[str]:
        """Yield a line for every value, indented below what contains it; `most` parts of each at most."""
        seen: set[int] = set()
        stack: list[tuple[int, str, int]] = [(0, "", 0)]
        while stack:
            at, label, depth = stack.pop()
            if at < 0:
                yield f"{'  ' * depth}{label}"
                continue
            entry = self.entries[at]
            again = " (as above)" if at in seen and entry.parts else ""
            yield f"{'  ' * depth}{entry.key[:12]}  {label + ': ' if label else ''}{entry.text}{again}"
            if at in seen:
                continue
            seen.add(at)
            # A dict's key is seen in the label of its value, unless there is more to it.
            parts = [p for p in entry.parts if not p.label.startswith(_KEY) or self.entries[p.entry].parts]
            if len(parts) > most:
                stack.append((-1, f"... and {len(parts) - most} more", depth + 1))
            stack.extend((part.entry, part.label, depth + 1) for part in reversed(parts[:most]))

    def to_json(self) -> str:
        """Return the account as a JSON text."""
        return json.dumps({_MARK: _VERSION, "entries": self.entries})


def from_json(text: str) -> Account:
    """Return the account in a JSON text.  Raises `NoAccount` if there is none."""
    try:
        found = json.loads(text)
        version, rows = found[_MARK], found["entries"]
        entries = tuple([_entry_of(*row) for row in rows])
    except (ValueError, TypeError, KeyError, LookupError) as error:
        raise NoAccount(f"{type(error).__name__}: {error}") from None
    if version != _VERSION:
        raise NoAccount(f"its version is {version!r}, this lazygraph reads {_VERSION}")
    if not entries or not all(0 <= part.entry < len(entries) for entry in entries for part in entry.parts):
        raise NoAccount("it is not whole")
    return Account(entries)


def _entry_of(text: str, key: str, own: str, ordered: bool, parts: Sequence[tuple[str, int]]) -> Entry:
    return Entry(str(text), str(key), str(own), bool(ordered), tuple([Part(str(name), int(at)) for name, at in parts]))


# -- from a value to its account -------------------------------------------------------------------


def explain_key(value: Any) -> Account:
    """Return what the key of a value is made of.  Raises `Unkeyable` as `key_of` does."""
    keys = Keys(keep=True)
    keys.token(value)
    forms = keys.forms
    assert forms is not None
    places: dict[Any, int] = {}
    met: list[Any] = []
    waiting = [value]
    for one in waiting:  # grows while it is walked
        name = _name(one)
        if name not in places:
            places[name] = len(met)
            met.append(one)
            if type(one) not in ATOMS:
                waiting.extend(forms[id(one)].parts)
    entries: list[Entry] = []
    for one in met:
        key = as_key(keys.token(one))
        if type(one) in ATOMS:
            entries.append(Entry(short(one), key, key))
            continue
        form = forms[id(one)]
        parts = tuple([Part(form.label(at), places[_name(part)]) for at, part in enumerate(form.parts)])
        own = as_key(digest(Form(form.kind, form.data), ()))
        entries.append(Entry(form.text or short(one), key, own, form.order != UNORDERED, parts))
    return Account(tuple(entries))


def _name(value: Any) -> Any:
    atom = ATOMS.get(type(value))
    return id(value) if atom is None else atom(value)


# -- where two accounts part ways ------------------------------------------------------------------


class Difference(NamedTuple):
    """A place where two values part ways, and what stands there on either side."""

    path: tuple[str, ...]
    left: str
    right: str

    def __str__(self) -> str:
        place = ", ".join(self.path) or "all of it"
        if self.left == self.right:
            return f"{place}: {self.left} on either side, with other content"
        return f"{place}: {self.left} | {self.right}"


class _Pair(NamedTuple):
    """Two entries that stand at the same place, and the way to them."""

    left: int
    right: int
    label: str = ""
    above: _Pair | None = None

    def path(self) -> tuple[str, ...]:
        labels: list[str] = []
        pair: _Pair | None = self
        while pair is not None:
            if pair.label:
                labels.append(pair.label)
            pair = pair.above
        return tuple(reversed(labels))


def diff_keys(left: Any, right: Any, most: int = 20) -> list[Difference]:
    """Return the first `most` places where two values differ, the shortest ways first; none if their keys are equal.

    Accounts are compared as what they are accounts of.
    """
    comparison = _Comparison(_account(left), _account(right), most)
    return comparison.differences()


def _account(value: Any) -> Account:
    return value if isinstance(value, Account) else explain_key(value)


class _Comparison:
    """Two accounts, walked side by side."""

    def __init__(self, left: Account, right: Account, most: int) -> None:
        self.left, self.right, self.most = left.entries, right.entries, most
        self.found: list[Difference] = []

    def differences(self) -> list[Difference]:
        root = _Pair(0, 0)
        waiting, met = [root], {(0, 0)}
        for pair in waiting:  # grows while it is walked, level by level
            if len(self.found) >= self.most:
                break
            for below in self._below(pair):
                if (below.left, below.right) not in met:
                    met.add((below.left, below.right))
                    waiting.append(below)
        if not self.found and self.left[0].key != self.right[0].key:
            self._note(root, "one knot", "another knot, of the same parts")
        return self.found[: self.most]

    def _below(self, pair: _Pair) -> Sequence[_Pair]:
        """Note how two entries differ by themselves; return the pairs of their parts that differ."""
        one, other = self.left[pair.left], self.right[pair.right]
        if one.key == other.key:
            return ()
        before = len(self.found)
        if not one.parts or not other.parts or one.ordered != other.ordered:
            self._note(pair, one.text, other.text)
            return ()
        pairs = self._matched(pair, one, other) if one.ordered else self._unmatched(pair, one, other)
        if one.own != other.own and len(self.found) == before:
            self._note(pair, one.text, other.text)
        if one.own == other.own and len(self.found) == before and not pairs:
            self._note(pair, one.text, f"{other.text}, the same parts in another order")
        return pairs

    def _note(self, pair: _Pair, left: str, right: str, *label: str) -> None:
        self.found.append(Difference((*pair.path(), *label), left, right))

    def _matched(self, pair: _Pair, one: Entry, other: Entry) -> Sequence[_Pair]:
        """Pair parts by what they are called, or by number where a name is not unique; note those without a partner."""
        ours, theirs = dict(one.parts), dict(other.parts)
        if len(ours) < len(one.parts) or len(theirs) < len(other.parts):
            ours = {f"[{at}]": part.entry for at, part in enumerate(one.parts)}
            theirs = {f"[{at}]": part.entry for at, part in enumerate(other.parts)}
        for label, at in ours.items():
            if label not in theirs and not label.startswith(_KEY):
                self._note(pair, self.left[at].text, NOTHING, label)
        for label, at in theirs.items():
            if label not in ours and not label.startswith(_KEY):
                self._note(pair, NOTHING, self.right[at].text, label)
        both = [_Pair(at, theirs[label], label, pair) for label, at in ours.items() if label in theirs]
        return [below for below in both if self.left[below.left].key != self.right[below.right].key]

    def _unmatched(self, pair: _Pair, one: Entry, other: Entry) -> Sequence[_Pair]:
        """Note the members of two sets that only one of them has; if that is one each, compare them."""
        ours = Counter(self.left[part.entry].key for part in one.parts)
        theirs = Counter(self.right[part.entry].key for part in other.parts)
        only_ours = [part.entry for part in one.parts if self.left[part.entry].key not in theirs]
        only_theirs = [part.entry for part in other.parts if self.right[part.entry].key not in ours]
        if len(only_ours) == len(only_theirs) == 1:
            return [_Pair(only_ours[0], only_theirs[0], "a member", pair)]
        for at in only_ours:
            self._note(pair, self.left[at].text, NOTHING, "a member")
        for at in only_theirs:
            self._note(pair, NOTHING, self.right[at].text, "a member")
        return ()
