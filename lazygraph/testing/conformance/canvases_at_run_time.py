"""What every executor must make of what is known only while it runs: fan-outs, and tasks that return more to do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import lazygraph.door as door
from lazygraph.language.composing import chain, chord, group
from lazygraph.language.dynamic import each, quote, replace
from lazygraph.testing.conformance import tasks
from lazygraph.testing.conformance.tasks import add, give, length, total
from lazygraph.values.status import Status

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

WAIT = 30
"""Seconds after which something that should happen is given up; no test that passes waits so long."""

IN_A_CHAIN: dict[str, Callable[[Any], Any]] = {
    "alone": lambda x: x(),
    "first": lambda x: x() | give.s(),
    "in the middle": lambda x: give.s(42) | x(False) | give.s(),
    "last": lambda x: give.s(42) | x(False),
}
"""Where a step that gives 42 can stand so that the whole gives 42; asked for with False it is fed 42."""

IN_A_GROUP: dict[str, Callable[[Any], Any]] = {
    "only member": lambda x: (group(x()), [42]),
    "first member": lambda x: (group(x(), give.s(1337), give.s(31337)), [42, 1337, 31337]),
    "middle member": lambda x: (group(give.s(42), x(), give.s(31337)), [42, 42, 31337]),
    "last member": lambda x: (group(give.s(42), give.s(1337), x()), [42, 1337, 42]),
    "member of a group in the group": lambda x: (group(give.s(1), group(x(), give.s(2))), [1, 42, 2]),
    "in a chain in the group": lambda x: (group(give.s(1), give.s(42) | x(False)), [1, 42]),
    "in a header": lambda x: (chord([x(), give.s(1337)], give.s()), [42, 1337]),
    "in a chain in a header": lambda x: (chord([give.s(42) | x(False) | give.s(), give.s(1)], give.s()), [42, 1]),
    "body": lambda x: (chord([give.s(40), give.s(2)], total.s()) | x(False), 42),
    "in a body that is a chain": lambda x: (chord([give.s(42)], total.s() | x(False) | give.s()), 42),
    "in a body that is a group": lambda x: (chord([give.s(42)], total.s() | group(x(False), give.s())), [42, 42]),
    "in a header in a header": lambda x: (chord([chord([x()], give.s()), give.s(1)], give.s()), [[42], 1]),
}
"""Where it can stand in groups and chords, and what the whole gives then."""

REPLACED: dict[str, Callable[..., Any]] = {
    "by a signature": lambda *fed: tasks.become.s(*fed, by=quote(tasks.first.s())),
    "by a chain": lambda *fed: tasks.become.s(*fed, by=quote(tasks.first.s() | give.s() | give.s())),
    "by a chord": lambda *fed: tasks.become.s(*fed, by=quote(chord([tasks.first.s()], total.s()))),
    "by a replaced task": lambda *fed: tasks.become.s(
        *fed, by=quote(tasks.become.s(by=quote(tasks.first.s())) | tasks.first.s())
    ),
    "by a chain that begins with one": lambda *fed: tasks.become.s(
        *fed, by=quote(tasks.become.s(by=quote(give.s())) | tasks.first.s() | tasks.first.s())
    ),
    "by a fan-out": lambda *fed: tasks.become.s(*fed, by=quote(each(give.s()) | total.s())),
    "by a delayed call": lambda *fed: tasks.call_later.s(*fed),
}
"""Tasks that return a canvas in the end worth what they were given."""


class RunTimeCases:
    """Part of `canvases.CanvasCases`."""

    # -- fan-outs over lists known at run time -----------------------------------------------------

    @pytest.mark.parametrize("count", [0, 1, 2, 100])
    def test_a_fan_out_has_a_member_for_every_item_in_order(self, count: int) -> None:
        canvas = tasks.pack.s(*range(count)) | each(add.s(1))
        assert canvas.delay().get(WAIT) == list(range(1, count + 1))
        assert (canvas | length.s()).delay().get(WAIT) == count
        assert group(canvas, give.s("x")).compute() == [list(range(1, count + 1)), "x"]

    def test_fan_outs_of_all_canvases(self) -> None:
        three = tasks.pack.s(1, 2, 3)
        assert (three | each(add.s(1) | add.s(1))).compute() == [3, 4, 5]
        assert (three | each(group(give.s(), add.s(1)))).compute() == [[1, 2], [2, 3], [3, 4]]
        assert (three | each(chord([give.s(), give.s()], total.s()))).compute() == [2, 4, 6]
        assert (three | each(give.si("x"))).compute() == ["x"] * 3
        assert (group(give.s(1), give.s(2)) | each(add.s(1)) | total.s()).compute() == 5
        assert (three | each(tasks.become.s(by=quote(tasks.first.s())))).compute() == [1, 2, 3]

    def test_fan_outs_in_fan_outs(self) -> None:
        rows = give.s([[1, 2], [], [3]])
        assert (rows | each(each(add.s(1)))).compute() == [[2, 3], [], [4]]
        assert (rows | each(each(add.s(1)) | total.s()) | total.s()).compute() == 9

    def test_a_fan_out_behind_call_arguments(self) -> None:
        assert each(tasks.describe.s(2)).delay([0, 1], k=3).get(WAIT) == ["(0, 2) {'k': 3}", "(1, 2) {'k': 3}"]

    def test_items_are_values_whatever_they_look_like(self) -> None:
        items = [(1, 2), {"a": 1}, None, ["x", ["y"]], "text", b"", frozenset({1})]
        assert (give.s(items) | each(give.s())).compute() == items

    def test_a_failing_member_of_a_fan_out(self) -> None:
        canvas = tasks.pack.s(1, 0, 2) | each(tasks.inverse.s()) | total.s()
        with pytest.raises(ZeroDivisionError):
            canvas.compute()
        future = canvas.delay()
        assert isinstance(future.exception(WAIT), ZeroDivisionError)
        assert future.status is Status.UPSTREAM_FAILED
        assert "inverse" in (future.cause or "")

    def test_a_fan_out_over_no_list_says_so(self) -> None:
        with pytest.raises(TypeError, match="fans out over a list, but what came before it is int"):
            (give.s(5) | each(give.s())).compute()

    # -- tasks that return more to do --------------------------------------------------------------

    @pytest.mark.parametrize("place", IN_A_CHAIN)
    @pytest.mark.parametrize("how", REPLACED)
    def test_a_replaced_step_of_a_chain_is_as_if_inline(self, how: str, place: str) -> None:
        canvas = IN_A_CHAIN[place](lambda fed=True: REPLACED[how](*([42] if fed else [])))
        assert canvas.delay().get(WAIT) == 42
        assert canvas.compute() == 42

    @pytest.mark.parametrize("place", IN_A_GROUP)
    @pytest.mark.parametrize("how", REPLACED)
    def test_a_replaced_member_is_as_if_inline(self, how: str, place: str) -> None:
        canvas, value = IN_A_GROUP[place](lambda fed=True: REPLACED[how](*([42] if fed else [])))
        assert canvas.delay().get(WAIT) == value

    def test_a_task_replaced_by_a_group_is_one_member(self) -> None:
        becomes = tasks.become.s(1, 2, by=quote(each(add.s(1))))
        assert group(becomes, give.s(0)).compute() == [[2, 3], 0]
        by_group = tasks.become.s(1, 2, by=quote(group(length.s(), total.s())))
        assert group(by_group, chain(by_group, total.s())).compute() == [[2, 3], 5]
        assert (by_group | group(total.s(), length.s())).compute() == [5, 2]
        assert tasks.become.s(by=quote(group([]))).compute() == []

    def test_what_a_task_becomes_is_no_further_progress(self) -> None:
        run = door.start(group(tasks.add_replaced.s(1, 2), give.s(0)) | total.s())
        assert run.result(WAIT) == (3,)
        assert run.progress() == (len(run.plan), len(run.plan))

    def test_chords_of_replaced_tasks_in_a_header(self) -> None:
        header = [
            chord([tasks.add_replaced.s(1, 2), add.s(3, 4)], total.s()) | tasks.add_replaced.s(19),
            chord([tasks.add_replaced.s(6, 7), tasks.add_replaced.s(8, 7)], total.s()) | add.s(10),
        ]
        assert chord(header, give.s()).delay().get(WAIT) == [29, 38]

    def test_replacements_of_replacements_happen_in_order(self, tmp_path: Path) -> None:
        inner = tasks.log.si(str(tmp_path / "log"), "in B") | tasks.log.si(str(tmp_path / "log"), "in C")
        outer = tasks.log.si(str(tmp_path / "log"), "in A") | tasks.become.si(by=quote(inner))
        (tasks.become.s(by=quote(outer)) | tasks.log.si(str(tmp_path / "log"), "out")).compute()
        assert (tmp_path / "log").read_text(encoding="utf-8").split("\n")[:-1] == ["in A", "in B", "in C", "out"]

    def test_a_delayed_function_replaced_by_itself(self) -> None:
        assert tasks.count_down.s(30, 0).delay().get(WAIT) == 465
        assert tasks.count_down(30, 0).compute() == 465

    def test_a_failing_replacement_raises_the_original(self) -> None:
        for by in (tasks.inverse.s() | give.s(), group(give.s(), tasks.inverse.s()), tasks.fail_on.s() | give.s()):
            canvas = give.s(0) | tasks.become.s(by=quote(tasks.first.s() | by)) | give.s()
            with pytest.raises(ZeroDivisionError):
                canvas.compute()
            future = canvas.delay()
            assert isinstance(future.exception(WAIT), ZeroDivisionError)
            assert future.status is Status.UPSTREAM_FAILED

    def test_a_replacement_with_a_hole_is_an_error_of_the_task(self) -> None:
        with pytest.raises(TypeError, match="missing a required argument: 'y'"):
            tasks.become.s(by=quote(add.s())).compute()

    def test_only_lazy_things_replace(self) -> None:
        wrong: Any = 5
        with pytest.raises(TypeError, match="a task is replaced by a signature"):
            replace(wrong)
