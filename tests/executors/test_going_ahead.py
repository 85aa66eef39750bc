"""Leases that an engine is given before their inputs are made."""

from __future__ import annotations

import gc
from concurrent.futures import CancelledError
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lazygraph
from lazygraph import Status, bind, chain, delayed, group, replace, start
from lazygraph.executors.elsewhere import RunnerGone
from lazygraph.running.frontier import MAX_DEATHS
from tests.executors.driven import WAIT, add, inverse, nothing_left
from tests.executors.paper_site import Held, PaperDriver

if TYPE_CHECKING:
    from collections.abc import Iterator

RAN: list[Any] = []
"""What has run in this process: the paper engine runs its calls in the thread of the test."""


@delayed
def note(what: Any, *inputs: Any) -> Any:
    RAN.append(what)
    return what


@delayed
def big(size: int) -> list[int]:
    return list(range(size))


@delayed
def becomes_three() -> Any:
    return replace(add(1, 2))


@delayed
def size_of(*values: Any) -> int:
    return sum(len(value) for value in values)


@pytest.fixture
def paper() -> Iterator[PaperDriver]:
    RAN.clear()
    paper = PaperDriver()
    yield paper
    paper.close(wait=False)  # what nobody has run never ends


def whole(executor: PaperDriver, *lazy: Any, **options: Any) -> lazygraph.Run:
    """Start a run as it was written: nothing is fused."""
    return start(*lazy, executor=executor, optimize_graph=False, **options)


class TestSending:
    def test_a_reader_is_there_before_its_inputs_are_made(self, paper: PaperDriver) -> None:
        a, b = note("a"), note("b")
        (future,) = whole(paper, note("c", a, b)).futures
        first, second, third = [paper.paper.next() for _ in range(3)]
        assert set(third.call.inputs) == {first, second}
        assert RAN == []
        assert future.status is Status.WAITING
        for call in (second, first, third):
            call.run()
        assert future.result(WAIT) == "c"
        assert RAN == ["b", "a", "c"]
        assert paper.more() == []

    def test_it_may_be_told_before_its_inputs_are(self, paper: PaperDriver) -> None:
        (future,) = whole(paper, add(big(3), big(4))).futures
        first, second, third = [paper.paper.next() for _ in range(3)]
        reports = [(call, call.report) for call in (first, second)]
        for call, report in reports:
            call.report = type(report)()
            call.run()
        third.run()
        assert future.result(WAIT) == [0, 1, 2, 0, 1, 2, 3]
        for call, report in reports:
            report.set_result(call.report.result())
        paper.told()
        del future
        assert nothing_left(paper)

    @pytest.mark.parametrize("value", [None, 5, "small", "x" * 50_000, b"y" * 50_000, [1, 2], (None,), {"k": [1]}])
    def test_values_of_every_kind_get_there(self, paper: PaperDriver, value: Any) -> None:
        one, two = delayed(lambda: value)(), delayed(lambda: value)()
        (future,) = whole(paper, delayed(lambda x, y: (x, y))(one, two)).futures
        for _ in range(3):
            paper.paper.next().run()
        assert future.result(WAIT) == (value, value)

    def test_what_only_waits_gets_nothing_and_waits(self, paper: PaperDriver) -> None:
        (future,) = whole(paper, bind(note("after"), [note("one"), note("two")])).futures
        calls = [paper.paper.next() for _ in range(3)]
        assert calls[2].waits
        for call in calls:
            call.run()
        assert future.result(WAIT) == "after"
        assert RAN == ["one", "two", "after"]

    def test_readers_of_readers_too_but_no_more_than_there_are_slots(self, paper: PaperDriver) -> None:
        row = [note(("level", 0, at)) for at in range(2)]
        for level in range(1, 10):
            row = [note(("level", level, at), *row) for at in range(2)]
        run = whole(paper, *row)
        calls = paper.more()
        waiting = [call for call in calls if call.waits]
        assert 0 < len(waiting) <= paper.paper.slots
        while calls:
            for call in calls:
                call.run()
            calls = paper.more()
        assert run.result(WAIT) == (("level", 9, 0), ("level", 9, 1))
        assert sorted(RAN) == sorted(("level", level, at) for level in range(10) for at in range(2))

    def test_what_waits_keeps_nothing_from_going_that_is_ready(self, paper: PaperDriver) -> None:
        slow = whole(paper, note("end", note("one"), note("two")))
        calls = [paper.paper.next() for _ in range(3)]
        calls[0].run()
        paper.told()
        other = whole(paper, note("other"))
        paper.paper.next().run()
        assert other.result(WAIT) == ("other",)
        calls[1].run()
        calls[2].run()
        assert slow.result(WAIT) == ("end",)

    def test_what_is_not_plain_goes_when_its_inputs_are_there(self, paper: PaperDriver) -> None:
        careful = note.options(retries=1)
        run = whole(paper, careful("end", note("one"), note("two")), note("reads", careful("three"), note("four")))
        calls = paper.more()
        while calls:
            assert not any(call.waits for call in calls)
            for call in calls:
                call.run()
            calls = paper.more()
        assert run.result(WAIT) == ("end", "reads")

    def test_not_to_an_engine_that_takes_none(self) -> None:
        with PaperDriver(ahead=False) as paper:
            run = whole(paper, add(add(1, 2), add(3, 4)))
            calls = paper.more()
            assert len(calls) == 2
            for call in calls:
                call.run()
            paper.paper.next().run()
            assert run.result(WAIT) == (10,)


