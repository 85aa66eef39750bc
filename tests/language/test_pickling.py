"""Promises and canvases can be pickled, copied and shown, however deep they are."""

from __future__ import annotations

import copy
import operator
import pickle
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import cloudpickle
import pytest

from lazygraph import chain, chord, compute, delayed, group

DEEP = 100_000


@delayed
def add(x: Any, y: Any) -> Any:
    return x + y


@delayed
def tsum(values: list[int]) -> int:
    return sum(values)


def there_and_back(thing: Any) -> Any:
    return pickle.loads(pickle.dumps(thing))


def deep() -> Any:
    promise: Any = add(0, 1)
    for _ in range(DEEP):
        promise = add(promise, 1)
    return promise


def test_a_promise_survives_a_pickle() -> None:
    shared = add(1, [2][0])
    promise = add(add(shared, shared), {"k": [shared, 4]}["k"][1])
    again = there_and_back(promise)
    assert again.compute() == promise.compute() == 10
    assert repr(again) == repr(promise)
    assert len(again.graph) == len(promise.graph) == 3


def test_options_templates_and_order_survive() -> None:
    made = add.options(name="Sum", retries=2)([add(1, 2), {"k": add(3, 4)}], y=[5])
    again = there_and_back(made)
    assert again._options == made._options
    assert there_and_back(add([add(1, 2), 7], y=[add(3, 4)])).compute() == [3, 7, 7]
    order = (add.s(1, 2) | group(add.si(3, 4), add.si(5, 6))).to_delayed()
    assert there_and_back(order).compute() == [7, 11]
    assert len(list(there_and_back(order).graph.edges())) == len(list(order.graph.edges()))


def test_callbacks_survive() -> None:
    promise = add.s(1, 2).link(add.s(10)).to_delayed()
    graph = there_and_back(promise).graph
    assert len(graph) == 2
    assert list(graph.shape.callbacks) == [1]


def test_items_attributes_and_methods_survive() -> None:
    pair = delayed(divmod, nout=2)(17, 5)
    rest = there_and_back(pair[1])
    assert rest.compute() == 2
    assert compute(*there_and_back(pair)) == (3, 2)
    assert there_and_back(delayed("a b").split)().compute() == ["a", "b"]


def test_a_deep_promise_is_pickled_copied_and_shown_without_recursion() -> None:
    promise = deep()
    again = there_and_back(promise)
    assert again.compute() == DEEP + 1
    assert copy.copy(promise) is promise
    assert copy.deepcopy(promise) is promise
    assert "'add' built at" in repr(promise)
    assert len(repr(promise)) < 500


def test_cloudpickle_takes_them_too() -> None:
    assert pickle.loads(cloudpickle.dumps(add(add(1, 2), 3))).compute() == 6
    assert pickle.loads(cloudpickle.dumps(add.s(1, 2) | add.s(3))).compute() == 6


@pytest.mark.parametrize("function", [add, delayed(operator.add), delayed(lambda x, y: x + y, pure=True)])
def test_delayed_functions(function: Any) -> None:
    again = there_and_back(function)
    assert again(1, 2).compute() == 3
    assert again(1, 2)._options == function(1, 2)._options
    with pytest.raises(TypeError, match="missing a required argument"):
        again(1)


def test_lambdas_and_nested_functions_travel_by_value() -> None:
    factor = 3
    assert there_and_back(delayed(lambda x: factor * x)(5)).compute() == 15


@pytest.mark.parametrize(
    ("canvas", "value"),
    [
        (add.s(1, 2), 3),
        (add.s(1, y=2), 3),
        (add.si(1, 2), 3),
        (add.s(1, 2) | add.s(3) | add.s(4), 10),
        (group(add.s(i, i) for i in range(3)), [0, 2, 4]),
        (group([]), []),
        (chord([add.s(1, 1), chain(add.s(2, 2), add.s(1))], tsum.s()), 7),
        (chain(add(1, 2), add.s(3)), 6),
        (tsum.s([add.s(1, 2), add.s(3, 4) | add.s(5)]), 15),
        (group(add.s(1, 2), group(add.s(3, 4)).set(pure=True)), [3, 7]),
    ],
)
def test_canvases(canvas: Any, value: Any) -> None:
    again = there_and_back(canvas)
    assert type(again) is type(canvas)
    assert again.compute() == canvas.compute() == value
    assert repr(again).partition(" built at")[0] == repr(canvas).partition(" built at")[0]


