"""Content keys: equal content, equal key, wherever and whenever; different content, different keys."""

from __future__ import annotations

import array
import collections
import copy
import dataclasses
import datetime
import decimal
import enum
import fractions
import functools
import itertools
import json
import operator
import os
import pathlib
import pickle
import random
import re
import socket
import subprocess
import sys
import threading
import types
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lazygraph import delayed
from lazygraph.errors import LazyGraphError, Unkeyable
from lazygraph.values.canonical import form_of
from lazygraph.values.forms import Form
from lazygraph.values.keys import Keys, key_of
from lazygraph.values.node import External

# -- what values are ---------------------------------------------------------------------------------


class Colour(enum.Enum):
    RED = 1
    GREEN = 2


class Number(enum.IntEnum):
    ONE = 1


class Access(enum.Flag):
    READ = 1
    WRITE = 2


@dataclasses.dataclass
class Point:
    x: Any
    y: Any = 0

    def norm(self) -> Any:
        return abs(self.x) + abs(self.y)

    @classmethod
    def origin(cls) -> Point:
        return cls(0)


class Pair(NamedTuple):
    left: Any
    right: Any


class Slotted:
    __slots__ = ("a", "b")

    def __init__(self, **given: Any) -> None:
        for name, value in given.items():
            setattr(self, name, value)


class Bag:
    def __init__(self, **given: Any) -> None:
        self.__dict__.update(given)


class OtherBag(Bag):
    pass


class MyList(list[Any]):
    pass


class MyDict(dict[Any, Any]):
    pass


class MySet(set[Any]):
    pass


class MyText(str):
    pass


class SlottedSet(set[Any]):
    __slots__ = ("note",)


def noted(note: str) -> SlottedSet:
    made = SlottedSet({1})
    made.note = note
    return made


BERLIN = datetime.timezone(datetime.timedelta(hours=1))

DIFFERENT: list[Callable[[], Any]] = [
    *(
        lambda value=value: value
        for value in (0, 1, -1, 255, 256, -256, 2**64, 10**5000, True, False, None, ..., NotImplemented)
    ),  # type: ignore[misc]
    lambda: 0.0,
    lambda: -0.0,
    lambda: 1.0,
    lambda: float("nan"),
    lambda: float("inf"),
    lambda: 1j,
    lambda: complex(0.0, -0.0),
    lambda: complex(0.0, 0.0),
    lambda: "",
    lambda: "1",
    lambda: "N",
    lambda: "\u00e9",
    lambda: "e\u0301",
    lambda: "\udc80",
    lambda: b"",
    lambda: b"1",
    lambda: bytearray(b"1"),
    lambda: memoryview(b"1"),
    lambda: array.array("i", [1]),
    lambda: array.array("l", [1]),
    lambda: "x" * 5000,
    lambda: "x" * 5001,
    lambda: b"x" * 5000,
    lambda: [],
    lambda: (),
    lambda: {},
    lambda: set(),
    lambda: frozenset(),
    lambda: [()],
    lambda: [[]],
    lambda: [1],
    lambda: [True],
    lambda: [1.0],
    lambda: (1,),
    lambda: {1},
    lambda: frozenset({1}),
    lambda: {1: None},
    lambda: [1, 2],
    lambda: [2, 1],
    lambda: [[1], 2],
    lambda: [[1, 2]],
    lambda: ["ab", "c"],
    lambda: ["a", "bc"],
    lambda: ["abc"],
    lambda: {"a": 1, "b": 2},
    lambda: {"a": 2, "b": 1},
    lambda: {"b": 2, "a": 1},  # another order of insertion, which list(d) would show
    lambda: {"a": {"b": 1}},
    lambda: collections.OrderedDict(a=1, b=2),
    lambda: collections.OrderedDict(b=2, a=1),
    lambda: collections.defaultdict(int, a=1, b=2),
    lambda: collections.defaultdict(float, a=1, b=2),
    lambda: collections.Counter("aab"),
    lambda: collections.deque([1, 2]),
    lambda: collections.deque([1, 2], 2),
    lambda: collections.ChainMap({"a": 1}),
    lambda: MyList([1]),
    lambda: MyDict(a=1),
    lambda: MySet({1}),
    lambda: MyText("1"),
    lambda: noted("a"),
    lambda: noted("b"),
    lambda: types.SimpleNamespace(a=1),
    lambda: types.MappingProxyType({"a": 1}),
    lambda: Pair(1, 2),
    lambda: Pair(2, 1),
    lambda: Point(1, 2),
    lambda: Point(2, 1),
    lambda: Bag(a=1, b=2),
    lambda: Bag(a=2, b=1),
    lambda: OtherBag(a=1, b=2),
    lambda: Slotted(a=1),
    lambda: Slotted(b=1),
    lambda: Colour.RED,
    lambda: Colour.GREEN,
    lambda: Number.ONE,
    lambda: Access.READ | Access.WRITE,
    lambda: Access.READ,
    lambda: Colour,
    lambda: Point,
    lambda: Pair,
    lambda: Bag,
    lambda: int,
    lambda: str,
    lambda: type,
    lambda: object,
    lambda: decimal.Decimal,
    lambda: slice(1),
    lambda: slice(0, 1),
    lambda: slice(None, 1, 1),
    lambda: range(3),
    lambda: range(4),
    lambda: datetime.date(2026, 1, 2),
    lambda: datetime.datetime(2026, 1, 2),
    lambda: datetime.datetime(2026, 1, 2, fold=1),
    lambda: datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC),
    lambda: datetime.datetime(2026, 1, 2, tzinfo=BERLIN),
    lambda: datetime.time(1, 2),
    lambda: datetime.timedelta(1),
    lambda: decimal.Decimal("1"),
    lambda: decimal.Decimal("1.0"),
    lambda: fractions.Fraction(1, 2),
    lambda: uuid.UUID(int=1),
    lambda: pathlib.PurePosixPath("a/b"),
    lambda: pathlib.PureWindowsPath("a/b"),
    lambda: pathlib.PurePosixPath("a"),
    lambda: re.compile("a"),
    lambda: re.compile("a", re.IGNORECASE),
    lambda: re.compile(b"a"),
    lambda: list[int],
    lambda: list[str],
    lambda: int | None,
    lambda: ValueError("a"),
    lambda: ValueError("b"),
    lambda: TypeError("a"),
    lambda: random.Random(1),
    lambda: random.Random(2),
    lambda: len,
    lambda: max,
    lambda: operator.add,
    lambda: str.upper,
    lambda: str.lower,
    lambda: "a".upper,
    lambda: "b".upper,
    lambda: json.dumps,
    lambda: operator.itemgetter(1),
    lambda: operator.attrgetter("a"),
    lambda: functools.partial(operator.add, 1),
    lambda: functools.partial(operator.add, 2),
    lambda: functools.partial(operator.sub, 1),
    lambda: Point(1).norm,
    lambda: Point(2).norm,
    lambda: Point.norm,
    lambda: Point.origin,
    lambda: json,
    lambda: re,
    lambda: lambda x: x,
    lambda: lambda x: x + 1,
    lambda: lambda x: x + 2,
    lambda: lambda y: y,
    lambda: lambda x, y=1: x,
    lambda: lambda x, y=2: x,
    lambda: lambda x, *, y=2: x,
    lambda: lambda *x: x,
    lambda: lambda **x: x,
]


