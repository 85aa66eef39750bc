"""The store of files: never a wrong value, never more than was said, whoever writes and dies beside it."""

from __future__ import annotations

import os
import pickle
import signal
import stat
import subprocess
import sys
import textwrap
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lazygraph import Store, delayed, key_of
from lazygraph.errors import CacheWarning, InvalidOption
from lazygraph.executors.files.store import default_path, default_store

A, B, C, D = (key_of(letter) for letter in "abcd")


class Clock:
    """Shows the time that a test says."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def place_of(store: Store, key: str) -> Path:
    [place] = store.path.rglob(key)
    return place


def value_of(store: Store, key: str) -> Any:
    found = store.load(key)
    return None if found is None else found.value


@pytest.mark.parametrize(
    "value",
    [None, 0, "text", b"\0" * 100_000, [1, {"a": (2, 3)}], lambda: 5, np.arange(100_000.0), {"x": np.eye(3), "y": "z"}],
    ids=["None", "0", "text", "bytes", "nested", "lambda", "array", "arrays"],
)
def test_a_value_comes_back(value: Any, store: Store) -> None:
    assert not store.find(A)
    assert store.load(A) is None
    store.keep(A, value)
    assert store.find(A)
    back = value_of(store, A)
    if callable(value):
        assert back() == value()
    else:
        np.testing.assert_equal(back, value)
        assert type(back) is type(value)


def test_arrays_belong_to_who_loads_them(store: Store) -> None:
    store.keep(A, np.zeros(1000))
    first = value_of(store, A)
    first += 1
    assert value_of(store, A).sum() == 0


def test_a_large_array_is_written_as_it_is(store: Store) -> None:
    array = np.random.default_rng(1).random(100_000)
    store.keep(A, array)
    assert array.tobytes() in place_of(store, A).read_bytes()


def test_only_the_user_can_read_it(store: Store) -> None:
    store.keep(A, 1)
    assert stat.S_IMODE(place_of(store, A).stat().st_mode) == 0o600
    assert {stat.S_IMODE(folder.stat().st_mode) for folder in (store.path, place_of(store, A).parent)} == {0o700}


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-1],
        lambda data: data[:20],
        lambda data: b"",
        lambda data: data[:100] + bytes([data[100] ^ 1]) + data[101:],
        lambda data: data + b"\0",
        lambda data: data[::-1],
        lambda data: b"\0" * len(data),
    ],
    ids=["cut by one", "cut short", "empty", "one bit", "longer", "backwards", "zeros"],
)
def test_a_damaged_file_is_no_value_and_goes(damage: Callable[[bytes], bytes], store: Store) -> None:
    store.keep(A, list(range(1000)))
    place = place_of(store, A)
    place.write_bytes(damage(place.read_bytes()))
    with pytest.warns(CacheWarning, match=f"{A}: .*; it is deleted"):
        assert store.load(A) is None
    assert not place.exists()
    store.keep(A, 2)
    assert value_of(store, A) == 2


def test_a_file_under_a_wrong_name_is_no_value(store: Store) -> None:
    store.keep(A, 1)
    store.keep(B, 2)
    place_of(store, A).write_bytes(place_of(store, B).read_bytes())
    with pytest.warns(CacheWarning, match="its content has changed"):
        assert store.load(A) is None
    assert value_of(store, B) == 2


def test_what_cannot_be_opened_here_is_made_again(store: Store) -> None:
    store.keep(A, type("Gone", (), {"__module__": "no_such_module", "__reduce__": lambda self: (Gone, ())})())
    with pytest.warns(CacheWarning, match="no longer"):
        assert store.load(A) is None


class Gone:
    """Its values cannot be opened."""

    def __new__(cls) -> Gone:
        raise ValueError("no longer")


def test_what_was_not_used_for_longest_goes_first(tmp_path: Path) -> None:
    clock = Clock()
    store = Store(tmp_path, max_bytes=4000, clock=clock)
    for key in (A, B, C):
        store.keep(key, bytes(1000), name=key[:3])
        clock.now += 1
    assert value_of(store, A) == bytes(1000)
    clock.now += 1
    store.keep(D, bytes(1000))
    assert [entry.key for entry in store.entries()] == [D, A, C]
    assert [store.find(key) for key in (A, B, C, D)] == [True, False, True, True]
    assert store.bytes <= 4000


def test_what_is_larger_than_all_there_may_be_is_not_kept(tmp_path: Path) -> None:
    store = Store(tmp_path / "store", max_bytes=1000)
    store.keep(A, bytes(500))
    with pytest.raises(InvalidOption, match=r"takes 2,\d\d\d bytes, and Store\(.*\) holds 1,000 at most"):
        store.keep(B, bytes(2000))
    assert [entry.key for entry in store.entries()] == [A]
    assert list((store.path / "new").iterdir()) == []
    large = delayed(bytes, cache=store)(2000)
    with pytest.warns(CacheWarning, match=r"'bytes' .* is not kept: InvalidOption: it takes 2,"):
        assert len(large.compute(executor="sync")) == 2000


def test_what_is_too_old_is_made_again_and_goes(tmp_path: Path) -> None:
    clock = Clock()
    store = Store(tmp_path, max_age=60, clock=clock)
    store.keep(A, 1)
    clock.now += 50
    assert value_of(store, A) == 1
    clock.now += 20
    assert (store.find(A), store.load(A)) == (False, None)
    store.keep(B, 2)
    assert [entry.key for entry in store.entries()] == [B]


def test_what_is_being_read_stays_readable(store: Store) -> None:
    store.keep(A, bytes(1000))
    with place_of(store, A).open("rb") as file:
        store.clear()
        assert len(file.read()) > 1000
    assert len(store) == 0


def test_who_is_killed_while_he_writes_leaves_nothing_that_is_read(store: Store) -> None:
    script = """
        import sys, threading
        from lazygraph import Store

        class Slow:
            def __reduce__(self):
                print("in the middle", flush=True)
                threading.Event().wait()

        Store(sys.argv[1]).keep(sys.argv[2], [bytes(1_000_000), Slow()])
    """
    store.keep(B, "before")
    command = [sys.executable, "-c", textwrap.dedent(script), str(store.path), A]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "in the middle\n"
        assert [left.stat().st_size > 1_000_000 for left in (store.path / "new").iterdir()] == [True]
        os.kill(writer.pid, signal.SIGKILL)
    assert (store.find(A), store.load(A), value_of(store, B)) == (False, None, "before")
    assert [entry.key for entry in store.entries()] == [B]
    store.keep(A, "after")
    assert value_of(store, A) == "after"
    [left] = (store.path / "new").iterdir()
    os.utime(left, (0, 0))  # a day later
    store.keep(C, 1)
    assert list((store.path / "new").iterdir()) == []


def test_many_processes_on_one_store(store: Store) -> None:
    script = """
        import random, sys, warnings
        warnings.simplefilter("error")
        from lazygraph import Store, key_of

        store, random = Store(sys.argv[1], max_bytes=60_000), random.Random(sys.argv[2])
        seen = 0
        for _ in range(300):
            number = random.randrange(20)
            found = store.load(key_of(number))
            if found is None:
                store.keep(key_of(number), [number] * 2000)
            else:
                assert found.value == [number] * 2000
                seen += 1
        print(seen)
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(store.path)]
    workers = [
        subprocess.Popen([*command, str(n)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for n in range(3)
    ]
    said = [worker.communicate(timeout=120) for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0, 0], said
    assert sum(int(out) for out, _ in said) > 0
    assert 0 < store.bytes <= 60_000
    assert list((store.path / "new").iterdir()) == []


def test_many_threads_on_one_store(tmp_path: Path) -> None:
    store = Store(tmp_path, max_bytes=20_000)
    wrong: list[Any] = []

    def work(first: int) -> None:
        for number in range(first, first + 60):
            store.keep(key_of(number % 20), number % 20)
            if value_of(store, key_of(number % 20)) not in (number % 20, None):
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert 0 < len(store) <= 20


def test_an_index_that_is_gone_is_made_again_of_the_files(tmp_path: Path) -> None:
    first = Store(tmp_path, max_bytes=5000)
    first.keep(A, bytes(2000))
    del first
    for place in tmp_path.glob("index*"):
        place.unlink()
    again = Store(tmp_path, max_bytes=5000)
    assert value_of(again, A) == bytes(2000)
    again.keep(B, bytes(2000))
    again.keep(C, bytes(2000))
    assert [entry.key for entry in again.entries()] == [C, B]


def test_a_damaged_index_costs_no_value(tmp_path: Path) -> None:
    Store(tmp_path).keep(A, 1)
    for place in tmp_path.glob("index*"):
        place.unlink()
    (tmp_path / "index.sqlite").write_bytes(b"not a database at all" * 100)
    store = Store(tmp_path)
    with pytest.warns(CacheWarning, match=r"the index of .*: file is not a database; a new one is made"):
        store.keep(B, 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        store.keep(C, 3)
    assert [value_of(store, key) for key in (A, B, C)] == [1, 2, 3]
    assert len(store.entries()) == 3


def test_a_row_without_a_file_is_no_value(tmp_path: Path) -> None:
    store = Store(tmp_path, max_bytes=5000)
    store.keep(A, bytes(3000))
    place_of(store, A).unlink()
    assert (store.find(A), store.load(A), store.entries()) == (False, None, [])
    store.keep(B, bytes(3000))
    store.keep(C, bytes(1000))
    assert {entry.key for entry in store.entries()} == {B, C}


def test_a_store_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    one = delayed(abs, cache=Store(tmp_path / "file" / "store"))(-1)
    with pytest.warns(CacheWarning, match="'abs' .* is not kept: NotADirectoryError"):
        assert one.compute(executor="sync") == 1


def test_values_can_be_looked_at_and_forgotten(store: Store) -> None:
    assert (store.entries(), len(store), store.bytes, A in store) == ([], 0, 0, False)
    store.keep(A, 1, name="one")
    [entry] = store.entries()
    assert (entry.key, entry.name, entry.size) == (A, "one", store.bytes)
    assert A in store
    store.forget(A)
    store.forget(A)
    assert (store.entries(), A in store) == ([], False)


def test_stores_of_one_folder_are_equal_and_travel(store: Store, tmp_path: Path) -> None:
    assert store == Store(str(tmp_path / "store")) == pickle.loads(pickle.dumps(store))
    assert len({store, Store(tmp_path / "store"), Store(tmp_path / "store", max_age=1)}) == 2


def test_the_default_is_the_users_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert default_store().path == tmp_path / "default"
    monkeypatch.delenv("LAZYGRAPH_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert default_path() == tmp_path / "xdg" / "lazygraph"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_path() == tmp_path / ".cache" / "lazygraph"
    default_path().mkdir(parents=True)
    default_path().chmod(0o777)
    with pytest.raises(InvalidOption, match="others can write to it"):
        delayed(abs, cache=True)(-1).compute()


@pytest.mark.parametrize("limits", [{"max_bytes": -1}, {"max_age": "1d"}, {"max_bytes": True}])
def test_a_wrong_limit_is_refused(limits: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(InvalidOption, match=rf"Store\({next(iter(limits))}="):
        Store(tmp_path, **limits)


def test_an_empty_path_is_not_the_folder_one_happens_to_be_in() -> None:
    with pytest.raises(InvalidOption, match=r"Store\(''\): the path of a folder is wanted"):
        Store("")
