"""Content keys of what has no content: it says itself what it stands for, or an error names it and the way to it."""

from __future__ import annotations

import functools
import os
import pickle
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from lazygraph.errors import LazyGraphError, Unkeyable
from lazygraph.values.canonical import form_of
from lazygraph.values.forms import Form
from lazygraph.values.keys import Keys, key_of
from lazygraph.values.node import External
from tests.values.keyed import Bag, Point, Slotted, defined

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