def test_everything_here_has_a_key_of_its_own() -> None:
    keys = [key_of(make()) for make in DIFFERENT]
    assert [at for at, key in enumerate(keys) if key in keys[:at]] == []
    assert all(re.fullmatch("[0-9a-f]{40}", key) for key in keys)


def test_made_again_it_has_the_same_key() -> None:
    assert [key_of(make()) for make in DIFFERENT] == [key_of(make()) for make in DIFFERENT]


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (lambda: {1, 2, 3, 1000}, lambda: {1000, 3, 2, 1}),
        (lambda: {"b", "a"}, lambda: {"a", "b"}),
        (lambda: {(1, "a"), 2}, lambda: {2, (1, "a")}),
        (lambda: frozenset({"x", "y", "z"}), lambda: frozenset({"z", "y", "x"})),
        (lambda: MySet(["b", "a"]), lambda: MySet(["a", "b"])),
        (lambda: Bag(a=1, b=2), lambda: Bag(b=2, a=1)),
        (lambda: Slotted(a=1, b=2), lambda: Slotted(b=2, a=1)),
        (lambda: "ab", lambda: "".join(["a", "b"])),
        (lambda: 10**30, lambda: int("1" + "0" * 30)),
        (lambda: slice(1, 2), lambda: slice(1, 2, None)),
        (lambda: pathlib.PurePosixPath("a/b"), lambda: pathlib.PurePosixPath("a", "b")),
        (lambda: [[1], [1]], lambda: [[1]] * 2),
        (lambda: Colour(1), lambda: Colour.RED),
    ],
)
def test_what_cannot_be_told_apart_has_one_key(left: Callable[[], Any], right: Callable[[], Any]) -> None:
    assert key_of(left()) == key_of(right())


def test_two_nans_and_two_zeros() -> None:
    assert key_of(float("nan")) == key_of(float("nan"))
    assert key_of([0.0]) != key_of([-0.0])


