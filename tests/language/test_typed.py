"""What is there for type checkers must not lie about what is there at run time."""

from __future__ import annotations

import pickle
import subprocess
import sys

from lazygraph import Delayed, Future, GroupResult, Signature, delayed, group, ref
from lazygraph.door import _KEYWORDS
from lazygraph.language import typed
from lazygraph.language.delayed import DelayedFunction
from lazygraph.values import keywords
from lazygraph.values.options import NAMES


@delayed
def add(x: int, y: int) -> int:
    return x + y


def test_ref_is_the_promise_itself() -> None:
    three = add(1, 2)
    assert ref(three) is three
    assert add(x=ref(three), y=4).compute() == 7


def test_types_can_be_written_where_they_are_evaluated() -> None:
    assert [Delayed[int], Signature[int, str], Future[int], GroupResult[int]]
    assert isinstance(add(1, 2), Delayed)
    assert isinstance(group(add.s(1, 2)).to_delayed(), Delayed)


def test_a_promise_of_a_generic_class_pickles_and_has_no_dictionary() -> None:
    three = add(1, 2)
    assert pickle.loads(pickle.dumps(three)).compute() == 3
    assert not hasattr(three, "__dict__")
    assert not hasattr(add.s(1), "__dict__")


def test_every_verb_that_checkers_know_is_there() -> None:
    known = {name for name, value in vars(typed.Function).items() if isinstance(value, property)}
    assert known >= {"s", "si", "delay", "map"}
    assert [name for name in known if not callable(getattr(DelayedFunction, name))] == []


def test_checkers_know_the_keywords_that_are_taken() -> None:
    assert set(keywords.HowToRun.__annotations__) == set(_KEYWORDS)
    assert set(keywords.OfFunctions.__annotations__) == NAMES
    assert set(keywords.Plain.__annotations__) == NAMES - {"name"} | {"traverse"}
    assert set(keywords.Binding.__annotations__) == set(keywords.Plain.__annotations__)


def test_what_is_for_checkers_only_is_not_loaded() -> None:
    program = (
        "import sys; from lazygraph import delayed, group, compute; compute(group(delayed(abs).s(-1)));"
        "print([name for name in ('lazygraph.language.typed', 'lazygraph.values.keywords') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
