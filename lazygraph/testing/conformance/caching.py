"""What every executor must do about `cache=`: a second run computes only what has changed."""

from __future__ import annotations

import asyncio
import os
import tempfile
import warnings
from typing import TYPE_CHECKING

import pytest

from lazygraph.errors import CacheWarning
from lazygraph.executors.files.store import VARIABLE, Store
from lazygraph.language.delayed import delayed
from lazygraph.testing.conformance.needs import needs
from lazygraph.testing.conformance.tasks import (
    add,
    count_down,
    give,
    large,
    length,
    marked,
    marked_by_itself,
    marks,
    total,
)

if TYPE_CHECKING:
    from pathlib import Path


@delayed
async def nap_and_mark(folder: str, value: int) -> int:
    """Leave a mark as `marked` does, a turn of the event loop later."""
    await asyncio.sleep(0)
    handle, _ = tempfile.mkstemp(dir=folder)
    os.close(handle)
    return value


class CacheCases:
    """Part of `option_suite.OptionCases`."""

    @pytest.fixture(autouse=True)
    def _default_store(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(VARIABLE, str(tmp_path.with_name(f"{tmp_path.name}-store")))

    @pytest.fixture
    def folder(self, tmp_path: Path) -> str:
        """Where tasks leave marks."""
        (tmp_path / "marks").mkdir()
        return str(tmp_path / "marks")

    @needs("cache")
    def test_a_second_run_computes_only_what_has_changed(self, folder: str) -> None:
        def whole(last: int) -> int:
            with_key = marked.options(cache=True)
            members = [with_key(folder, give.options(pure=True)(n)) for n in (1, 2, last)]
            return int(total.options(cache=True)(members).compute())

        assert [whole(3), whole(3)] == [6, 6]
        assert marks(folder) == 3
        assert whole(4) == 7
        assert marks(folder) == 4

    @needs("cache")
    def test_what_is_above_a_kept_value_does_not_run(self, folder: str) -> None:
        above = marked.options(pure=True)(folder, 1)
        kept = add.options(cache=True)(above, 1)
        assert [kept.compute(), add(kept, 1).compute(), add(kept, above).compute()] == [2, 3, 3]
        assert marks(folder) == 2

    @needs("cache")
    def test_below_an_impure_task_a_call_is_known_by_the_values_it_gets(self, folder: str) -> None:
        kept = marked.options(cache=True)(folder, give(1))
        assert [kept.compute(), kept.compute(), marked.options(cache=True)(folder, give(2)).compute()] == [1, 1, 2]
        assert marks(folder) == 2

    @needs("cache", "bind", "retries")
    def test_a_bound_and_an_awaited_task_are_kept(self, folder: str) -> None:
        bound = marked_by_itself.options(cache=True, retries=1)(folder, 1)
        impure = marked_by_itself.options(cache=True)(folder, give(2))
        awaited = nap_and_mark.options(cache=True)(folder, 3)
        for _ in range(2):
            assert total([bound, impure, awaited]).compute() == 6
        assert marks(folder) == 3

    @needs("cache")
    def test_what_a_task_was_replaced_by_is_kept(self) -> None:
        steps = count_down.options(cache=True)(3, 0)
        assert [steps.compute(), steps.compute()] == [6, 6]

    @needs("cache")
    def test_a_kept_value_that_is_lost_before_it_is_fetched_is_made_again(self, folder: str, tmp_path: Path) -> None:
        store = Store(tmp_path / "a store")
        kept = marked.options(cache=store)(folder, give.options(pure=True)(7))
        below = add(kept, 1)
        assert below.compute() == 8
        [place] = (store.path / store.entries()[0].key[:2]).iterdir()
        data = bytearray(place.read_bytes())
        data[3] ^= 1
        place.write_bytes(data)  # it is there, and as long as it should be
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", CacheWarning)
            assert below.compute() == 8
        assert marks(folder) == 2
        assert below.compute() == 8
        assert marks(folder) == 2

    @needs("cache")
    def test_a_value_that_cannot_be_kept_can_be_used(self, tmp_path: Path) -> None:
        small = Store(tmp_path / "a store", max_bytes=100)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", CacheWarning)
            assert length(large.options(cache=small)(1000)).compute() == 1000
        assert small.entries() == []

    @needs("cache")
    def test_a_large_value_is_kept(self, tmp_path: Path) -> None:
        store = Store(tmp_path / "a store")
        kept = large.options(cache=store)(3_000_000)
        assert [len(kept.compute()), len(kept.compute())] == [3_000_000, 3_000_000]
        assert [entry.name for entry in store.entries()] == ["large"]
        assert store.bytes > 3_000_000