def test_keys_of_data_are_the_same_in_every_version() -> None:
    # Kept values are found by these: whoever changes one makes strangers of them all.
    data = {
        "plain": [1, -1, 2**70, True, None, 1.5, 1j, "text", b"bytes", ...],
        "containers": [
            (1, [2]),
            {3, 4},
            frozenset({5}),
            {"k": 6},
            collections.OrderedDict(a=1),
            collections.deque([7]),
        ],
        "others": [
            decimal.Decimal("1.0"),
            fractions.Fraction(1, 2),
            uuid.UUID(int=1),
            datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC),
            pathlib.PurePosixPath("a/b"),
            re.compile("a"),
            slice(1, 2),
            range(3),
        ],
    }
    assert {name: key_of(value) for name, value in data.items()} == {
        "plain": "6d80de9f95a6aa32833a773e43c38ee537234be8",
        "containers": "7c870f4dea696d2c9b15775b39571f31ee92f4d2",
        "others": "a5a486134251458989e5932ffcb0a7dcefed1e41",
    }


# -- any value ----------------------------------------------------------------------------------------

HASHABLE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4) | st.binary(max_size=4),
    lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3),
    max_leaves=6,
)
VALUES = st.recursive(
    HASHABLE | st.decimals() | st.dates() | st.fractions() | st.uuids() | st.timedeltas(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(HASHABLE, inner, max_size=3)
        | st.sets(HASHABLE, max_size=3)
        | st.builds(Point, inner, inner)
        | st.builds(Pair, inner, inner)
        | st.builds(collections.deque, st.lists(inner, max_size=3))
        | st.builds(slice, inner, inner, inner)
    ),
    max_leaves=15,
)


def described(value: Any) -> Any:
    """What a value is, told in another way: equal descriptions if and only if nothing tells two values apart."""
    kind = type(value).__name__
    if isinstance(value, float):
        return kind, value.hex()
    if isinstance(value, set | frozenset):
        return kind, frozenset(collections.Counter(map(described, value)).items())
    if isinstance(value, dict):
        return kind, tuple((described(key), described(each)) for key, each in value.items())
    if isinstance(value, slice):
        return kind, described([value.start, value.stop, value.step])
    if isinstance(value, Point):
        return kind, described([value.x, value.y])
    if isinstance(value, list | tuple | collections.deque):
        return kind, tuple(map(described, value))
    return kind, repr(value)


@given(VALUES, VALUES)
def test_keys_are_equal_exactly_when_values_are(left: Any, right: Any) -> None:
    assert (key_of(left) == key_of(right)) == (described(left) == described(right))


@given(VALUES)
def test_a_copy_has_the_key_of_its_original(value: Any) -> None:
    assert key_of(copy.deepcopy(value)) == key_of(value)
    assert key_of(pickle.loads(pickle.dumps(value))) == key_of(value)


@given(st.lists(VALUES, min_size=2, max_size=3))
def test_a_list_in_another_order_has_another_key(values: list[Any]) -> None:
    for other in itertools.permutations(values):
        assert (key_of(list(other)) == key_of(values)) == (described(list(other)) == described(values))


# -- other processes ----------------------------------------------------------------------------------


def in_another_process(code: str, *words: str, seed: int, cwd: Path, **environment: str) -> Any:
    """Run a program that prints one JSON document, under the given hash seed and in the given directory."""
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        env={**os.environ, "PYTHONHASHSEED": str(seed), **environment},
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


PLAIN_VALUES = st.recursive(
    HASHABLE | st.decimals() | st.dates() | st.uuids(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(HASHABLE, inner, max_size=4)
        | st.sets(HASHABLE, max_size=5)
        | st.builds(collections.OrderedDict, st.dictionaries(HASHABLE, inner, max_size=3))
        | st.builds(types.SimpleNamespace, a=inner, b=inner)
    ),
    max_leaves=15,
)
KEYS_OF_A_PICKLE = """
import json, pickle, sys
from lazygraph.values.keys import key_of
print(json.dumps([key_of(value) for value in pickle.loads(bytes.fromhex(sys.argv[1]))]))
"""


