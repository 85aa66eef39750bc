"""A task that changes what it was given is found out on sync and threads, and named."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from lazygraph import compute, delayed
from lazygraph.errors import InputChanged

EXECUTORS = pytest.mark.parametrize("executor", ["sync", "threads"])


@delayed
def made() -> dict[str, list[int]]:
    """Return something that can be changed."""
    return {"rows": [3, 1, 2]}


@pytest.fixture(autouse=True)
def looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look for changes."""
    monkeypatch.setenv("LAZYGRAPH_CHECK_MUTATION", "1")


@EXECUTORS
def test_a_task_that_changes_its_input_is_named(executor: str) -> None:
    @delayed
    def sort_in_place(table: dict[str, list[int]]) -> int:
        table["rows"].sort()
        return table["rows"][0]

    with pytest.raises(InputChanged, match=r"'sort_in_place' changed its argument 1 \(a dict\)") as caught:
        sort_in_place(made()).compute(executor=executor)
    assert f"built at {__file__}" in caught.value.__notes__[0]


@EXECUTORS
def test_a_keyword_and_a_constant_are_looked_at_too(executor: str) -> None:
    @delayed
    def extend(*, rows: list[int]) -> list[int]:
        rows.append(1)
        return rows

    with pytest.raises(InputChanged, match=r"changed its rows= \(a list\)"):
        extend(rows=[1]).compute(executor=executor)


@EXECUTORS
def test_inside_a_chain_that_runs_as_one_task(executor: str) -> None:
    clear = delayed(lambda table: table.clear() or table, name="clear")
    with pytest.raises(InputChanged):
        delayed(len)(clear(made())).compute(executor=executor)


@EXECUTORS
def test_an_async_task_is_looked_at_when_it_has_ended(executor: str) -> None:
    @delayed
    async def later(table: dict[str, list[int]]) -> None:
        table.clear()

    with pytest.raises(InputChanged, match="'later'"):
        later(made()).compute(executor=executor)


@EXECUTORS
def test_tasks_that_change_nothing_run_as_ever(executor: str) -> None:
    lock = threading.Lock()

    @delayed
    def hold(table: Any, key: Any) -> int:
        with key:
            return len(table)

    kept = made()
    assert compute(hold(kept, lock), sorted_rows(kept), executor=executor) == (1, [1, 2, 3])


@delayed
def sorted_rows(table: dict[str, list[int]]) -> list[int]:
    """Return a sorted copy."""
    return sorted(table["rows"])


def test_nobody_looks_unless_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAZYGRAPH_CHECK_MUTATION", "0")
    assert delayed(list.clear)(delayed([1])).compute(executor="sync") is None
