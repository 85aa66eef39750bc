"""Content keys of code: the same code has one key wherever it stands; what it reads and calls counts with it."""

from __future__ import annotations

import json
import operator
from pathlib import Path
from typing import Any

import pytest

from lazygraph import delayed
from lazygraph.values.keys import Keys, key_of
from tests.values.keyed import defined, in_another_process

# -- in other processes --------------------------------------------------------------------------------

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