@settings(max_examples=4)
@given(values=st.lists(PLAIN_VALUES, min_size=20, max_size=60), seed=st.integers(0, 2**32 - 1))
def test_keys_do_not_depend_on_the_process(
    values: list[Any], seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    found = in_another_process(
        KEYS_OF_A_PICKLE, pickle.dumps(values).hex(), seed=seed, cwd=tmp_path_factory.mktemp("elsewhere")
    )
    assert found == [key_of(value) for value in values]


PROJECT = '''
import collections, dataclasses, enum, functools, re
from helpers import scale, LIMITS
import helpers, settings_of_mine

TABLE = {"a": {1, 2, "three", (4, "x")}, "b": frozenset({"p", "q", "r"})}

class Mode(enum.Enum):
    FAST = {"x", "y"}
    SLOW = 2

@dataclasses.dataclass(frozen=True)
class Item:
    name: str
    tags: frozenset = frozenset({"t", "u", "v"})
    more: list = dataclasses.field(default_factory=list)

    def size(self):
        return scale(len(self.tags))

Row = collections.namedtuple("Row", "a b")

@functools.lru_cache
def cached(x):
    return helpers.scale(x)

def walk(tree):
    return [walk(child) for child in tree]

def ping(n):
    return pong(n - 1) if n else 0

def pong(n):
    return ping(n - 1) if n else 1

def outer(n):
    def inner(x, *, y=frozenset({"a", "b", "c"})):
        return x in {"one", "two", "three"} and n < LIMITS["low"] and settings_of_mine.RATE
    return inner

def uses(x):
    """%s"""
    import helpers.deep as d
    from helpers import more
    return cached(x), TABLE[x], Mode.FAST, Item("a"), Row(1, 2), [re.sub("a", "b", y) for y in x], lambda z: d.f(z)

EVERYTHING = {
    "table": TABLE, "Mode": Mode, "fast": Mode.FAST, "slow": Mode.SLOW, "Item": Item, "item": Item("a"), "Row": Row,
    "row": Row(1, {"a", "b"}), "cached": cached, "walk": walk, "ping": ping, "pong": pong, "inner": outer(1),
    "uses": uses, "partial": functools.partial(uses, {"a", "b"}), "size": Item("b").size,
}
'''
HELPERS = """
LIMITS = {"low": 1, "tags": {"x", "y", "z"}}
def scale(x): return x * 2
"""


def project(
    folder: Path, *, blank: int = 0, doc: str = "", helpers: str = HELPERS, deep: str = "", rate: int = 1
) -> Path:
    """Write a small program into a folder, with so many blank lines before it."""
    (folder / "helpers").mkdir(parents=True)
    space = "\n" * blank
    (folder / "helpers" / "__init__.py").write_text(space + helpers)
    (folder / "helpers" / "deep.py").write_text(deep or "def f(x): return x\n")
    (folder / "helpers" / "more.py").write_text("")
    (folder / "settings_of_mine.py").write_text(f"{space}RATE = {rate}\n")
    (folder / "work.py").write_text(space + PROJECT % doc)
    return folder


KEYS_OF_A_PROJECT = """
import json, sys
sys.path.insert(0, sys.argv[1])
if len(sys.argv) > 2:
    import helpers.deep, ast, colorsys  # in another order, and things nobody asked for
from lazygraph.values.keys import key_of
import work
print(json.dumps({name: key_of(value) for name, value in work.EVERYTHING.items()}))
"""


def test_code_has_one_key_wherever_its_file_is(tmp_path: Path) -> None:
    one, other = project(tmp_path / "one"), project(tmp_path / "two" / "deeper", blank=7, doc="Says something.")
    here = in_another_process(KEYS_OF_A_PROJECT, str(one), seed=1, cwd=one)
    there = in_another_process(KEYS_OF_A_PROJECT, str(other), "more", seed=2, cwd=tmp_path)
    assert here == there
    assert len(set(here.values())) == len(here)


def keys_of_project(folder: Path, **changes: Any) -> dict[str, str]:
    keys: dict[str, str] = in_another_process(KEYS_OF_A_PROJECT, str(project(folder, **changes)), seed=3, cwd=folder)
    return keys


@pytest.fixture(scope="module")
def as_it_was(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return keys_of_project(tmp_path_factory.mktemp("before") / "project")


@pytest.mark.parametrize(
    ("changes", "changed"),
    [
        ({"helpers": HELPERS.replace("x * 2", "x * 3")}, {"cached", "uses", "partial", "Item", "item", "size"}),
        ({"helpers": HELPERS.replace('"low": 1', '"low": 2')}, {"inner", "uses", "partial"}),
        ({"helpers": HELPERS + "def unused(): pass\n"}, {"uses", "partial"}),  # `uses` imports the module as a whole
        ({"deep": "def f(x): return -x\n"}, {"uses", "partial"}),
        ({"rate": 2}, {"inner"}),
    ],
)
def test_editing_a_helper_changes_the_keys_of_what_calls_it(
    as_it_was: dict[str, str], tmp_path: Path, changes: dict[str, Any], changed: set[str]
) -> None:
    now = keys_of_project(tmp_path / "after", **changes)
    assert {name for name, key in now.items() if key != as_it_was[name]} == changed


# -- functions --------------------------------------------------------------------------------------


def defined(source: str, name: str = "f", file: str = "one.py", **space: Any) -> Any:
    """Run a module's source and return what it calls `name`."""
    found: dict[str, Any] = {"__name__": "somewhere", **space}
    exec(compile(source, file, "exec"), found)
    return found[name]


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("def f(x): return x", "\n\n\ndef f(x):\n    # a comment\n    return x"),
        ("def f(x): return x", "def f(x):\n    'a docstring'\n    return x"),
        ("def f(x): return x", "def f(x: int) -> int: return x"),
        ("def f(x):\n    y = x\n    return y", "def f(x):\n    z = x\n    return z"),
        ("def f(x): return g(x)\ndef g(x): return x", "def g(x):\n  'doc'\n  return x\n\ndef f(x): return g(x)"),
        ("def f(x): return x in {'a', 'b', 'c'}", "def f(x): return x in {'c', 'b', 'a'}"),
        ("K = 3\ndef f(x): return K", "UNUSED = 1\nK = 3\ndef f(x): return K"),
    ],
)
def test_the_same_code(left: str, right: str) -> None:
    assert key_of(defined(left)) == key_of(defined(right, file="two.py"))


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("def f(x): return x + 1", "def f(x): return x - 1"),
        ("def f(x): return x + 1", "def f(x): return x + 2"),
        ("def f(x):\n  y = x\n  return locals()", "def f(x):\n  z = x\n  return locals()"),
        ("def f(x): return x + 1", "def f(x): return x + 1.0"),
        ("def f(x): return x + True", "def f(x): return x + 1"),
        ("def f(x): return x.a", "def f(x): return x.b"),
        ("def f(x): return min(x)", "def f(x): return max(x)"),
        ("def f(x=1): return x", "def f(x=2): return x"),
        ("def f(x=1): return x", "def f(x): return x"),
        ("def f(*, x=1): return x", "def f(*, x=2): return x"),
        ("def f(x): return x", "def f(x):\n    yield x"),
        ("def f(x): return x", "async def f(x): return x"),
        ("def f(x): return g(x)\ndef g(x): return x", "def f(x): return g(x)\ndef g(x): return -x"),
        ("def f(x): return g(x)\ng = len", "def f(x): return g(x)\ng = max"),
        (
            "def f(x): return g(x)\ndef g(x): return h(x)\ndef h(x): return x",
            "def f(x): return g(x)\ndef g(x): return h(x)\ndef h(x): return -x",
        ),
        ("def f(x): return [g(y) for y in x]\ng = len", "def f(x): return [g(y) for y in x]\ng = max"),
        ("def f(x): return K\nK = 3", "def f(x): return K\nK = 4"),
        ("def f(x): return K\nK = [1]", "def f(x): return K\nK = (1,)"),
        ("def f(x): return K", "def f(x): return K\nK = None"),
        (
            "def m(n):\n  def f(x): return n\n  return f\nf = m(1)",
            "def m(n):\n  def f(x): return n\n  return f\nf = m(2)",
        ),
        (
            "def f(x): return C(x)\nclass C:\n  def m(s): return 1",
            "def f(x): return C(x)\nclass C:\n  def m(s): return 2",
        ),
        ("def f(x): return C(x)\nclass C: k = 1", "def f(x): return C(x)\nclass C: k = 2"),
        (
            "class B: k = 1\nclass C(B): pass\ndef f(x): return C()",
            "class B: k = 2\nclass C(B): pass\ndef f(x): return C()",
        ),
        (
            "class C:\n  @property\n  def p(s): return 1\ndef f(x): return C()",
            "class C:\n  @property\n  def p(s): return 2\ndef f(x): return C()",
        ),
        (
            "A = object()\nB = object()\ndef f(x=A): return x is A",
            "A = object()\nB = object()\ndef f(x=B): return x is A",
        ),
        ("def f(): pass\nf.rate = 1", "def f(): pass\nf.rate = 2"),
        ("def f(n): return n and f(n - 1)", "def f(n): return n and f(n - 2)"),
        (
            "import functools\n@functools.cache\ndef f(): return 1",
            "import functools\n@functools.cache\ndef f(): return 2",
        ),
        (
            "import functools\n@functools.lru_cache(1)\ndef f(): return 1",
            "import functools\n@functools.lru_cache(2)\ndef f(): return 1",
        ),
    ],
)
def test_other_code(left: str, right: str) -> None:
    assert key_of(defined(left)) != key_of(defined(right))
    assert key_of(defined(left)) == key_of(defined(left))


