"""The Frontier by example: what answers the failure of a scope."""

from __future__ import annotations

import pytest

from lazygraph.running.block import Block
from lazygraph.running.events import (
    CancelRun,
    CancelTask,
    Caught,
    Dropped,
    Ended,
    Failed,
    Freed,
    Poisoned,
    Returned,
    RunnerLost,
    Settled,
    ValuesLost,
)
from lazygraph.running.frontier import MAX_DEATHS, Frontier
from lazygraph.running.lease import Lease
from lazygraph.values.graph import ORDER, Scope, Shape
from lazygraph.values.status import State
from tests.running.shapes import shape_of
from tests.running.telling import ONE, leased, replaced, states


@pytest.fixture
def frontier() -> Frontier:
    return Frontier()


# The failure of the scope of 1 is 0, which 2 and 3 answer one after the other; 4 is beside all that.
GUARDED = shape_of([[], [], [0], [0, 2], []], [1, 4], 1, [3], scopes=[Scope(0, catch=0)], scope={1: 1})


def guarded(frontier: Frontier, shape: Shape = GUARDED, fail_fast: bool = False) -> Block:
    """Admit a plan whose externals are failures."""
    block, actions = frontier.admit(shape, [None] * shape.externals, fail_fast)
    assert actions == []
    return block


