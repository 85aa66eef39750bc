"""Exceptions with ideas of their own: a task fails with them, and whatever ran it goes on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

import lazygraph
from lazygraph import RetryPolicy, delayed
from lazygraph.errors import RemoteError
from lazygraph.executors import ProcessExecutor, SyncExecutor, ThreadExecutor
from lazygraph.executors.base import Executor

WAIT = 30


@dataclass(frozen=True)
class Frozen(Exception):
    """Nothing can be set on it, not even its traceback by assignment."""

    code: int = 3


class NoAttributes(Exception):
    def __setattr__(self, name: str, value: Any) -> None:
        raise RuntimeError("nothing can be set")


class Unreadable(Exception):
    def __getattribute__(self, name: str) -> Any:
        if name in ("__notes__", "add_note", "_lazygraph_noted"):
            raise RuntimeError("nothing can be read")
        return super().__getattribute__(name)


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("nothing can be said")

    __repr__ = __str__


class AnythingGoes(type):
    """Makes classes that cannot tell whether something is theirs."""

    def __instancecheck__(cls, instance: object) -> bool:
        raise RuntimeError("who knows")


class Unclear(Exception, metaclass=AnythingGoes):
    pass


ODD = [Frozen, NoAttributes, Unreadable, Unspeakable]


@delayed
def fail(kind: type[Exception]) -> None:
    raise kind()


@delayed
async def fail_awaited(kind: type[Exception]) -> None:
    raise kind()


@delayed(retries=RetryPolicy(1, on=(Unclear,)))
def fail_unclear() -> None:
    raise OSError("as such")


@delayed
def same(value: int) -> int:
    return value


@delayed
async def awaited(value: int) -> int:
    return value


@pytest.fixture(scope="module", params=[SyncExecutor, ThreadExecutor, ProcessExecutor])
def one_slot(request: pytest.FixtureRequest) -> Iterator[Executor]:
    executor = SyncExecutor() if request.param is SyncExecutor else request.param(1)
    with executor:
        yield executor


@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize("failing", [fail, fail_awaited], ids=["plain", "async"])
def test_it_is_what_the_task_fails_with(one_slot: Executor, failing: Any, kind: type[Exception]) -> None:
    refused = kind is Frozen and one_slot.name == "processes"  # no pickle of it can be opened
    with lazygraph.use(one_slot):
        with pytest.raises(RemoteError if refused else kind):
            failing(kind).compute(timeout=WAIT)
        assert lazygraph.compute(same(1), awaited(2), timeout=WAIT) == (1, 2)


def test_a_class_that_cannot_be_asked_has_nothing_tried_again(one_slot: Executor) -> None:
    with lazygraph.use(one_slot):
        with pytest.raises(OSError, match="as such"):
            fail_unclear().compute(timeout=WAIT)
        assert same(1).compute(timeout=WAIT) == 1