def test_functions_that_call_each_other() -> None:
    source = "def even(n): return n == 0 or odd(n - 1)\ndef odd(n): return n != 0 and even(n - 1)\n"
    turned = "".join(reversed(source.splitlines(keepends=True)))
    assert key_of(defined(source, "even")) == key_of(defined(turned, "even")) != key_of(defined(source, "odd"))
    assert key_of(defined(source, "even")) != key_of(defined(source.replace("n != 0", "n != 1"), "even"))


def test_a_wrapped_function_counts_with_its_wrapper() -> None:
    source = """
import contextlib, functools
def twice(function):
    @functools.wraps(function)
    def wrapper(*args):
        return function(*args), function(*args)
    return wrapper
@twice
def f(x): return x + 1
@contextlib.contextmanager
def g(x): yield x + 1
"""
    for name in "fg":
        assert key_of(defined(source, name)) == key_of(defined(source, name))
        assert key_of(defined(source, name)) != key_of(defined(source.replace("x + 1", "x + 2"), name))


def test_what_is_installed_is_known_by_name() -> None:
    form_of_dumps = Keys(keep=True)
    form_of_dumps.token(json.dumps)
    assert form_of_dumps.forms is not None
    (form,) = form_of_dumps.forms.values()
    assert not form.parts and b"json" in form.data and b"python 3." in form.data


