"""`cache=` where tasks run in other processes, and in other people's hands."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lazygraph import Client, LocalCluster, Store, delayed
from lazygraph.executors import ProcessExecutor
from lazygraph.planning import caching


@delayed
def say(folder: str, value: Any) -> Any:
    """Leave a mark, and return the value."""
    with open(f"{folder}/ran", "a") as file:
        file.write("say\n")
    return value


def ran(folder: Path) -> int:
    """How often something has run since this was asked last."""
    place = folder / "ran"
    count = len(place.read_text().split()) if place.exists() else 0
    place.unlink(missing_ok=True)
    return count


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with LocalCluster(n_workers=2) as cluster, Client(cluster, set_as_default=False) as client:
        yield client


def test_submit_and_map_of_a_client(client: Client, marks: Path, store: Store) -> None:
    function: Any = say
    for _ in range(2):
        assert client.submit(function, str(marks), 1, cache=store).result(30) == 1
        futures = client.map(function, [str(marks)] * 3, [1, 2, 3], cache=store)
        assert [future.result(30) for future in futures] == [1, 2, 3]
    assert ran(marks) == 3


def test_what_one_executor_has_kept_another_finds(client: Client, marks: Path, store: Store) -> None:
    total = delayed(sum, cache=store)([say.options(cache=store)(str(marks), n) for n in range(3)])
    with ProcessExecutor(2) as processes:
        assert total.compute(executor=processes) == 3
    assert total.compute(executor=client.executor) == 3
    assert total.compute(executor="sync") == 3
    assert ran(marks) == 3


def test_functions_of_a_script_are_known_again_in_the_next_process(marks: Path, store: Store) -> None:
    script = """
        import sys
        from lazygraph import LocalCluster, Client, Store, delayed

        class Point:
            def __init__(self, x):
                self.x = x

        @delayed(cache=Store(sys.argv[2]))
        def point(folder, x):
            open(folder + "/ran", "a").write("point\\n")
            return Point(x)

        @delayed(cache=Store(sys.argv[2]))
        def of(folder, point):
            open(folder + "/ran", "a").write("of\\n")
            return point.x + 1

        if sys.argv[3] == "cluster":
            with LocalCluster(n_workers=1) as cluster, Client(cluster) as client:
                print(of(sys.argv[1], point(sys.argv[1], 4)).compute())
        else:
            print(of(sys.argv[1], point(sys.argv[1], 4)).compute(executor=sys.argv[3]))
    """
    place = marks.parent / "script.py"
    place.write_text(textwrap.dedent(script), encoding="utf-8")
    for executor in ("threads", "cluster", "sync"):
        command = [sys.executable, "-W", "error", str(place), str(marks), str(store.path), executor]
        assert subprocess.run(command, check=True, capture_output=True, timeout=120).stdout == b"5\n"
    assert ran(marks) == 2


def test_two_programs_that_make_the_same_at_once(marks: Path, store: Store) -> None:
    script = """
        import sys
        from lazygraph import Store, delayed
        from operator import mul

        parts = [delayed(mul, cache=Store(sys.argv[1]))(n, n) for n in range(50)]
        print(delayed(sum, cache=Store(sys.argv[1]))(parts).compute())
    """
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(script), str(store.path)]
    programs = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert [program.communicate(timeout=120)[0] for program in programs] == ["40425\n"] * 3
    assert len(store) == 51


def test_a_value_that_goes_before_it_is_fetched_is_made_again(marks: Path, store: Store) -> None:
    first = say.options(cache=store)(str(marks), 1)
    second = delayed(abs, cache=store)(first)
    third = delayed(abs, pure=True)(second)
    assert third.compute() == 1
    plan = caching.cached(third.graph)
    store.clear()
    assert plan.compute() == (1,)
    assert (ran(marks), len(store)) == (2, 2)
    assert third.compute() == 1
    assert ran(marks) == 0


def test_a_value_that_goes_and_whose_recipe_is_too_large_to_travel_is_an_error(
    marks: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(caching, "MOST", 10)
    first = say.options(cache=store)(str(marks), 1)
    with ProcessExecutor(1) as processes:
        assert first.compute(executor=processes) == 1
        graph = caching.cached(first.graph)
        store.clear()
        with pytest.raises(LookupError, match=r"kept value of 'say' \(built at .*\) is lost: .*run it again"):
            graph.compute(executor=processes)
        assert first.compute(executor=processes) == 1
    assert ran(marks) == 2


def test_an_error_begins_in_the_users_code(store: Store) -> None:
    @delayed(cache=store)
    def wrong(x: int) -> float:
        return 1 / x

    with pytest.raises(ZeroDivisionError) as caught:
        wrong(0).compute(executor="sync")
    frames = traceback.extract_tb(caught.value.__traceback__)
    assert not any("keeping" in frame.filename for frame in frames)
    assert frames[-1].name == "wrong"


def test_a_recorder_sees_what_was_called(lazygraph_sim: Any, store: Store) -> None:
    whole = delayed(sum, cache=store)([delayed(divmod, cache=store, nout=2)(n, 7)[0] for n in (7, 14)])
    assert [whole.compute(), whole.compute()] == [3, 3]
    assert sorted(call.name for call in lazygraph_sim.calls if call.name != "getitem") == [
        "divmod",
        "divmod",
        "sum",
    ]
