"""Content keys of numpy's arrays and of pandas' tables: their values count, and not how they lie in memory."""

from __future__ import annotations

import copy
import threading
from pathlib import Path
from typing import Any

import pytest

from lazygraph.errors import Unkeyable
from lazygraph.values.keys import key_of


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
