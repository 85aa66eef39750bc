"""What every executor must make of canvases: the rules of composing, and the cases that Celery's users know.

The cases go through the ways canvases are nested, above all through those that give a wrong value, run twice or never
end elsewhere.  One test body for all executors; more of them in the two modules imported below.
"""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

import pytest

from lazygraph.language.composing import chain, chord, group
from lazygraph.language.dynamic import each
from lazygraph.running.group_result import GroupResult
from lazygraph.testing.conformance import tasks
from lazygraph.testing.conformance.canvases_at_run_time import RunTimeCases
from lazygraph.testing.conformance.canvases_failing import FailingCases
from lazygraph.testing.conformance.tasks import add, give, length, marked, marks, total

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

WAIT = 30
"""Seconds after which something that should happen is given up; no test that passes waits so long."""


class CanvasCases(RunTimeCases, FailingCases):
    """Mixed into `suite.ConformanceSuite`, which makes the executor the default."""

    # -- values and composition --------------------------------------------------------------------

    def test_a_chain_of_calls(self) -> None:
        assert (add.s(4, 4) | add.s(8) | add.s(16)).delay().get(WAIT) == 32

    def test_a_chain_in_a_chain_with_a_replaced_step_and_a_group_at_its_end(self) -> None:
        inner = add.s(4) | tasks.add_replaced.s(8) | add.s(16) | add.s(32)
        assert (add.s(2, 2) | inner | group(add.s(i) for i in range(4))).compute() == [64, 65, 66, 67]

    def test_an_immutable_chain_keeps_what_its_steps_gave(self) -> None:
        future = (add.si(2, 2) | add.si(4, 4) | add.si(8, 8)).delay()
        assert future.get(WAIT) == 16
        assert future.parent.get(WAIT) == 8
        assert future.parent.parent.get(WAIT) == 4
        assert future.parent.parent.parent is None

    def test_a_group_at_the_end_of_a_chain(self) -> None:
        assert chain(give.s(42), group(give.s(), give.s())).delay().get(WAIT) == [42, 42]

    def test_a_group_alone_in_a_chain(self) -> None:
        assert chain(group(give.s(42), give.s(43))).delay().get(WAIT) == [42, 43]

    def test_lists_in_lists(self) -> None:
        canvas = group(give.si(1), give.si(2), chain(give.si(5), group(give.si(3), give.si(4))))
        assert canvas.delay().get(WAIT) == [1, 2, [3, 4]]

    def test_a_group_after_a_group_after_a_task(self) -> None:
        canvas = add.si(1, 0) | group(add.s(1), add.s(1)) | group(total.s(), total.s()) | total.s()
        assert canvas.delay().get(WAIT) == 8

    @pytest.mark.parametrize("count", [1, 2, 3])
    def test_a_chord_then_tasks_then_a_group(self, count: int) -> None:
        canvas = group(add.s(1, 1), add.s(1, 1)) | total.s()
        for _ in range(count):
            canvas = canvas | add.s(1)
        assert (canvas | group(add.s(1), add.s(1))).delay().get(WAIT) == [5 + count, 5 + count]

    def test_a_task_that_becomes_a_group(self) -> None:
        canvas = add.s(2, 2) | group(add.s(i) for i in range(4)) | tasks.add_to_all.s(8)
        assert canvas.delay().get(WAIT) == [12, 13, 14, 15]

    def test_keyword_arguments_of_a_call_go_to_the_first_step_only(self) -> None:
        canvas = tasks.add_three.s(2, 2) | group(add.s(i) for i in range(4)) | tasks.add_to_all.s(8)
        assert canvas.delay(z=1).get(WAIT) == [13, 14, 15, 16]
        assert (tasks.describe.s(2) | tasks.describe.s(k=3)).delay(1, k=2).get(WAIT) == (
            "(\"(1, 2) {'k': 2}\",) {'k': 3}"
        )

    def test_what_a_group_is_called_with_goes_to_every_member(self) -> None:
        canvas = group(tasks.describe.s(2, k=0), tasks.describe.si(2), chain(tasks.describe.s(), give.s()))
        assert canvas.delay(1, k=9).get(WAIT) == ["(1, 2) {'k': 9}", "(2,) {}", "(1,) {'k': 9}"]

    @pytest.mark.parametrize(
        "canvas",
        [
            lambda: chord([add.s(2, 5)], tasks.add_to_all.s(9)),
            lambda: chord(add.s(2, 5), tasks.add_to_all.s(9)),
            lambda: group([add.s(2, 5)]) | tasks.add_to_all.s(9),
            lambda: chain(group(add.s(2, 5)), tasks.add_to_all.s(9)),
            lambda: chain(chain(group(add.s(2, 5))), chain(tasks.add_to_all.s(9))),
        ],
    )
    def test_a_header_of_one_member_gives_a_list(self, canvas: Callable[[], Any]) -> None:
        assert canvas().delay().get(WAIT) == [16]

    def test_chords_in_the_header_of_a_chord(self) -> None:
        header = [
            chord([add.s(1, 2), add.s(3, 4)], tasks.append.s([5])),
            chord([add.s(6, 7)], tasks.append.s([10])),
        ]
        canvas = chord(header, tasks.append_to_all.s(["A"]))
        assert canvas.delay().get(WAIT) == [[3, 7, 5, "A"], [13, 10, "A"]]

    def test_groups_of_one_in_groups_of_one(self) -> None:
        innermost = chain(group(add.s(1, 2), add.s(1, 2)))
        canvas = chain(group(chain(group(chain(group(innermost, add.s(2, 2))), give.s(5))), give.s(6)))
        assert canvas.delay().get(WAIT) == [[[[3, 3], 4], 5], 6]

    def test_a_group_in_a_header_is_flattened_in_declared_order(self) -> None:
        assert chord((group(give.s(42), give.s(42)),), give.s()).delay().get(WAIT) == [42, 42]
        canvas = chord([give.s("a"), group(give.s("b"), group(give.s("c"), give.s("d"))), give.s("e")], give.s())
        assert canvas.delay().get(WAIT) == list("abcde")

    def test_a_header_of_members_of_all_sizes(self) -> None:
        one = give.s(42)
        long = chain(one, *(give.s() for _ in range(41)))
        inner = chord([one] * 42, give.si(1337))
        canvas = chord([one, long, group([one] * 42), inner], give.s())
        assert canvas.delay().get(WAIT) == [42, 42, *[42] * 42, 1337]

    def test_chords_side_by_side(self) -> None:
        one = chord([add.s(1, 2), add.s(3, 4)], total.s())
        assert group(one, one).delay().get(WAIT) == [10, 10]

    def test_what_a_canvas_is_called_with_reaches_its_first_step_however_it_is_nested(self) -> None:
        assert chain(chord([give.s(), give.s()], give.s()), give.s()).delay(1).get(WAIT) == [1, 1]
        assert chain(chain(give.s(), give.s())).delay(1).get(WAIT) == 1
        assert chain(chain(group(give.s(), chain(add.s(1))))).delay(1).get(WAIT) == [1, 2]
        assert chord([add.s(1), chain(chain(add.s(2)))], total.s()).delay(10).get(WAIT) == 23

    @pytest.mark.parametrize("count", [0, 1, 10, 10_000])
    def test_a_header_that_is_a_generator(self, count: int) -> None:
        assert chord((give.s(i) for i in range(count)), total.s()).delay().get(WAIT) == sum(range(count))

    def test_calling_puts_arguments_in_front_and_merges_keywords(self) -> None:
        signature = tasks.describe.s(1, 2, arg1=33)
        assert signature.delay(3, 4, arg2=66).get(WAIT) == "(3, 4, 1, 2) {'arg1': 33, 'arg2': 66}"
        assert signature.delay(arg1=1).get(WAIT) == "(1, 2) {'arg1': 1}"
        assert tasks.describe.si(1, 2, arg1=33).delay(3, arg2=66).get(WAIT) == "(1, 2) {'arg1': 33}"

    def test_empty_canvases(self) -> None:
        assert group([]).delay().get(WAIT) == []
        assert list(group([]).delay()) == []
        assert group([]).delay().ready()
        assert (chain() | group(give.s(1))).compute() == [1]
        assert chord([], give.s()).delay().get(WAIT) == []
        assert (give.s(1) | group([]) | group(give.s(), length.s())).compute() == [[], 0]
        assert group(group([]), give.s(1) | group([]), group([])).compute() == [[]]

    def test_steps_stand_one_behind_the_other_in_the_result(self) -> None:
        future = (give.s(1) | group(give.s() for _ in range(9)) | total.s() | add.s(1)).delay()
        assert future.get(WAIT) == 10
        assert future.parent.get(WAIT) == 9
        assert isinstance(future.parent.parent, GroupResult)
        assert future.parent.parent.get(WAIT) == [1] * 9
        assert future.parent.parent.parent.get(WAIT) == 1
        assert future.parent.parent.parent.parent is None

    def test_a_pickled_canvas_gives_the_same(self) -> None:
        nested = [
            chord(
                [chain(give.s(1), group(add.s(i) for i in range(3))), group(give.s(2), chord([], give.s()))], give.s()
            ),
            group(chain(group(give.s(3)), total.s()), give.si(4), total.s([5, 6])),
            chain(give.s([1, 2]), each(chain(add.s(1), group(give.s(), give.s()))), give.s()),
        ]
        for canvas in nested:
            assert pickle.loads(pickle.dumps(canvas)).compute() == canvas.compute()

    # -- canvases and delayed calls ----------------------------------------------------------------

    def test_a_canvas_in_a_delayed_call(self) -> None:
        assert total(group(give.s(i) for i in range(4))).compute() == 6
        assert add(chord([give.s(1), give.s(2)], total.s()), 10).compute() == 13
        assert (
            tasks.describe([give.s(1) | add.s(1)], k={"in": group(give.s(2))}).compute() == "([2],) {'k': {'in': [2]}}"
        )

    def test_a_canvas_among_the_arguments_of_a_signature(self) -> None:
        assert (give.s(1) | tasks.describe.s(group(give.s(2), give.s(3)), k=give.s(4) | add.s(1))).compute() == (
            "(1, [2, 3]) {'k': 5}"
        )

    def test_a_delayed_call_in_signatures_runs_once(self, tmp_path: Path) -> None:
        node = marked(str(tmp_path), 5)
        canvas = group(add.s(node), add.s(node) | add.s(node), chord([node, give.si(1)], total.s()))
        assert add(canvas.to_delayed(1), [node]).compute() == [6, 11, 6, 5]
        assert marks(tmp_path) == 1

    def test_a_delayed_call_in_a_fan_out_is_the_one_around_it(self, tmp_path: Path) -> None:
        node = marked(str(tmp_path), 5)
        fan_out = tasks.pack.s(node, 2, 3) | each(add.s(node) | group(add.s(node), give.s()))
        assert add(fan_out, [node]).compute() == [[15, 10], [12, 7], [13, 8], 5]
        assert marks(tmp_path) == 1