def test_a_lambda_of_an_installed_module_is_known_by_content() -> None:
    one = defined("f = lambda x: x", __name__="json")
    other = defined("f = lambda x: -x", __name__="json")
    assert key_of(one) != key_of(other)


def test_a_decorated_function_can_be_read_by_others() -> None:
    @delayed
    def helper(x: int) -> int:
        return x + 1

    @delayed
    def other(x: int) -> int:
        return x + 2

    def calling(function: Any) -> Any:
        return lambda x: function(x)

    assert key_of(calling(helper)) == key_of(calling(helper)) != key_of(calling(other))


def test_promises_are_keyed_by_their_calls() -> None:
    add = delayed(operator.add)
    assert key_of(add(add(1, 2), 3)) == key_of(add(add(1, 2), 3)) != key_of(add(add(2, 1), 3))
    chain = add(0, 0)
    for _ in range(10_000):
        chain = add(chain, 1)
    assert key_of(chain) != key_of(add(chain, 1))


# -- what says itself what it stands for -----------------------------------------------------------------


class Connection:
    """Holds a lock, and stands for its address."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.lock = threading.Lock()

    def __lazygraph_key__(self) -> Any:
        return self.address


class Tokenized:
    """Speaks dask's protocol."""

    def __init__(self, token: Any) -> None:
        self.token = token
        self.lock = threading.Lock()

    def __dask_tokenize__(self) -> Any:
        return self.token


@pytest.mark.parametrize("cls", [Connection, Tokenized])
def test_an_object_may_say_what_it_stands_for(cls: type) -> None:
    assert key_of(cls("a")) == key_of(cls("a")) != key_of(cls("b"))
    assert key_of(cls("a")) != key_of("a")


def test_what_it_stands_for_is_looked_into() -> None:
    with pytest.raises(Unkeyable, match=r"__lazygraph_key__\(\), \['k'\]: <lock>"):
        key_of(Connection({"k": threading.Lock()}))  # type: ignore[arg-type]


def test_only_the_class_is_asked() -> None:
    # An instance that answers to every name (a Mock, a promise) has not said anything.
    bag = Bag(__lazygraph_key__=lambda: "x", a=1)
    assert key_of(bag) != key_of(Bag(__lazygraph_key__=lambda: "x", a=2))


def test_another_form_may_look_at_less() -> None:
    def by_type(value: Any) -> Form:
        return Form("function") if callable(value) else form_of(value)

    values = [[1, len], [1, lambda: threading.Lock], [2, len]]
    keys = [Keys(form=by_type).token(value) for value in values]
    assert keys[0] == keys[1] != keys[2]


# -- what has no content ---------------------------------------------------------------------------


def generator() -> Iterator[int]:
    yield 1


@pytest.fixture
def a_socket() -> Iterator[socket.socket]:
    with socket.socket() as made:
        yield made


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (threading.Lock, "<lock>"),
        (threading.RLock, "<RLock>"),
        (generator, "<generator>"),
        (lambda: open(os.devnull), "<TextIOWrapper>"),
        (object, r"an object\(\)"),
        (External, "<External>"),
        (sys._getframe, "<frame>"),
    ],
)
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_what_has_no_content_has_no_key(make: Callable[[], Any], name: str) -> None:
    thing = make()
    for inside in (thing, [thing], {"k": thing}, Bag(a=thing)):
        with pytest.raises(Unkeyable, match=name):
            key_of(inside)


def test_the_way_to_it_is_named(a_socket: socket.socket) -> None:
    def reads() -> Any:
        return a_socket

    for value, path in [
        ({"config": [1, Bag(lock=a_socket)]}, "['config'], [1], attribute lock"),
        (reads, "closure a_socket"),
        (defined("def f(): return sock", sock=a_socket), "global sock"),
        (defined("def f(x=sock): return x", sock=a_socket), "default of x"),
        (Slotted(a=a_socket), "slot a"),
        (Point(1, a_socket), "attribute y"),
        (functools.partial(len, a_socket), "state, [1], [0]"),
    ]:
        with pytest.raises(Unkeyable) as caught:
            key_of(value)
        assert caught.value.path == path
        assert str(caught.value).startswith(f"{path}: <socket> has no content")
        assert "__lazygraph_key__" in str(caught.value) and "pure=False" in str(caught.value)


def test_a_long_way_is_cut() -> None:
    deep: Any = threading.Lock()
    for _ in range(1000):
        deep = [deep]
    with pytest.raises(Unkeyable) as caught:
        key_of(deep)
    assert caught.value.path == "[0], [0], [0], [0], (992 levels more), [0], [0], [0], [0]"


