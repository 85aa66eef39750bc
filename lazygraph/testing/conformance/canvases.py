"""What every executor must make of canvases: the rules of composing, and the cases that Celery's users know.

The cases go through the ways canvases are nested, replaced and broken, above all through those that give a wrong value,
run twice or never end elsewhere.  One test body for all executors.
"""

from __future__ import annotations

import os
import pickle
import select
from typing import TYPE_CHECKING, Any

import pytest

from lazygraph.language.composing import chain, chord, group
from lazygraph.language.dynamic import each, quote, replace
from lazygraph.running.run import GroupResult
from lazygraph.testing.conformance import tasks
from lazygraph.testing.conformance.tasks import add, divide, give, length, marked, marks, total
from lazygraph.values.status import Status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

WAIT = 30
"""Seconds after which something that should happen is given up; no test that passes waits so long."""


class Ear:
    """A named pipe into which tasks speak, a line each."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        os.mkfifo(self.path)
        # Open for writing too: the pipe stays open between two speakers, and none of them waits for a listener.
        self._pipe = os.open(self.path, os.O_RDWR | os.O_NONBLOCK)
        self._heard = b""

    def lines(self, wanted: int) -> list[str]:
        """Wait until so many lines were spoken; return all of them, in alphabetical order."""
        while self._heard.count(b"\n") < wanted and select.select([self._pipe], [], [], WAIT)[0]:
            self._heard += os.read(self._pipe, 65536)
        while select.select([self._pipe], [], [], 0)[0]:
            self._heard += os.read(self._pipe, 65536)
        return sorted(self._heard.decode().splitlines())

    def close(self) -> None:
        """Listen no more."""
        os.close(self._pipe)


Positions = Callable[[Any], Any] if TYPE_CHECKING else None

IN_A_CHAIN: dict[str, Positions] = {
    "alone": lambda x: x(),
    "first": lambda x: x() | give.s(),
    "in the middle": lambda x: give.s(42) | x(False) | give.s(),
    "last": lambda x: give.s(42) | x(False),
}
"""Where a step that gives 42 can stand so that the whole gives 42; asked for with False it is fed 42."""

IN_A_GROUP: dict[str, Positions] = {
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


def _broken(depth: int) -> Any:
    """A canvas in which something fails so deep."""
    whole: Any = divide.s(1, 0)
    for at in range(depth):
        whole = (group(whole, give.s(at)), give.s(1) | tasks.ignore.si(whole), chord([whole, give.s(1)], give.s()))[
            at % 3
        ]
    return whole


class CanvasCases:
    """Mixed into `suite.ConformanceSuite`, which makes the executor the default."""

    @pytest.fixture
    def ear(self, tmp_path: Path) -> Iterator[Ear]:
        """A pipe to hear tasks by that nobody waits for."""
        ear = Ear(tmp_path / "ear")
        yield ear
        ear.close()

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
        with pytest.raises(TypeError, match="a task is replaced by a signature"):
            replace(5)

    # -- failing -----------------------------------------------------------------------------------

    def test_a_group_at_the_end_after_a_failure(self) -> None:
        for canvas in (
            add.s(1, 1) | divide.s(0) | group(add.s(1), add.s(1)),
            add.s(1, 1) | group(add.s(1), divide.s(0)),
            add.s(1, 1) | divide.s(0) | group([]) | length.s(),
        ):
            with pytest.raises(ZeroDivisionError):
                canvas.compute()
            with pytest.raises(ZeroDivisionError):
                canvas.delay().get(WAIT)

    @pytest.mark.parametrize("at", range(4))
    def test_a_failing_step_of_a_chain_in_a_header_or_body(self, at: int) -> None:
        steps = [give.s(1), give.s(), give.s(), give.s()]
        steps[at] = divide.s(1, 0) if at == 0 else divide.s(0)
        failing = chain(steps)
        body = [total.s(), give.s(), give.s(), give.s()]
        body[at] = tasks.divide_total.s(0) if at == 0 else divide.s(0)
        for canvas in (
            chord([failing], give.s()),
            chord([give.s(1), failing, give.s(2)], give.s()),
            chord([give.s(1), chord([failing], give.s())], give.s()) | give.s(),
            chord([give.s(1), give.s(2)], chain(body)),
            chord([chain(group(chord([give.s(1)], chain(body))))], give.s()),
        ):
            with pytest.raises(ZeroDivisionError):
                canvas.compute()
            with pytest.raises(ZeroDivisionError):
                canvas.delay().get(WAIT)

    @pytest.mark.parametrize("depth", range(1, 10))
    def test_the_original_exception_from_any_depth(self, depth: int) -> None:
        with pytest.raises(ZeroDivisionError) as caught:
            _broken(depth).compute()
        assert sum("node 'divide'" in note for note in caught.value.__notes__) == 1

    def test_members_of_a_group_fail_alone(self) -> None:
        members = group(divide.s(1, 0), add.s(1, 1)).delay()
        assert members[1].get(WAIT) == 2
        assert isinstance(members[0].exception(WAIT), ZeroDivisionError)
        assert members[0].failed()
        assert members[1].successful()
        found = members.get(WAIT, propagate=False)
        assert (type(found[0]), found[1]) == (ZeroDivisionError, 2)
        with pytest.raises(ZeroDivisionError):
            members.get(WAIT)

    def test_every_step_after_a_failure_names_its_cause(self) -> None:
        future = (give.s(1) | divide.s(0) | give.s() | group(give.s(), give.s()) | total.s()).delay()
        assert isinstance(future.exception(WAIT), ZeroDivisionError)
        middle, before = future.parent, future.parent[0].parent
        failed = before.parent
        assert [failed.status, failed.cause] == [Status.FAILED, None]
        for below in (future, *middle, before):
            assert isinstance(below.exception(WAIT), ZeroDivisionError)
            assert [below.status, below.cause] == [Status.UPSTREAM_FAILED, failed.key]
        assert failed.parent.get(WAIT) == 1

    # -- callbacks ---------------------------------------------------------------------------------

    def test_callbacks_get_the_value(self, ear: Ear) -> None:
        canvas = (give.s(1).link(tasks.say.s(ear.path)) | add.s(1)).link(tasks.say.s(ear.path))
        assert canvas.delay().get(WAIT) == 2
        assert ear.lines(2) == ["1", "2"]
        assert group(give.s(3), give.s(4)).link(tasks.say.s(ear.path)).delay().get(WAIT) == [3, 4]
        assert ear.lines(3) == ["1", "2", "[3, 4]"]

    def test_callbacks_of_a_replaced_task_get_the_final_value(self, ear: Ear) -> None:
        canvas = tasks.add_replaced.s(1, 2).link(tasks.say.s(ear.path)) | add.s(1)
        assert canvas.delay().get(WAIT) == 4
        assert ear.lines(1) == ["3"]

    def test_a_handler_gets_the_failure(self, ear: Ear) -> None:
        future = divide.s(1, 0).link_error(tasks.say_failure.s(ear.path)).delay()
        assert isinstance(future.exception(WAIT), ZeroDivisionError)
        assert ear.lines(1) == ["divide attempt 1: ZeroDivisionError('division by zero')"]

    @pytest.mark.parametrize("failing", [1, 2, 42])
    def test_a_handler_runs_once_however_many_members_fail(self, failing: int, ear: Ear) -> None:
        handler = tasks.say_failure.s(ear.path)
        members = [divide.si(1, 0)] * failing + [give.si(1)]
        for canvas in (
            group(members).link_error(handler),
            chord(members, total.s()).link_error(handler),
            chain(give.s(1), chord(members, total.s())).link_error(handler),
        ):
            with pytest.raises(ZeroDivisionError):
                canvas.delay().get(WAIT)
        assert len(ear.lines(3)) == 3

    def test_a_handler_of_a_chain_runs_for_whichever_step_fails(self, ear: Ear) -> None:
        for at in range(3):
            steps = [give.s(1), give.s(), give.s()]
            steps[at] = divide.s(1, 0) if at == 0 else divide.s(0)
            with pytest.raises(ZeroDivisionError):
                chain(steps).link_error(tasks.say_failure.s(ear.path)).delay().get(WAIT)
        assert ear.lines(3) == ["divide attempt 1: ZeroDivisionError('division by zero')"] * 3

    def test_a_scope_that_never_started_has_not_failed(self, ear: Ear) -> None:
        below = (give.s() | give.s()).link_error(tasks.say.s(ear.path))
        above = divide.s(1, 0).link_error(tasks.say_failure.s(ear.path))
        with pytest.raises(ZeroDivisionError):
            (above | below).delay().get(WAIT)
        assert len(ear.lines(1)) == 1
        assert "divide" in ear.lines(1)[0]

    def test_inner_and_outer_handlers_both_hear(self, ear: Ear) -> None:
        inner = chord([divide.s(1, 0), give.s(1)], total.s()).link_error(tasks.say_failure.s(ear.path))
        with pytest.raises(ZeroDivisionError):
            group(inner, give.s(2)).link_error(tasks.say_failure.s(ear.path)).delay().get(WAIT)
        assert len(ear.lines(2)) == 2

    def test_a_handler_is_a_task_with_retries_of_its_own_value(self, ear: Ear) -> None:
        handler = tasks.fail_on.s() | tasks.say.s(ear.path)
        other = tasks.say_failure.s(ear.path) | give.s()
        future = divide.s(1, 0).link_error(handler, other).delay()
        assert isinstance(future.exception(WAIT), ZeroDivisionError)
        assert len(ear.lines(1)) == 1  # the one that fails changes nothing for the other

    def test_a_handler_given_at_the_start(self, ear: Ear) -> None:
        future = (give.s(1) | divide.s(0)).apply_async(link_error=tasks.say_failure.s(ear.path))
        assert isinstance(future.exception(WAIT), ZeroDivisionError)
        assert ear.lines(1) == ["divide attempt 1: ZeroDivisionError('division by zero')"]

    def test_a_handler_hears_of_a_failing_replacement_and_fan_out(self, ear: Ear) -> None:
        replaced = tasks.become.s(0, by=quote(tasks.first.s() | tasks.inverse.s()))
        fan_out = tasks.pack.s(1, 0) | each(tasks.inverse.s())
        for canvas in (replaced, fan_out):
            with pytest.raises(ZeroDivisionError):
                canvas.link_error(tasks.say_failure.s(ear.path)).delay().get(WAIT)
        assert ear.lines(2) == ["inverse attempt 1: ZeroDivisionError('division by zero')"] * 2

    def test_no_handler_runs_when_nothing_fails(self, ear: Ear) -> None:
        canvas = group(give.s(1), give.s(2)).link_error(tasks.say_failure.s(ear.path)).link(tasks.say.s(ear.path))
        assert canvas.delay().get(WAIT) == [1, 2]
        assert ear.lines(1) == ["[1, 2]"]