def test_what_was_set_on_canvases_survives() -> None:
    canvas = there_and_back((add.s(1, 2).set(queue="io").link(add.s(5)) | add.s(3)).set(priority=4))
    first = canvas.steps[0].to_delayed()
    assert (first._options.queue, len(first._links)) == ("io", 1)
    assert canvas.to_delayed()._options.priority == 4


def test_a_canvas_is_its_own_copy() -> None:
    canvas = group(add.s(1, 2) | add.s(3))
    assert copy.copy(canvas) is canvas
    assert copy.deepcopy({"k": canvas})["k"] is canvas


def test_a_signature_used_twice_is_pickled_once() -> None:
    signature = add.s(1, 2)
    again = there_and_back(group(signature, signature))
    assert again.members[0] is again.members[1]


def test_long_and_deep_canvases_are_no_recursion() -> None:
    long: Any = add.s(0, 1)
    for _ in range(20_000):
        long = long | add.s(1)
    assert len(there_and_back(long).steps) == 20_001
    deep: Any = add.s(0, 0)
    for _ in range(2_000):
        deep = chord([deep, add.s(1, 0)], tsum.s())
    assert there_and_back(deep).compute() == 2_000
    inside: Any = add.s(0, 0)
    for _ in range(2_000):
        inside = add.s(inside, 1)
    assert there_and_back(inside).compute() == 2_000


SCRIPT = textwrap.dedent("""
    import pickle, sys
    import cloudpickle
    from lazygraph import delayed

    @delayed
    def fib(n):
        return n if n < 2 else (fib(n - 1) + fib(n - 2)).compute()

    @delayed
    def add(x, y):
        return x + y

    ten = add(3, 7)

    @delayed
    def again(x):
        return x + ten.compute()

    things = [add, add(1, 2), add.s(1, 2), fib, again(5), ten]
    for dumps in (pickle.dumps, cloudpickle.dumps):
        for thing in things:
            with open(sys.argv[1], "ab") as file:
                file.write(dumps(thing))
""")

READER = textwrap.dedent("""
    import pickle, sys
    with open(sys.argv[1], "rb") as file:
        for _ in range(2):
            add, three, signature, fib, fifteen, ten = [pickle.load(file) for _ in range(6)]
            assert add(4, 5).compute() == 9
            assert three.compute() == 3
            assert (signature | add.s(4)).compute() == 7
            assert fib(5).compute() == 5
            assert fifteen.compute() == 15
            assert ten.compute() == 10
    print("read")
""")


def test_what_a_script_wrote_another_process_reads(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    (tmp_path / "reader.py").write_text(READER)
    for name in ("script.py", "reader.py"):
        done = subprocess.run(
            [sys.executable, str(tmp_path / name), str(tmp_path / "pickles")],
            capture_output=True, text=True, timeout=50, check=False,
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == ("read\n" if name == "reader.py" else "")


MODULE = textwrap.dedent("""
    from lazygraph import delayed

    @delayed
    def add(x, y):
        return x + y
""")


def test_functions_of_a_module_travel_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sums_of_mine.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    module = __import__("sums_of_mine")
    for dumps in (pickle.dumps, cloudpickle.dumps):
        again = pickle.loads(dumps(module.add(1, 2)))
        assert again._function is module.add.__wrapped__
        assert pickle.loads(dumps(module.add.s(1, 2))).function is module.add.__wrapped__
        assert b"x + y" not in dumps(module.add)