class TestScopes:
    """What answers the failure of a scope runs when it fails, and only then."""

    def test_it_runs_when_the_scope_fails(self, frontier: Frontier) -> None:
        block = guarded(frontier)
        assert leased(frontier, 2) == [1, 4]
        assert block.open == 2
        assert frontier.handle(Failed(block, 1, 1), 0.0) == [
            Settled(block, [1], State.FAILED),
            Caught(block, 0, (block.base, 1)),
        ]
        assert block.open == 3
        assert leased(frontier, 2) == [2, 3]
        assert frontier.succeeded(block, [2, 3]).freed == [0, 2, 3]

    def test_it_keeps_no_run_alive(self, frontier: Frontier) -> None:
        block = guarded(frontier)
        assert leased(frontier, 2) == [1, 4]
        frontier.succeeded(block, [1, 4])
        assert (block.open, block.states()[2]) == (0, State.WAITING)
        assert frontier.handle(Dropped(block, [1, 4]), 0.0) == [Freed(block, [1, 4]), Ended(block)]
        assert frontier.handle(CancelRun(block), 0.0) == []

    def test_what_is_wanted_outside_of_a_scope_that_fails_as_one_goes_on(self, frontier: Frontier) -> None:
        # 0 fails; 1 is read by 2, which stands in both groups, and 4 by nobody else; 5 stands outside and reads 2.
        scopes = [Scope(0, fail_fast=True, given=(2,))]
        reads: list[list[int]] = [[], [], [1], [0, 2, 4], [], [2]]
        block, _ = frontier.admit(shape_of(reads, [3, 5], scopes=scopes, scope={0: 1, 1: 1, 4: 1}), (), False)
        assert leased(frontier, 1) == [0]
        frontier.handle(Failed(block, 0, 1), 0.0)
        assert states(block) == ["FAILED", "QUEUED", "WAITING", "UPSTREAM_FAILED", "CANCELLED", "WAITING"]
        while tasks := leased(frontier, 8):
            frontier.succeeded(block, tasks)
        assert states(block)[5] == "SUCCEEDED" and block.open == 0

    def test_a_scope_fails_once(self, frontier: Frontier) -> None:
        both = shape_of([[], [], [], [0]], [1, 2], 1, [3], scopes=[Scope(0, catch=0)], scope={1: 1, 2: 1})
        block = guarded(frontier, both)
        assert leased(frontier, 2) == [1, 2]
        frontier.handle(Failed(block, 1, 1), 0.0)
        assert frontier.handle(Failed(block, 2, 1), 0.0) == [Settled(block, [2], State.FAILED)]
        assert (leased(frontier, 2), block.open) == ([3], 1)

    def test_a_scope_around_it_fails_too_the_inner_one_first(self, frontier: Frontier) -> None:
        scopes = [Scope(0, catch=0), Scope(1, catch=1)]
        block = guarded(frontier, shape_of([[], [], [], [0], [1]], [2], 2, [3, 4], scopes=scopes, scope={2: 2}))
        leased(frontier)
        cause = (block.base, 2)
        assert frontier.handle(Failed(block, 2, 1), 0.0) == [
            Settled(block, [2], State.FAILED),
            Caught(block, 1, cause),
            Caught(block, 0, cause),
        ]
        assert leased(frontier, 2) == [3, 4]

    def test_what_stands_in_several_scopes_fails_them_all(self, frontier: Frontier) -> None:
        scopes = [Scope(0, catch=0), Scope(0, catch=1, given=(2,))]
        block = guarded(frontier, shape_of([[], [], [], [0], [1]], [2], 2, [3, 4], scopes=scopes, scope={2: 1}))
        leased(frontier)
        caught = [action for action in frontier.handle(Failed(block, 2, 1), 0.0) if isinstance(action, Caught)]
        assert [action.entry for action in caught] == [0, 1]

    @pytest.mark.parametrize("end", ["failed above", "cancelled", "run cancelled", "lost"])
    def test_what_ends_otherwise_has_not_failed(self, frontier: Frontier, end: str) -> None:
        held, _ = frontier.admit(shape_of([[]], outputs=[0], externals=1), (), False)
        shape = shape_of([[], [], [], [2], [0, 3], [1]], [4], 2, [5], scopes=[Scope(0, catch=1)], scope={3: 1, 4: 1})
        block, _ = frontier.admit(shape, [(held, 0), None], False)
        assert leased(frontier) == [2]
        if end == "failed above":
            frontier.handle(Failed(block, 2, 1), 0.0)
        elif end == "cancelled":
            frontier.handle(CancelTask(block, 3), 0.0)
        elif end == "run cancelled":
            frontier.handle(CancelRun(block), 0.0)
        else:
            frontier.handle(ValuesLost([(held, [0])]), 0.0)
        assert block.states()[4] in (State.UPSTREAM_FAILED, State.CANCELLED)
        assert block.states()[1] in (State.WAITING, State.CANCELLED)
        assert block.states()[5] in (State.WAITING, State.CANCELLED)

    def test_the_failure_of_what_a_task_has_become_is_its_own(self, frontier: Frontier) -> None:
        block = guarded(frontier)
        leased(frontier, 2)
        new = replaced(frontier, block, 1, ONE)
        leased(frontier)
        assert Caught(block, 0, (new.base, 0)) in frontier.handle(Failed(new, 0, 1), 0.0)
        assert leased(frontier, 2) == [2, 3]

    def test_a_member_that_was_fused_into_it_fails_the_scope(self, frontier: Frontier) -> None:
        block = guarded(frontier)
        leased(frontier)
        assert Caught(block, 0, (block.base, 1)) in frontier.handle(Failed(block, 1, 1, above=True), 0.0)
        assert states(block)[:3] == ["SUCCEEDED", "UPSTREAM_FAILED", "QUEUED"]

    def test_what_kills_its_runners_fails_its_scope(self, frontier: Frontier) -> None:
        block = guarded(frontier)
        for _ in range(MAX_DEATHS):
            leased(frontier)
            frontier.handle(RunnerLost([(block, [1])], [(block, 1)]), 0.0)
        leased(frontier)
        assert frontier.handle(RunnerLost([(block, [1])], [(block, 1)]), 0.0) == [
            Poisoned(block, 1, MAX_DEATHS + 1),
            Settled(block, [1], State.FAILED),
            Caught(block, 0, (block.base, 1)),
        ]

    def test_it_runs_although_the_run_has_failed_fast(self, frontier: Frontier) -> None:
        block = guarded(frontier, fail_fast=True)
        leased(frontier)
        frontier.handle(Failed(block, 1, 1), 0.0)
        assert states(block) == ["SUCCEEDED", "FAILED", "QUEUED", "WAITING", "CANCELLED"]
        assert leased(frontier, 2) == [2, 3]
        frontier.succeeded(block, [2, 3])
        assert block.open == 0

    def test_and_so_does_what_it_needs(self, frontier: Frontier) -> None:
        needy = shape_of([[], [], [], [2], [], [0, 3]], [1, 3, 4], 1, [5], scopes=[Scope(0, catch=0)], scope={1: 1})
        block = guarded(frontier, needy, fail_fast=True)
        assert leased(frontier) == [1]
        frontier.handle(Failed(block, 1, 1), 0.0)
        assert states(block) == ["SUCCEEDED", "FAILED", "QUEUED", "WAITING", "CANCELLED", "WAITING"]
        assert leased(frontier, 8) == [2, 3, 5]

    def test_one_that_has_not_been_asked_ends_with_what_it_reads(self, frontier: Frontier) -> None:
        scopes = [Scope(0, catch=0)]
        block = guarded(frontier, shape_of([[], [], [], [], [0, 3]], [1, 2], 1, [4], scopes=scopes, scope={2: 1}), True)
        assert leased(frontier) == [1]
        frontier.handle(Failed(block, 1, 1), 0.0)
        assert states(block) == ["CANCELLED", "FAILED", "CANCELLED", "CANCELLED", "CANCELLED"]
        assert block.open == 0

    def test_the_failure_of_a_handler_is_answered_too(self, frontier: Frontier) -> None:
        scopes = [Scope(0, catch=0), Scope(0, catch=1)]
        block = guarded(
            frontier, shape_of([[], [], [], [0], [1]], [2], 2, [3, 4], scopes=scopes, scope={2: 1, 3: 2}), True
        )
        assert leased(frontier) == [2]
        frontier.handle(Failed(block, 2, 1), 0.0)
        assert leased(frontier) == [3]
        assert frontier.handle(Failed(block, 3, 1), 0.0) == [Caught(block, 1, (block.base, 3)), Freed(block, [0])]
        assert leased(frontier) == [4]

    def test_what_a_handler_has_become_runs_on_too(self, frontier: Frontier) -> None:
        block = guarded(frontier, fail_fast=True)
        assert leased(frontier, 2) == [1, 4]
        replaced(frontier, block, 4, ONE)
        frontier.handle(Failed(block, 1, 1), 0.0)
        assert leased(frontier) == [2]
        new = replaced(frontier, block, 2, ONE)
        assert frontier.lease(1) == Lease(new, [0])

    def test_but_not_what_it_would_have_needed(self, frontier: Frontier) -> None:
        reads: list[list[int]] = [[], [], [], [], [], [0, 2, 3]]
        scopes = [Scope(0, catch=0)]
        block = guarded(frontier, shape_of(reads, [4], 1, [1, 2, 3, 5], scopes=scopes, scope={1: 1}), fail_fast=True)
        assert leased(frontier, 2) == [1, 2]
        frontier.handle(Failed(block, 1, 1), 0.0)
        frontier.handle(Failed(block, 2, 1), 0.0)
        assert block.states()[5] is State.UPSTREAM_FAILED
        frontier.handle(Returned(block, leased(frontier), 1), 0.0)
        frontier.handle(CancelTask(block, 4), 0.0)
        assert block.states()[3] is State.CANCELLED

    def test_and_what_it_had_become_before(self, frontier: Frontier) -> None:
        shape = shape_of([[], [], [], [0], []], [1], 1, [2, 3, 4], scopes=[Scope(0, catch=0)], scope={2: 1})
        block = guarded(frontier, shape, fail_fast=True)
        assert leased(frontier, 3) == [1, 2, 4]
        frontier.handle(Failed(block, 2, 1), 0.0)  # nobody has asked for it, so the run goes on
        assert leased(frontier) == [3]
        new = replaced(frontier, block, 3, ONE)
        frontier.handle(Failed(block, 1, 1), 0.0)
        assert states(block) == ["SUCCEEDED", "FAILED", "FAILED", "WAITING", "CANCELLED"]
        assert frontier.lease(1) == Lease(new, [0])

    def test_one_that_waits_for_two_failures_waits_for_both(self, frontier: Frontier) -> None:
        scopes = [Scope(0, catch=0), Scope(0, catch=1)]
        shape = shape_of([[], [], [], [], [0, 1]], [2, 3], 2, [4], scopes=scopes, scope={2: 1, 3: 2})
        block = guarded(frontier, shape)
        assert leased(frontier, 2) == [2, 3]
        frontier.handle(Failed(block, 2, 1), 0.0)
        assert (block.open, leased(frontier)) == (1, [])
        frontier.handle(Failed(block, 3, 1), 0.0)
        assert (block.open, leased(frontier)) == (1, [4])

    def test_one_that_only_waits_for_the_failure(self, frontier: Frontier) -> None:
        shape = shape_of([[], [], [0]], [1], 1, [2], {2: [0]}, scopes=[Scope(0, catch=0)], scope={1: 1})
        assert shape.kinds == bytes([ORDER])
        block = guarded(frontier, shape)
        leased(frontier)
        frontier.handle(Failed(block, 1, 1), 0.0)
        assert leased(frontier) == [2]

    def test_a_failure_is_kept_as_long_as_its_run(self, frontier: Frontier) -> None:
        shape = shape_of([[], [], [0]], [1, 2], 1, [2], scopes=[Scope(0, catch=0)], scope={1: 1})
        block = guarded(frontier, shape)
        leased(frontier)
        frontier.handle(Failed(block, 1, 1), 0.0)
        leased(frontier)
        assert frontier.succeeded(block, [2]).freed == [0]
        frontier.handle(ValuesLost([(block, [2])]), 0.0)
        assert frontier.lease(1) == Lease(block, [2], attempt=2)
        assert frontier.succeeded(block, [2], 2).freed == [0]

    def test_a_failure_that_nobody_asks_for_is_let_go_of(self, frontier: Frontier) -> None:
        block = guarded(frontier, shape_of([[], []], [1], 1, scopes=[Scope(0, catch=0)], scope={1: 1}))
        assert states(block) == ["CANCELLED", "QUEUED"]
        leased(frontier)
        assert frontier.handle(Failed(block, 1, 1), 0.0) == [Settled(block, [1], State.FAILED)]