def test_it_is_an_error_of_ours_and_a_type_error() -> None:
    assert issubclass(Unkeyable, LazyGraphError) and issubclass(Unkeyable, TypeError)
    with pytest.raises(Unkeyable) as caught:
        key_of([threading.Lock()])
    again = pickle.loads(pickle.dumps(caught.value))
    assert (str(again), again.path, again.thing) == (str(caught.value), "[0]", "<lock>")


# -- size and shape --------------------------------------------------------------------------------------


def test_a_list_nested_a_hundred_thousand_deep() -> None:
    def nested(innermost: Any) -> Any:
        for _ in range(100_000):
            innermost = [innermost]
        return innermost

    assert key_of(nested(1)) == key_of(nested(1)) != key_of(nested(2))


def test_shared_parts_are_looked_at_once() -> None:
    value: Any = [1]
    for _ in range(1000):
        value = [value, value]  # two to the thousand ways through it
    other: Any = [2]
    for _ in range(1000):
        other = (other, other)
    assert key_of(value) != key_of(other)


def test_values_that_contain_themselves() -> None:
    def ring(*items: Any) -> list[Any]:
        """Lists in a circle, each with an item and the next one."""
        made: list[list[Any]] = [[item] for item in items]
        for at, one in enumerate(made):
            one.append(made[(at + 1) % len(made)])
        return made[0]

    assert key_of(ring(1)) == key_of(ring(1)) != key_of(ring(2))
    assert key_of(ring(1, 2, 3)) == key_of(ring(1, 2, 3)) != key_of(ring(1, 3, 2))
    assert key_of(ring(1, 2, 3)) != key_of(ring(2, 3, 1))
    looping: dict[str, Any] = {}
    looping["self"] = looping
    bag = Bag()
    bag.self = bag  # type: ignore[attr-defined]
    assert len({key_of(looping), key_of(bag), key_of(ring(0))}) == 3


@given(st.data())
def test_knots_are_told_apart_as_far_as_a_walk_can(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 6))
    rows = data.draw(
        st.lists(
            st.tuples(st.integers(0, 1), st.lists(st.integers(0, size - 1), max_size=3)), min_size=size, max_size=size
        )
    )
    order = data.draw(st.permutations(range(size)))

    def made(numbers: Any) -> list[list[Any]]:
        lists: list[list[Any]] = [[] for _ in rows]
        for at in numbers:  # in any order
            letter, reads = rows[at]
            lists[at].append(letter)
            lists[at].extend(lists[read] for read in reads)
        return lists

    @functools.cache
    def seen(at: int, steps: int) -> int:
        """What a walk of so many steps from here sees, as a number that stands for it."""
        letter, reads = rows[at]
        view = (letter, tuple(seen(read, steps - 1) for read in reads) if steps else len(reads))
        return views.setdefault(view, len(views))

    views: dict[Any, int] = {}
    one, other = made(range(size)), made(order)
    keys = [key_of(each) for each in one]
    assert keys == [key_of(each) for each in other]
    for a, b in itertools.combinations(range(size), 2):
        if keys[a] == keys[b]:
            assert seen(a, 2 * size) == seen(b, 2 * size)
    together = Keys()
    tokens = [together.token(each) for each in one]
    for a, b in itertools.combinations(range(size), 2):
        assert (tokens[a] == tokens[b]) <= (seen(a, 2 * size) == seen(b, 2 * size))


# -- numpy and pandas ------------------------------------------------------------------------------


