"""What every executor must do.  One test body for all of them."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import threading
from typing import TYPE_CHECKING, Any

import pytest

import lazygraph.door as door
from lazygraph.errors import NestingTooDeep, RemoteError, ReturnedPromise, UnsupportedByExecutor, WrongNumberOfOutputs
from lazygraph.executors.current import enter, leave
from lazygraph.language.composing import chain, chord, group
from lazygraph.running.context import MAX_NESTING
from lazygraph.testing.conformance import tasks
from lazygraph.testing.conformance.canvases import CanvasCases
from lazygraph.testing.conformance.matrix import SAMPLES, matrix
from lazygraph.testing.conformance.neighbours import NeighbourCases
from lazygraph.testing.conformance.observing import ObservingCases
from lazygraph.testing.conformance.option_suite import AsynchronousOptionCases, OptionCases
from lazygraph.testing.conformance.saying import SayingCases
from lazygraph.testing.conformance.tasks import add, divide, give, marked, marks, total
from lazygraph.values.status import Status

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lazygraph.executors.base import Executor


class ConformanceSuite(CanvasCases, OptionCases, ObservingCases):
    """Subclass it and give it an `executor` fixture."""

    in_process = False
    """Whether tasks share memory with the caller (values need not be picklable)."""

    @pytest.fixture
    def executor(self) -> Executor:
        """The executor to prove."""
        raise NotImplementedError("a subclass says how its executor is made")

    @pytest.fixture(autouse=True)
    def _default(self, executor: Executor) -> Iterator[None]:
        enter(executor)
        yield
        leave(executor)

    # -- values ------------------------------------------------------------------------------------

    @pytest.mark.parametrize("value", [None, False, 0, "", [], {}, (), 1.5, "text", {"a": [1, {2}]}, b"\0", 10**40])
    def test_a_value_comes_back_as_it_was(self, value: Any) -> None:
        back = give(value).compute()
        assert back == value
        assert type(back) is type(value)

    def test_nested_arguments_reach_the_function_in_their_shape(self) -> None:
        one, two = give(1), give(2)
        said = tasks.describe([one, (two, 3)], {"k": {two}}, slice(one, None), x=[one], y=4).compute()
        assert said == repr(([1, (2, 3)], {"k": {2}}, slice(1, None, None))) + " " + repr({"x": [1], "y": 4})

    def test_compute_returns_the_shape_it_was_given(self) -> None:
        one = add(0, 1)
        assert door.compute(one, {"k": [one, add(1, 1)]}, 7) == (1, {"k": [1, 2]}, 7)

    def test_nothing_lazy_is_nothing_to_run(self) -> None:
        assert door.compute(1, [2]) == (1, [2])
        assert door.compute() == ()

    def test_operators_items_attributes_and_methods_are_lazy(self) -> None:
        x = give(complex(3, 4))
        assert door.compute(x.real + 1, 2 * x.imag, -x, give([5, 6])[1], give("a b").split(), abs(x)) == (
            4.0,
            8.0,
            complex(-3, -4),
            6,
            ["a", "b"],
            5.0,
        )

    def test_several_outputs_unpack(self) -> None:
        quotient, rest = tasks.pair(7, 2)
        assert door.compute(quotient, rest) == (3, 1)

    def test_a_wrong_number_of_outputs_is_an_error(self) -> None:
        first, _ = give.options(nout=2)([1, 2, 3])
        with pytest.raises(WrongNumberOfOutputs, match="nout=2"):
            first.compute()

    def test_large_values_pass_from_task_to_task(self) -> None:
        assert tasks.length(tasks.large(3_000_000)).compute() == 3_000_000
        assert len(tasks.large(3_000_000).compute()) == 3_000_000

    def test_a_value_that_cannot_travel_can_be_used_where_it_is(self) -> None:
        assert tasks.held(tasks.give_lock()).compute() is True

    def test_a_result_that_cannot_travel_says_so(self) -> None:
        lock = tasks.give_lock()
        if self.in_process:
            assert lock.compute().acquire(blocking=False)
            return
        with pytest.raises(TypeError, match=r"the result of 'give_lock'.*suite\.py"):
            lock.compute()

    # -- the graph ---------------------------------------------------------------------------------

    def test_a_diamond_runs_its_top_once(self, tmp_path: Path) -> None:
        top = marked(str(tmp_path), 1)
        assert add(add(top, 1), add(top, 2)).compute() == 5
        assert marks(tmp_path) == 1

    def test_what_no_output_needs_does_not_run(self, tmp_path: Path) -> None:
        marked(str(tmp_path), 1)
        assert marked(str(tmp_path), 2).compute() == 2
        assert marks(tmp_path) == 1

    def test_equal_pure_calls_run_once_and_others_do_not(self, tmp_path: Path) -> None:
        pure = marked.options(pure=True)
        assert total([pure(str(tmp_path), 1), pure(str(tmp_path), 1), marked(str(tmp_path), 1)]).compute() == 3
        assert marks(tmp_path) == 2

    @pytest.mark.parametrize("optimize_graph", [True, False])
    def test_a_chain_of_100_000_nodes(self, optimize_graph: bool) -> None:
        node = give(0)
        for _ in range(100_000):
            node = add(node, 1)
        assert node.compute(optimize_graph=optimize_graph) == 100_000

    def test_a_node_with_5_000_inputs(self) -> None:
        assert total([add(i, 1) for i in range(5_000)]).compute() == sum(range(1, 5_001))

    def test_a_tree(self) -> None:
        level = [add(i, 0) for i in range(512)]
        while len(level) > 1:
            level = [add(a, b) for a, b in zip(level[::2], level[1::2], strict=True)]
        assert level[0].compute() == sum(range(512))

    # -- the canvas --------------------------------------------------------------------------------

    def test_a_partial_gets_what_comes_before_in_front(self) -> None:
        assert (give.s("a") | tasks.describe.s("b", k=1)).compute() == "('a', 'b') {'k': 1}"

    def test_an_immutable_signature_waits_and_ignores(self, tmp_path: Path) -> None:
        assert (marked.s(str(tmp_path), 1) | give.si(2)).compute() == 2
        assert marks(tmp_path) == 1

    @pytest.mark.parametrize("count", [0, 1, 2, 100])
    def test_a_chord_gives_its_body_a_list_whatever_its_length(self, count: int) -> None:
        assert chord((add.s(i, i) for i in range(count)), total.s()).compute() == sum(2 * i for i in range(count))
        assert group(add.s(i, 1) for i in range(count)).compute() == list(range(1, count + 1))

    def test_a_header_of_one_signature_is_one_member(self) -> None:
        assert chord(give.s(4), total.s()).compute() == 4

    def test_groups_in_groups_are_flat_and_canvases_that_end_in_one_are_lists(self) -> None:
        flat = group(group(give.s(1), give.s(2)), give.s(3))
        assert flat.compute() == [1, 2, 3]
        ended = group(chain(give.s(1), group(add.s(1), add.s(2))), give.s(3))
        assert ended.compute() == [[2, 3], 3]

    def test_a_group_after_a_group_gives_every_member_the_whole_list(self) -> None:
        assert (group(give.s(1), give.s(2)) | group(total.s(), tasks.length.s())).compute() == [3, 2]

    def test_x_before_a_group_reaches_every_member(self) -> None:
        assert (give.s(5) | group(add.s(1), add.s(2)) | total.s()).compute() == 13

    def test_an_empty_group_in_the_middle_passes_on_a_list_and_waits(self, tmp_path: Path) -> None:
        assert (marked.s(str(tmp_path), 1) | group([]) | tasks.length.s()).compute() == 0
        assert marks(tmp_path) == 1

    def test_chains_are_associative(self) -> None:
        a, b, c = give.s(1), add.s(2), tasks.multiply.s(10)
        assert ((a | b) | c).compute() == (a | (b | c)).compute() == chain(a, b, c).compute() == 30

    def test_delay_and_apply_async_give_futures(self, tmp_path: Path) -> None:
        assert add.delay(1, 1).get(timeout=30) == 2
        assert add.apply_async((1, 2), link=marked.s(str(tmp_path)).clone()).get(timeout=30) == 3
        assert chord(add.s(i, i) for i in range(100))(total.s()).get(timeout=30) == 9900
        members = group(add.s(i, 1) for i in range(3)).delay()
        assert members.get(timeout=30) == [1, 2, 3]
        assert members.completed_count() == 3

    def test_a_linked_callback_runs_once(self, tmp_path: Path) -> None:
        pipe = tmp_path / "pipe"
        folder = tmp_path / "marks"
        folder.mkdir()
        os.mkfifo(pipe)
        said: list[str] = []
        listener = threading.Thread(target=lambda: said.append(pipe.read_text(encoding="utf-8")), daemon=True)
        listener.start()
        future = give.apply_async((str(folder),), link=marked.s(1) | tasks.tell.s(str(pipe)))
        listener.join(30)
        assert said == ["done"]
        assert future.get(timeout=30) == str(folder)
        assert marks(folder) == 1

    # -- errors ------------------------------------------------------------------------------------

    def test_the_original_exception_with_the_node_and_where_it_was_built(self) -> None:
        with pytest.raises(ZeroDivisionError) as caught:
            add(divide(1, 0), 1).compute()
        notes = "\n".join(caught.value.__notes__)
        assert "node 'divide'" in notes
        assert "attempt 1" in notes
        assert "suite.py:" in notes

    def test_an_exception_keeps_its_facts(self) -> None:
        with pytest.raises(tasks.Lasting) as caught:
            tasks.fail_lasting().compute()
        assert (caught.value.code, caught.value.detail) == (7, "seven")

    def test_an_exception_that_cannot_travel_can_be_caught_as_its_builtin(self) -> None:
        with pytest.raises(KeyError) as caught:
            tasks.fail_awkwardly().compute()
        assert isinstance(caught.value, tasks.Awkward | RemoteError)

    def test_what_it_was_raised_from_is_shown(self) -> None:
        with pytest.raises(ValueError, match="outer") as caught:
            tasks.fail_chained().compute()
        shown = "\n".join(getattr(caught.value, "__notes__", [])) + repr(caught.value.__cause__)
        assert "missing" in shown

    def test_sys_exit_in_a_task_fails_the_task_only(self) -> None:
        with pytest.raises(SystemExit):
            tasks.leave().compute()
        assert add(1, 1).compute() == 2

    def test_a_failure_reaches_everything_below_and_nothing_else(self) -> None:
        bad, good = divide(1, 0), divide(1, 1)
        run = door.start(add(bad, 1), bad, good, fail_fast=False)
        below, origin, other = run.futures
        assert isinstance(below.exception(30), ZeroDivisionError)
        assert isinstance(origin.exception(30), ZeroDivisionError)
        assert other.result(30) == 1.0
        assert [f.status for f in run.futures] == [Status.UPSTREAM_FAILED, Status.FAILED, Status.SUCCEEDED]

    def test_a_long_run_whose_first_node_fails_ends(self) -> None:
        node = divide(1, 0)
        for _ in range(20_000):
            node = add(node, 1)
        with pytest.raises(ZeroDivisionError):
            node.compute(optimize_graph=False)

    def test_the_second_raise_is_like_the_first(self) -> None:
        future = divide.delay(1, 0)
        texts = []
        for _ in range(3):
            with pytest.raises(ZeroDivisionError) as caught:
                future.result(30)
            texts.append((len(caught.value.__notes__), _depth(caught.value)))
        assert texts[0] == texts[1] == texts[2]

    def test_optimizing_changes_no_ending(self) -> None:
        def endings(optimize: bool) -> list[tuple[Status, str]]:
            asked = [divide(1, 0), add(divide(1, 0), 1), add(add(divide(1, 0), 1), 1), divide(divide(1, 1), 0)]
            run = door.start(*asked, fail_fast=False, optimize_graph=optimize)
            with pytest.raises(ZeroDivisionError):
                run.result(30)
            return [(future.status, (future.cause or "").partition("-")[0]) for future in run.futures]

        assert endings(optimize=True) == endings(optimize=False)
        assert endings(optimize=True)[1:] == [
            (Status.UPSTREAM_FAILED, "divide"),
            (Status.UPSTREAM_FAILED, "divide"),
            (Status.FAILED, ""),
        ]

    # -- futures -----------------------------------------------------------------------------------

    def test_futures_are_concurrent_futures(self) -> None:
        futures = [add.delay(i, 0) for i in range(10)]
        done, left = concurrent.futures.wait(futures, timeout=30)
        assert (len(done), left) == (10, set())
        assert sorted(f.result() for f in concurrent.futures.as_completed(futures, timeout=30)) == list(range(10))
        assert all(isinstance(f, concurrent.futures.Future) for f in futures)

    def test_futures_can_be_awaited(self) -> None:
        async def main() -> list[Any]:
            return list(await asyncio.gather(add.delay(1, 1), add.delay(2, 2)))

        assert asyncio.run(main()) == [2, 4]

    def test_callbacks_get_the_future_with_its_value(self) -> None:
        got: list[Any] = []
        called = threading.Event()
        future = tasks.large.delay(200_000)

        def note(done: Any) -> None:
            got.append(len(done.result(0)))
            called.set()

        future.add_done_callback(note)
        assert called.wait(30)
        future.add_done_callback(note)
        assert got == [200_000, 200_000]

    def test_futures_are_inputs_of_later_graphs(self) -> None:
        first = add.delay(1, 2)
        assert add(first, 3).compute() == 6
        assert total([first, add.delay(first, 1)]).compute() == 7

    def test_a_failed_future_as_an_input_fails_what_reads_it(self) -> None:
        bad = divide.delay(1, 0)
        with pytest.raises(ZeroDivisionError):
            add(bad, 1).compute()

    def test_persist_runs_once_and_is_lazy(self, tmp_path: Path) -> None:
        kept = marked(str(tmp_path), 7).persist()
        assert add(kept, 1).compute() == 8
        assert add(kept, 2).compute() == 9
        assert marks(tmp_path) == 1

    def test_keys_are_new_for_every_submission(self) -> None:
        node = add(1, 1)
        keys = {f.key for f in door.start(node).futures} | {f.key for f in door.start(node).futures}
        assert len(keys) == 2

    @pytest.mark.parametrize("depth", [3, MAX_NESTING])
    def test_computing_inside_a_task(self, depth: int) -> None:
        assert tasks.nested(depth).compute() == depth + 1

    def test_computing_too_deep_inside_tasks_says_so(self) -> None:
        # So many at once on each worker of a cluster.
        with pytest.raises(NestingTooDeep, match=rf"{MAX_NESTING} tasks .* replace\(canvas\)"):
            tasks.nested(5 * MAX_NESTING).compute()

    def test_a_task_that_returns_a_promise_is_told_what_to_do(self) -> None:
        with pytest.raises(ReturnedPromise, match=r"write `return lazygraph.replace\(...\)`"):
            tasks.promise().compute()

    # -- options -----------------------------------------------------------------------------------

    @pytest.mark.parametrize("option", sorted(SAMPLES))
    def test_an_option_is_honoured_or_refused_before_anything_runs(
        self, executor: Executor, option: str, tmp_path: Path
    ) -> None:
        first = marked(str(tmp_path), 1)
        function = tasks.marked_by_itself if option == "bind" else marked
        node = function.options(name="the node", **{option: SAMPLES[option]})(str(tmp_path), 2, first)
        if matrix([executor])[option][executor.name] == "honoured":
            assert node.compute() == 2
            return
        with pytest.raises(UnsupportedByExecutor, match=rf"{option}=.*'the node'.*suite\.py:\d+"):
            door.compute(first, node)
        assert marks(tmp_path) == 0


class AsynchronousSuite(ConformanceSuite, AsynchronousOptionCases, NeighbourCases, SayingCases):
    """What an executor must do besides, whose `submit` returns before the run has ended."""

    def test_what_has_not_started_can_be_cancelled(self, tmp_path: Path) -> None:
        pipe = str(tmp_path / "pipe")
        os.mkfifo(pipe)
        first = tasks.wait_for.delay(pipe)
        waiting = add.delay(first, "!")
        assert waiting.cancel() is True
        assert waiting.cancelled()
        with pytest.raises(concurrent.futures.CancelledError):
            waiting.result(30)
        with open(pipe, "w", encoding="utf-8") as writer:
            writer.write("go")
        assert first.result(30) == "go"

    def test_a_timeout_is_a_timeout(self, tmp_path: Path) -> None:
        pipe = str(tmp_path / "pipe")
        os.mkfifo(pipe)
        future = tasks.wait_for.delay(pipe)
        with pytest.raises(TimeoutError):
            future.result(timeout=0.01)
        with open(pipe, "w", encoding="utf-8") as writer:
            writer.write("go")
        assert future.result(30) == "go"


def _depth(error: BaseException) -> int:
    depth, tb = 0, error.__traceback__
    while tb is not None:
        depth, tb = depth + 1, tb.tb_next
    return depth