class TestMissing:
    def test_below_a_failure_nothing_runs(self, paper: PaperDriver) -> None:
        bad, fine = inverse(0), note("fine")
        run = whole(paper, note("below", bad, fine), note("beside", fine, fine), fail_fast=False)
        below, beside = run.futures
        finish(paper)
        assert isinstance(below.exception(WAIT), ZeroDivisionError)
        assert below.status is Status.UPSTREAM_FAILED
        assert beside.result(WAIT) == "beside"
        assert sorted(RAN) == ["beside", "fine"]

    def test_it_comes_back_when_an_input_has_become_something_else(self, paper: PaperDriver) -> None:
        (future,) = whole(paper, add(becomes_three(), add(4, 5))).futures
        first, second, third = [paper.paper.next() for _ in range(3)]
        for call in (first, second, third):
            call.run()
        finish(paper)
        assert future.result(WAIT) == 12

    @pytest.mark.parametrize("first_told", ["reader", "input"])
    def test_readers_do_not_die_of_what_their_inputs_die_of(self, paper: PaperDriver, first_told: str) -> None:
        (future,) = whole(paper, note("end", note("dies"), note("fine"))).futures
        dying, fine, reader = [paper.paper.next() for _ in range(3)]
        fine.run()
        for _ in range(MAX_DEATHS):
            error = RunnerGone("its worker has died")
            calls = [dying] if reader.report.done() else [dying, reader] if first_told == "input" else [reader, dying]
            for call in calls:
                call.fail(error)
            dying = paper.paper.next()
            new = paper.more()
            reader = new[0] if new else reader
        dying.run()
        finish(paper, [reader])
        assert future.result(WAIT) == "end"
        assert RAN == ["fine", "dies", "end"]

    def test_one_that_kills_is_named_wherever_it_stood(self, paper: PaperDriver) -> None:
        (future,) = whole(paper, note("kills", note("one"), note("two"))).futures
        for _ in range(2):
            paper.paper.next().run()
        paper.paper.next().fail(RunnerGone("its worker has died", MAX_DEATHS + 1))
        with pytest.raises(lazygraph.errors.WorkerDied, match="note"):
            future.result(WAIT)

    def test_a_group_that_goes_on_without_a_member_waits_for_them_all(self, paper: PaperDriver) -> None:
        run = whole(paper, chain(group([inverse.s(n) for n in (1, 0, 2)], on_error="skip"), delayed(sum).s()))
        calls = paper.more()
        assert not any(call.waits for call in calls)
        finish(paper, calls)
        assert run.result(WAIT) == (1.5,)


def finish(paper: PaperDriver, calls: list[Held] | None = None) -> None:
    """Run whatever comes."""
    calls = paper.more() if calls is None else calls
    while calls:
        for call in calls:
            if not call.report.done():
                call.run()
        calls = paper.more()