class TestNumpy:
    @pytest.fixture(autouse=True)
    def _numpy(self) -> None:
        self.np = pytest.importorskip("numpy")

    def test_arrays_go_by_dtype_shape_and_values(self) -> None:
        np = self.np
        a = np.arange(12.0).reshape(3, 4)
        assert key_of(a) == key_of(a.copy(order="F")) == key_of(np.ascontiguousarray(a))
        assert key_of(a[::2, ::-1]) == key_of(a[::2, ::-1].copy())
        others = [
            a.T,
            a.astype("f4"),
            a.reshape(4, 3),
            a + 1,
            a.tolist(),
            a[0],
            a[:0],
            a[:, :0],
            np.zeros((3, 4), "i8"),
        ]
        assert len({key_of(each) for each in [a, *others]}) == len(others) + 1

    def test_large_arrays_that_are_not_contiguous(self) -> None:
        np = self.np
        a = np.arange(2_000_000).reshape(1000, 2000)
        assert key_of(a.T) == key_of(a.T.copy()) != key_of(a)

    def test_objects_are_looked_into(self) -> None:
        np = self.np
        make = lambda last: np.array(["a", None, [1, {"k": last}]], dtype=object)  # noqa: E731
        assert key_of(make(1)) == key_of(make(1)) != key_of(make(2))
        with pytest.raises(Unkeyable, match="<lock>"):
            key_of(make(threading.Lock()))

    def test_scalars_and_dtypes(self) -> None:
        np = self.np
        values = [np.float64(1), np.float32(1), np.int64(1), 1.0, 1, np.array(1.0), np.bool_(True), np.str_("1"), "1"]
        values += [np.datetime64("2026-01-01"), np.datetime64("2026-01-01T00"), np.dtype("f8"), np.dtype("f4"), np.add]
        values += [np.dtype(("i4", (2, 3))), np.dtype(("f4", (2, 3))), np.dtype(("i4", (3, 2)))]
        values += [np.dtype([("a", "i4")]), np.dtype([("b", "i4")]), np.multiply, np.sum, np.mean, np.linalg.norm]
        assert len({key_of(value) for value in values}) == len(values)
        assert key_of(np.dtype("f8")) == key_of(np.dtype(float))

    def test_structured_arrays_do_not_tell_their_padding(self) -> None:
        np = self.np
        dtype = np.dtype([("a", "i1"), ("b", "i8")], align=True)
        one, other = np.empty(3, dtype), np.empty(3, dtype)
        one.view("u1")[:], other.view("u1")[:] = 0, 255
        for each in (one, other):
            each["a"], each["b"] = [1, 2, 3], [4, 5, 6]
        assert key_of(one) == key_of(other)
        other["b"][0] = 7
        assert key_of(one) != key_of(other)

    def test_a_mapped_file_is_its_values(self, tmp_path: Path) -> None:
        np = self.np
        mapped = np.memmap(tmp_path / "file", dtype="f8", mode="w+", shape=(3,))
        mapped[:] = [1, 2, 3]
        assert key_of(mapped) == key_of(np.array([1.0, 2.0, 3.0]))

    def test_masked_arrays_and_generators(self) -> None:
        np = self.np
        mask = lambda *m: np.ma.masked_array([1, 2, 3], m)  # noqa: E731
        assert key_of(mask(0, 1, 0)) == key_of(mask(0, 1, 0)) != key_of(mask(1, 0, 0))
        rng = np.random.default_rng
        assert key_of(rng(1)) == key_of(rng(1)) != key_of(rng(2))


class TestPandas:
    @pytest.fixture(autouse=True)
    def _pandas(self) -> None:
        self.pd = pytest.importorskip("pandas")

    def columns(self) -> dict[str, Any]:
        pd = self.pd
        return {
            "numbers": [1, 2],
            "texts": ["x", None],
            "categories": pd.Categorical(["u", "v"]),
            "instants": pd.to_datetime(["2026-01-01", "2026-01-02"]),
            "there": pd.to_datetime(["2026-01-01", "2026-01-02"]).tz_localize("Europe/Berlin"),
            "maybe": pd.array([1, None], dtype="Int64"),
            "periods": pd.period_range("2026", periods=2, freq="M"),
            "spans": pd.to_timedelta([1, 2]),
            "intervals": pd.interval_range(0, 2),
            "objects": [pd.NA, [1]],
        }

    def test_tables_go_by_their_columns(self) -> None:
        pd = self.pd
        table = pd.DataFrame(self.columns())
        assert key_of(table) == key_of(pd.DataFrame(self.columns())) == key_of(table.copy())
        others = [table.drop(columns=name) for name in table]
        others += [table.iloc[::-1], table[[*reversed(table.columns)]], table.set_index("numbers"), table["numbers"]]
        others += [table.rename(columns={"texts": "words"}), table.set_axis([5, 6])]
        assert len({key_of(each) for each in [table, *others]}) == len(others) + 1

    def test_the_layout_in_memory_does_not_count(self) -> None:
        pd = self.pd
        built = pd.DataFrame({"a": [1, 2]})
        built["b"] = [3, 4]
        assert key_of(built) == key_of(pd.DataFrame({"a": [1, 2], "b": [3, 4]}))

    def test_series_and_indexes(self) -> None:
        pd = self.pd
        values = [pd.Series(column) for column in self.columns().values()]
        values += [pd.Series([1, 2]).astype(kind) for kind in ("f8", "i4", "Int32", "category", "object")]
        values += [pd.Series([1, 2], name="a"), pd.Series([1, 2], index=[1, 0])]
        values += [
            pd.Index([1, 2]),
            pd.Index([1, 2], name="a"),
            pd.RangeIndex(1, 3),
            pd.MultiIndex.from_arrays([[1, 2]] * 2),
        ]
        values += [pd.Timestamp("2026-01-01"), pd.Timestamp("2026-01-01", tz="UTC"), pd.Timedelta(1), pd.NaT, pd.NA]
        assert len({key_of(value) for value in values}) == len(values)
        assert [key_of(copy.deepcopy(value)) for value in values] == [key_of(value) for value in values]
