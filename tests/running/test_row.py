"""A block that begins as a row is, at every moment, what it would be as a block like any other."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from lazygraph.running.block import Block
from lazygraph.running.events import (
    Action,
    CancelRun,
    CancelTask,
    Dropped,
    Event,
    Failed,
    Freed,
    Returned,
    RunnerLost,
    Settled,
    Started,
)
from lazygraph.running.frontier import Frontier
from lazygraph.running.row import can_be_a_row
from lazygraph.values.graph import Shape
from lazygraph.values.status import State
from tests.running.shapes import shape_of
from tests.running.test_frontier_properties import randoms


@st.composite
def plain(draw: st.DrawFn) -> Shape:
    """Draw a plan that can be a row: some tasks read some before them, some are outputs, one perhaps twice."""
    n = draw(st.integers(1, 14))
    reads = [sorted(draw(st.sets(st.integers(0, at - 1), max_size=3))) if at else [] for at in range(n)]
    outputs = draw(st.lists(st.integers(0, n - 1), min_size=1, max_size=5))
    shape = shape_of(reads, outputs=outputs)
    assert can_be_a_row(shape)
    return shape


class Twin:
    """One history, told to a row and to a block that was none from the beginning."""

    def __init__(self, shape: Shape) -> None:
        self.minds = Frontier(lineage=False, rows=True), Frontier(lineage=False)
        self.blocks = tuple(mind.admit(shape, (), False)[0] for mind in self.minds)
        self.row, self.plain = self.blocks
        assert self.row.row is not None and self.plain.row is None
        self.left: list[int] = []  # handed out, and not done

    def lease(self, most: int) -> None:
        """Hand out the next tasks; the other block has them all by the time that they are done."""
        lease = self.minds[0].lease(1, most=most)
        self.left = list(lease.tasks) if lease is not None else []

    def work(self, count: int) -> None:
        """The next tasks are done: together, and one by one as soon as they may begin."""
        tasks, self.left = self.left[:count], self.left[count:]
        progress = self.minds[0].succeeded(self.row, tasks)
        outputs: list[int] = []
        freed: list[int] = []
        for task in tasks:
            lease = self.minds[1].lease(1)
            assert lease is not None and lease.tasks == [task]
            part = self.minds[1].succeeded(self.plain, [task])
            outputs += part.outputs
            freed += part.freed
        assert progress.late == []
        assert progress.outputs == outputs
        assert sorted(progress.freed) == sorted(freed)

    def put_back(self) -> None:
        """Nothing is handed out any more."""
        if self.left:
            self.minds[0].handle(Returned(self.row, self.left, 1), 0.0)
            self.left = []

    def hand_out(self) -> None:
        """The other block's runner has what this one's has, as far as it may begin."""
        self.put_back()
        lease = self.minds[1].lease(1)
        twin = self.minds[0].lease(1)
        assert (lease and lease.tasks) == (twin and twin.tasks)

    def tell(self, event: Callable[[Block], Event]) -> None:
        """Something happens to both."""
        said = [_said(mind.handle(event(block), 0.0)) for mind, block in zip(self.minds, self.blocks, strict=True)]
        assert said[0] == said[1]

    def check(self) -> None:
        """They are the same."""
        assert self.row.states() == self.plain.states()
        assert self.row.open == self.plain.open
        assert self.row.futures == self.plain.futures
        assert [bool(mind.blocks) for mind in self.minds] == [bool(self.minds[0].blocks)] * 2
        if self.row.row is None:
            assert list(self.row.pending) == list(self.plain.pending)
            assert list(self.row.claims) == list(self.plain.claims)
            assert list(self.row.consumers) == list(self.plain.consumers)

    def finish(self) -> None:
        """Run what is left, as blocks like any other."""
        self.put_back()
        while (lease := self.minds[0].lease(1)) is not None:
            twin = self.minds[1].lease(1)
            assert twin is not None and (twin.tasks, twin.attempt) == (lease.tasks, lease.attempt)
            minds = zip(self.minds, self.blocks, strict=True)
            one, two = (mind.succeeded(block, lease.tasks, lease.attempt) for mind, block in minds)
            assert (one.outputs, sorted(one.freed)) == (two.outputs, sorted(two.freed))
        assert self.minds[1].lease(1) is None
        self.check()


def _said(actions: list[Action]) -> list[Any]:
    """What was said, of whichever block; what is freed by one event has no order."""
    said: list[Any] = []
    for action in actions:
        if isinstance(action, Freed):
            said.append(("freed", sorted(action.tasks)))
        elif isinstance(action, Settled):
            said.append(("settled", sorted(action.tasks), action.state))
        else:
            said.append((type(action).__name__, getattr(action, "tasks", None)))
    return said


@given(plain(), randoms)
def test_what_is_done_and_freed_and_left_is_the_same(shape: Shape, random: Random) -> None:
    twin = Twin(shape)
    while twin.row.open:
        twin.lease(random.randint(1, 6))
        while twin.left:
            twin.work(random.randint(1, 4))
            if not twin.left:
                twin.check()
        assert twin.row.row is not None
    for entry in random.sample(shape.outputs.tolist(), len(shape.outputs)):
        twin.tell(lambda block, entry=entry: Dropped(block, [entry]))  # type: ignore[misc]
        twin.check()
    assert twin.minds[0].blocks == {}


def _events(shape: Shape, task: int) -> dict[str, Callable[[Block], Event]]:
    return {
        "failed": lambda block: Failed(block, task, 1),
        "began": lambda block: Started(block, task, 1),
        "back": lambda block: Returned(block, [task], 1),
        "lost": lambda block: RunnerLost([(block, [task])], [(block, task)]),
        "cancel": lambda block: CancelTask(block, task),
        "cancel the run": lambda block: CancelRun(block),
        "drop": lambda block: Dropped(block, [shape.outputs[task % len(shape.outputs)]]),
        "drop all": lambda block: Dropped(block, list(shape.outputs)),
    }


@given(plain(), randoms, st.sampled_from(sorted(_events(shape_of([[]], outputs=[0]), 0))))
def test_whatever_happens_it_goes_on_as_any_other(shape: Shape, random: Random, name: str) -> None:
    twin = Twin(shape)
    before = random.randrange(len(shape))  # what is done of it when something happens
    if before:
        twin.lease(before)
        twin.work(before)
    twin.check()
    twin.hand_out()
    twin.check()
    event = _events(shape, random.randrange(len(shape)))[name]
    twin.tell(event)
    twin.check()
    twin.finish()


@given(plain(), randoms)
def test_a_second_runner_has_what_may_begin_beside_the_first(shape: Shape, random: Random) -> None:
    frontier = Frontier(lineage=False, rows=True)
    block, _ = frontier.admit(shape, (), False)
    first = frontier.lease(1, most=random.randint(1, len(shape)))
    assert first is not None
    out = list(first.tasks)
    done: list[int] = []
    while block.open:
        while (more := frontier.lease(random.randint(1, 3))) is not None:
            for task in more.tasks:
                assert task not in out and task not in done
                before = [*done, *more.tasks[: more.tasks.index(task)]]
                assert set(block.inputs_of(task)) <= set(before), "it was handed out before what it reads was there"
            out += more.tasks
        out.sort()  # a runner goes on in its order
        part = out[: random.randint(1, len(out))]
        out = out[len(part) :]
        assert frontier.succeeded(block, part).late == []
        done += part
    assert sorted(done) == list(range(len(shape)))


def test_options_scopes_and_externals_begin_as_blocks_like_any_other() -> None:
    assert not can_be_a_row(shape_of([[], [0]], outputs=[1], externals=1))
    frontier = Frontier(rows=True)  # with lineage: what is lost is made again, by whom it takes columns to know
    block, _ = frontier.admit(shape_of([[], [0]], outputs=[1]), (), False)
    assert block.row is None


def test_who_looks_without_a_lock_spreads_nothing() -> None:
    frontier = Frontier(lineage=False, rows=True)
    block, _ = frontier.admit(shape_of([[], [0], [1], []], outputs=[2, 3]), (), False)
    lease = frontier.lease(1, most=2)
    assert lease is not None and lease.tasks == [0, 1]
    assert block.states() == [State.LEASED, State.LEASED, State.WAITING, State.QUEUED]
    frontier.succeeded(block, [0, 1])
    assert block.states() == [State.RELEASED, State.SUCCEEDED, State.QUEUED, State.QUEUED]
    assert block.row is not None
