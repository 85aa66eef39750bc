"""Who may follow what is under way, and who may not."""

from __future__ import annotations

from typing import Any

import pytest

from lazygraph.running.ahead import AheadFrontier
from lazygraph.running.block import Block
from lazygraph.running.events import CancelTask, Failed, Returned, RunnerLost
from lazygraph.running.lease import Lease
from lazygraph.values.options import TaskOptions
from lazygraph.values.status import State
from tests.running.shapes import shape_of


@pytest.fixture
def mind() -> AheadFrontier:
    return AheadFrontier(lineage=False)


def admitted(mind: AheadFrontier, *reads: list[int], **more: Any) -> Block:
    """Admit a plan whose entry i reads `reads[i]`; the last one is wanted."""
    block, _ = mind.admit(shape_of([*reads], outputs=[len(reads) - 1], **more), (), False)
    return block


def handed_out(mind: AheadFrontier, name: object) -> Lease:
    """Hand out one ready task, which is under way by a name."""
    lease = mind.lease(1, most=1)
    assert lease is not None
    mind.under_way(lease.block, lease.tasks, lease.attempt, name)
    return lease


class TestWhoMayFollow:
    def test_one_whose_inputs_are_all_under_way_says_by_what_names(self, mind: AheadFrontier) -> None:
        admitted(mind, [], [], [0, 1])
        handed_out(mind, "a")
        assert mind.lease_following(8) is None
        handed_out(mind, "b")
        lease = mind.lease_following(8)
        assert lease is not None
        assert (lease.tasks, lease.awaits) == ([2], {0: "a", 1: "b"})
        assert mind.lease_following(8) is None

    def test_what_is_there_need_not_be_waited_for(self, mind: AheadFrontier) -> None:
        block = admitted(mind, [], [], [0, 1])
        first = mind.lease(1, most=1)
        assert first is not None
        handed_out(mind, "b")
        mind.succeeded(block, first.tasks)
        lease = mind.lease_following(8)
        assert lease is not None
        assert (lease.tasks, lease.awaits) == ([2], {1: "b"})

    def test_all_of_a_lease_wait_for_the_same(self, mind: AheadFrontier) -> None:
        admitted(mind, [], [], [0], [0, 1], [0, 1], [0], [2, 3, 4, 5])
        handed_out(mind, "a")
        handed_out(mind, "b")
        leases = [mind.lease_following(8) for _ in range(4)]
        assert [lease.tasks if lease else None for lease in leases] == [[2], [3, 4], [5], None]

    def test_what_only_those_feed_goes_along(self, mind: AheadFrontier) -> None:
        admitted(mind, [], [0], [1], [2])
        handed_out(mind, "a")
        lease = mind.lease_following(1, most=2)
        assert lease is not None
        assert lease.tasks == [1, 2]
        mind.under_way(lease.block, lease.tasks, 1, "b")
        lease = mind.lease_following(1, most=2)
        assert lease is not None
        assert (lease.tasks, lease.awaits) == ([3], {2: "b"})

    @pytest.mark.parametrize("which", [0, 1])
    def test_what_is_not_plain_neither_follows_nor_is_followed(self, mind: AheadFrontier, which: int) -> None:
        block = admitted(mind, [], [0], [1], said={which: TaskOptions(retries=1)})
        handed_out(mind, "a")
        assert mind.lease_following(8) is None
        mind.succeeded(block, [0])
        assert mind.ready() == 1

    def test_one_that_was_told_of_too_late_is_not_waited_for(self, mind: AheadFrontier) -> None:
        block = admitted(mind, [], [0])
        lease = mind.lease(1, most=1)
        assert lease is not None
        mind.succeeded(block, lease.tasks)
        mind.under_way(block, lease.tasks, 1, "a")
        assert mind.lease_following(8) is None
        assert mind.ready() == 1

    def test_an_attempt_that_is_over_is_not_waited_for(self, mind: AheadFrontier) -> None:
        block = admitted(mind, [], [0])
        lost = mind.lease(1, most=1)
        assert lost is not None
        mind.handle(RunnerLost([(block, lost.tasks)]), 0.0)
        assert mind.lease(1, most=1) is not None
        mind.under_way(block, lost.tasks, lost.attempt, "lost")
        assert mind.lease_following(8) is None


class TestWhatBecomesOfIt:
    def follows(self, mind: AheadFrontier) -> Block:
        block = admitted(mind, [], [0])
        handed_out(mind, "a")
        assert mind.lease_following(8) is not None
        return block

    def test_it_may_be_done_before_its_input_is_said_to_be(self, mind: AheadFrontier) -> None:
        block = self.follows(mind)
        assert mind.succeeded(block, [1]).outputs == [1]
        assert mind.succeeded(block, [0]).freed == [0]
        assert block.states() == [State.RELEASED, State.SUCCEEDED]

    def test_it_waits_again_when_it_comes_back(self, mind: AheadFrontier) -> None:
        block = self.follows(mind)
        mind.handle(Returned(block, [1], 1), 0.0)
        assert block.states()[1] is State.WAITING
        assert mind.lease_following(8) is None  # or it would come and go until its input has come
        mind.succeeded(block, [0])
        assert block.states()[1] is State.QUEUED

    def test_it_follows_the_next_attempt_at_its_input(self, mind: AheadFrontier) -> None:
        block = self.follows(mind)
        mind.handle(RunnerLost([(block, [0])], [(block, 0)]), 0.0)
        mind.handle(Returned(block, [1], 1), 0.0)
        assert mind.lease_following(8) is None
        handed_out(mind, "again")
        lease = mind.lease_following(8)
        assert lease is not None
        assert (lease.tasks, lease.attempt, lease.awaits) == ([1], 1, {0: "again"})
        assert block.deaths == {0: 1}

    def test_it_is_recalled_when_its_input_has_failed(self, mind: AheadFrontier) -> None:
        block = self.follows(mind)
        mind.handle(Failed(block, 0, 1), 0.0)
        assert block.states() == [State.FAILED, State.UPSTREAM_FAILED]
        assert mind.handle(Returned(block, [1], 1), 0.0) == []
        assert mind.succeeded(block, [1]).late == [1]

    def test_it_goes_no_further_when_its_input_was_cancelled(self, mind: AheadFrontier) -> None:
        block = self.follows(mind)
        mind.handle(Returned(block, [0], 1), 0.0)
        mind.handle(CancelTask(block, 0), 0.0)
        assert block.states() == [State.CANCELLED, State.CANCELLED]
        assert mind.lease_following(8) is None