class TestCancelling:
    def test_what_waits_there_for_its_inputs_never_runs(self, paper: PaperDriver) -> None:
        one, two = note("one"), note("two")
        run = whole(paper, note("end", one, two), one, two, fail_fast=False)
        calls = [paper.paper.next() for _ in range(3)]
        assert run.futures[0].cancel()
        assert run.futures[0].status is Status.CANCELLED
        for call in calls[:2]:
            call.run()
        assert [future.result(WAIT) for future in run.futures[1:]] == ["one", "two"]
        assert paper.more() == []
        assert RAN == ["one", "two"]

    def test_its_neighbours_in_the_lease_go_on(self, paper: PaperDriver) -> None:
        one, two = note("one"), note("two")
        ends = [note(("end", n), one, two) for n in range(3)]
        run = whole(paper, *ends, fail_fast=False)
        calls = paper.more()
        assert [call.waits for call in calls].count(True) == 1
        assert run.futures[1].cancel()
        finish(paper, [call for call in calls if not call.cancelled])
        assert [run.futures[n].result(WAIT) for n in (0, 2)] == [("end", 0), ("end", 2)]
        assert sorted(RAN[2:]) == [("end", 0), ("end", 2)]

    def test_what_others_would_have_read_is_kept_when_it_comes(self, paper: PaperDriver) -> None:
        made, fails = big(3), inverse(0)
        run = whole(paper, made, note("end", made, fails), fail_fast=False)
        calls = [paper.paper.next() for _ in range(3)]
        assert calls[2].waits
        calls[1].run()
        paper.told()
        assert run.futures[1].status is Status.UPSTREAM_FAILED
        calls[0].run()
        assert run.futures[0].result(WAIT) == [0, 1, 2]

    def test_what_is_cancelled_with_its_run_just_then_is_remembered_no_longer(
        self, paper: PaperDriver, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run = whole(paper, note("end", note("one"), note("two")))
        fetched_back = paper._fetched_back

        def with_its_run(work: Any) -> bool:
            back = fetched_back(work)
            run.cancel()
            return back

        monkeypatch.setattr(paper, "_fetched_back", with_its_run)
        run.futures[0].cancel()
        assert run.futures[0].status is Status.CANCELLED
        assert not paper._withdrawn

    def test_what_is_cancelled_just_when_it_is_handed_over_is_not(self, monkeypatch: pytest.MonkeyPatch) -> None:
        paper = PaperDriver(ahead=False)
        run = whole(paper, note("end", note("one"), note("two")))
        start = paper._elsewhere.start

        def cancelled_before(work: Any) -> None:
            run.cancel()
            start(work)

        calls = [paper.paper.next() for _ in range(2)]
        monkeypatch.setattr(paper._elsewhere, "start", cancelled_before)
        for call in calls:
            call.run()
        with pytest.raises(CancelledError):
            run.result(WAIT)
        assert paper.more() == []
        paper.close()

    def test_a_run_is_cancelled_with_all_that_waits(self, paper: PaperDriver) -> None:
        one, two = note("one"), note("two")
        run = whole(paper, *[note(("end", n), one, two) for n in range(3)])
        calls = paper.more()
        waiting = [call for call in calls if call.waits]
        run.cancel()
        assert waiting
        assert all(call.cancelled for call in waiting)
        finish(paper, [call for call in calls if not call.cancelled])
        assert RAN in ([], ["one", "two"])

    def test_what_nobody_wants_any_more_is_taken_back(self, paper: PaperDriver) -> None:
        run = whole(paper, note("end", note("one"), note("two")))
        calls = [paper.paper.next() for _ in range(3)]
        del run
        gc.collect()  # a run and its futures know each other
        assert paper.paper.withdrawn.get(timeout=WAIT) is calls[2]
        for call in calls[:2]:
            call.run()
        paper.told()
        assert nothing_left(paper)
        assert RAN == ["one", "two"]


# -- whatever happens ------------------------------------------------------------------------------


@delayed
def combine(at: int, fails: bool, becomes: bool, *inputs: Any) -> Any:
    if fails:
        raise KeyError(at)
    return replace(delayed(hash)((at, *inputs))) if becomes else hash((at, *inputs))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32).map(Random), st.integers(1, 14), st.integers(1, 4))
def test_random_graphs_end_as_they_do_in_one_thread(random: Random, count: int, slots: int) -> None:
    nodes: list[Any] = []
    for at in range(count):
        reads = random.sample(nodes, random.randint(0, min(len(nodes), 3)))
        nodes.append(combine(at, random.random() < 0.08, random.random() < 0.1, *reads))
    kept = [random.choice(nodes) for _ in range(3)]
    expected = [ending(future) for future in whole_in_sync(*kept).futures]
    with PaperDriver(slots) as paper:
        run = whole(paper, *kept, fail_fast=False)
        held: list[Held] = []
        deaths = 0
        while True:
            held += paper.more()
            held = [call for call in held if not call.report.done() and not call.cancelled]
            if not held:
                break
            able = [call for call in held if not call.waits]
            call = random.choice(able)
            if all(one.left is not None for one in call.call.inputs) and deaths < MAX_DEATHS and random.random() < 0.1:
                deaths += 1
                call.fail()
            else:
                call.run()
        assert [ending(future) for future in run.futures] == expected
        del run
        assert nothing_left(paper)


def whole_in_sync(*lazy: Any) -> lazygraph.Run:
    return start(*lazy, executor="sync", optimize_graph=False, fail_fast=False)


def ending(future: Any) -> Any:
    error = future.exception(WAIT)
    return (future.status, repr(error)) if error is not None else (future.status, future.result())
