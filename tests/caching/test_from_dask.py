"""Dask's collections, kept under content keys of ours."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from lazygraph import Store
from lazygraph.executors import ProcessExecutor, ThreadExecutor

dask = pytest.importorskip("dask")
da = pytest.importorskip("dask.array")
np = pytest.importorskip("numpy")
interop = pytest.importorskip("lazygraph.interop.dask")


def noted(folder: Path) -> Any:
    def note(block: Any) -> Any:
        with (folder / "ran").open("a") as file:
            file.write("block\n")
        return block * 2

    return note


def ran(folder: Path) -> int:
    """How many blocks have run since this was asked last."""
    place = folder / "ran"
    lines = place.read_text().split() if place.exists() else []
    place.unlink(missing_ok=True)
    return len(lines)


def array(folder: Path, n: int, optimized: bool = True) -> Any:
    source = da.from_array(np.arange(float(n)), chunks=10)
    return source.map_blocks(noted(folder), dtype=float, meta=np.array([])).sum()


@pytest.mark.parametrize("kind", [ThreadExecutor, ProcessExecutor])
def test_a_second_run_computes_nothing(kind: Any, marks: Path, store: Store) -> None:
    with kind(2):
        for _ in range(2):
            assert interop.from_dask(array(marks, 40), cache=store).compute() == 40 * 39
        assert ran(marks) == 4
        assert interop.from_dask(array(marks, 30), cache=store).compute() == 30 * 29
        assert ran(marks) == 3
    profile = interop.from_dask(array(marks, 30), cache=store).explain()
    assert profile.cache[0].sentence == "found: is loaded"
    assert profile.nodes == 1


def test_blocks_that_are_annotated_are_kept_one_by_one(marks: Path) -> None:
    def rows(n: int) -> Any:
        source = da.from_array(np.arange(float(n)), chunks=10)
        with dask.annotate(cache=True):
            return source.map_blocks(noted(marks), dtype=float, meta=np.array([]))

    assert rows(40).sum().compute(scheduler=interop.get, optimize_graph=False) == 40 * 39
    assert ran(marks) == 4
    assert rows(40).max().compute(scheduler=interop.get, optimize_graph=False) == 78
    assert ran(marks) == 0


def test_of_delayed_calls_nothing_is_taken_for_pure(marks: Path, store: Store) -> None:
    total = dask.delayed(sum)([dask.delayed(noted(marks))(n) for n in range(3)])
    assert [interop.from_dask(total, cache=store).compute() for _ in range(2)] == [6, 6]
    assert ran(marks) == 6
    [entry] = store.entries()
    assert entry.name == "sum"


def test_the_order_in_a_list_of_dasks_is_content(store: Store) -> None:
    def joined(*parts: int) -> Any:
        pieces = [da.from_array(np.full(2, float(part))) for part in parts]
        return interop.from_dask(da.concatenate(pieces), cache=store).compute().tolist()

    assert [joined(1, 2), joined(2, 1), joined(1, 2)] == [[1, 1, 2, 2], [2, 2, 1, 1], [1, 1, 2, 2]]
    assert len(store) == 2


def test_a_changed_function_is_another_even_where_dask_takes_it_for_the_same(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    module = tmp_path / "blocks_of_mine.py"
    values = []
    for factor in (2, 3):
        module.write_text(f"def scaled(block):\n    return block * {factor}  # {'x' * factor}\n")
        sys.modules.pop("blocks_of_mine", None)
        importlib.invalidate_caches()
        scaled = importlib.import_module("blocks_of_mine").scaled
        source = da.from_array(np.arange(4.0), chunks=2)
        values.append(interop.from_dask(source.map_blocks(scaled, dtype=float).sum(), cache=store).compute())
    assert values == [12, 18]


def test_a_key_is_the_same_in_another_process(marks: Path, store: Store) -> None:
    script = """
        import sys
        import dask.array as da, numpy as np
        from lazygraph import Store
        from lazygraph.interop.dask import from_dask

        x = da.from_array(np.arange(24.0).reshape(4, 6), chunks=2)
        y = ((x + 1) * x[::-1] - x.mean(axis=0)).dot(x.T).std()
        print(from_dask(y, cache=Store(sys.argv[1])).compute(executor="sync"))
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(store.path)]
    said = {
        subprocess.run(command, env={**os.environ, "PYTHONHASHSEED": seed}, check=True, capture_output=True).stdout
        for seed in "123"
    }
    assert len(said) == 1
    assert len(store) == 1


def test_a_long_chain_that_dask_makes_one_task(store: Store) -> None:
    x = da.from_array(np.zeros(2))
    for _ in range(400):
        x = x + 1
    assert [interop.from_dask(x, cache=store).compute().tolist() for _ in range(2)] == [[400, 400]] * 2
    assert len(store) == 1
