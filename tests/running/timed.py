"""The engine on paper, with options and a clock that jumps: retries, delays, expiries, limits, late reports.

When an attempt really starts only the runner knows: some time between its grant and the first report of it.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect, insort
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from random import Random
from typing import Any

from lazygraph.running.block import Block
from lazygraph.running.events import Action, CancelRun, CancelTask, Event, Failed, Retried, Started
from lazygraph.running.limits import NEVER
from lazygraph.running.policy import LimitOf, Policy
from lazygraph.values.options import Limit, Rate, RetryPolicy, TaskOptions
from lazygraph.values.status import State
from tests.running.paper import OnPaper
from tests.running.shapes import Recipe
from tests.running.world import World

WALL = 1_700_000_000.0
_NAMED = (Limit("api", rate="3/s", concurrency=2), Limit("db", concurrency=1), Limit("slow", rate="5/m"))
_RATES = ("1/s", "2/s", "0.5/s", "5/m", ("2/s", "3/m"), Rate("4/s", even=True))


def random_options(random: Random, now: float, once: bool) -> TaskOptions:
    """Return options that say something; with `once`, perhaps some that end a task."""
    said: dict[str, Any] = {}
    if random.random() < 0.4:
        jitter = random.choice((0.0, 0.5, 1.0))
        delay = random.choice((0.0, 0.5, 5.0))
        policy = RetryPolicy(random.randint(0, 3), delay=delay, backoff=random.choice((1.0, 2.0)), jitter=jitter)
        said["retries"] = random.choice((policy, random.randint(1, 3)))
    if random.random() < 0.3:
        said["rate_limit"] = random.choice(_RATES)
    if random.random() < 0.2:
        said["concurrency"] = random.randint(1, 2)
    if random.random() < 0.2:
        said["limit"] = random.choice(_NAMED)
    if random.random() < 0.2:
        said["priority"] = random.randint(-2, 2)
    if random.random() < 0.15:
        said["countdown"] = random.choice((0.0, 0.5, 3.0, 90.0))
    if random.random() < 0.1:
        said["eta"] = datetime.fromtimestamp(WALL + now + random.randint(-2, 30), UTC)
    if once and random.random() < 0.15:
        dated = datetime.fromtimestamp(WALL + now + random.randint(-1, 60), UTC)
        said["expires"] = random.choice((0.0, 1.0, 7.0, 100.0, dated))
    if once and random.random() < 0.1:
        said["at_most_once"] = True
    return TaskOptions(**said, limited_as=random.choice(("fetch", "store")) if said else None)


def dressed(random: Random, recipe: Recipe, now: float, once: bool) -> Recipe:
    """Return a plan some of whose tasks have options, inside what they become too."""
    shape = recipe.shape
    rows = [*shape.options, *(random_options(random, now, once) for _ in range(random.randint(0, 4)))]
    option = array("i", shape.option)
    for task in range(shape.externals, len(shape)):
        if random.random() < 0.6:
            option[task] = random.randrange(len(rows))
    becomes = {task: dressed(random, inner, now, once) for task, inner in recipe.becomes.items()}
    return replace(recipe, shape=replace(shape, option=option, options=tuple(rows)), becomes=becomes)


class TimedWorld(World):
    """A world in which tasks have options.  With `once`, also some that end them: expiries, at_most_once."""

    def __init__(self, random: Random, lanes: bool = False, lineage: bool = True, once: bool = True) -> None:
        super().__init__(random, lanes=lanes, lineage=lineage)
        self.once = once
        self.frontier.wall_ahead = WALL
        self.swept = 0.0  # when the mind has last looked what is due
        self.starts: dict[LimitOf, list[float]] = {}
        self.raised: set[tuple[Block, int]] = set()
        self.earliest: dict[tuple[Block, int], float] = {}  # retries: not before
        self.admitted_at: dict[Block, float] = {}
        self.retried: dict[tuple[Block, int], int] = {}
        self.most: dict[tuple[Block, int], int] = {}  # retries that somebody has allowed
        self.attempt: dict[tuple[Block, int], int] = {}
        self.log: list[Any] = []

    # -- what happens ------------------------------------------------------------------------------

    def admit_recipe(
        self, recipe: Recipe, bindings: Sequence[tuple[Block, int]] = (), fail_fast: bool = False
    ) -> Block:
        self.swept = self.now
        return super().admit_recipe(dressed(self.random, recipe, self.now, self.once), bindings, fail_fast)

    def _enter(self, block: Block, recipe: Recipe, bindings: Sequence[tuple[Block, int]]) -> None:
        self.admitted_at[block] = self.now
        super()._enter(block, recipe, bindings)

    def tell(self, event: Event) -> list[Action]:
        self.swept = self.now
        if isinstance(event, Started):
            for paper in [paper for papers in self.runners.values() for paper in papers]:
                if paper.lease.block is event.block and event.task in paper.left:
                    self._starts(paper)
        if isinstance(event, CancelTask | CancelRun):
            self.cancelled.add(event.block)
        return super().tell(event)

    def pass_time(self, jump: bool = True) -> bool:
        """Go to when something is due (or anywhere); say whether there was such a moment."""
        due = self.frontier.next_time()
        if jump:
            if due is None:
                return False
            self.now = max(self.now, due)
        else:
            self.now += self.random.choice((0.0, 0.1, 1.0, self.random.random() * 70))
            if self.random.random() < 0.3:
                return True  # nobody looks at the clock yet
        self.swept = self.now
        self._act(self.frontier.tick(self.now))
        later = self.frontier.next_time()
        assert later is None or later > self.now, "what is due has been done, and is due"
        return True

    def lease(self, runner: int, limit: int, most: int = 0) -> bool:
        if not super().lease(runner, limit, most):
            for block in self.frontier.blocks.values():
                assert State.QUEUED not in block.states(), f"{block} has ready tasks, and nobody gets them"
            return False
        paper = self.runners[runner][-1]
        block = paper.lease.block
        self.log.append((self.now, block.base, tuple(paper.lease.tasks), paper.lease.attempt))
        for task in paper.lease.tasks:
            policy = block.policy(task)
            assert self.earliest.get((block, task), 0.0) <= self.frontier.now, "a retry came before its time"
            if policy is not None and task not in block.remade:
                self._check_times(block, policy)
        return True

    def _check_times(self, block: Block, policy: Policy) -> None:
        came, now = self.admitted_at[block], self.frontier.now
        assert now >= came + policy.countdown
        assert policy.eta is None or now >= policy.eta - WALL
        assert policy.expires is None or self.swept < came + policy.expires, "it had expired"
        assert policy.expires_at is None or self.swept < policy.expires_at - WALL, "it had expired"

    def run(self, runner: int, paper: OnPaper, count: int) -> None:
        self._starts(paper)
        self.swept = self.swept if count else self.now
        super().run(runner, paper, count)

    def kill(self, runner: int, values_first: bool) -> list[OnPaper]:
        for paper in self.runners[runner]:
            if self.random.random() < 0.8:
                self._starts(paper)
        self.swept = self.now
        return super().kill(runner, values_first)

    def _starts(self, paper: OnPaper) -> None:
        """An attempt has started, at any time until now; no window may hold too many."""
        if paper.begun:
            return
        paper.begun = True
        policy = paper.lease.block.policy(paper.lease.tasks[0])
        start = self.random.choice((paper.granted, self.now, self.random.uniform(paper.granted, self.now)))
        for limit in policy.limits if policy is not None else ():
            starts = self.starts.setdefault(limit, [])
            insort(starts, start)
            at = bisect(starts, start) - 1
            for window in limit.windows:
                for first in range(max(0, at - window.starts), at + 1):
                    last = first + window.starts
                    if last < len(starts):
                        assert starts[last] - starts[first] > window.seconds - 1e-9, f"too many starts: {window}"

    def _raises(self, block: Block, task: int) -> bool:
        if super()._raises(block, task):
            return True
        policy = block.policy(task)
        left = policy.retries.max_retries - block.retries.get(task, 0) if policy is not None else 0
        return left > 0 and self.random.random() < 0.3

    def _failure(self, block: Block, task: int, attempt: int) -> Failed:
        event = super()._failure(block, task, attempt)
        self.raised.add((block, task))
        policy = block.policy(task)
        flaky = task not in self.recipes[block].bad
        if event.above or policy is None or not (flaky or self.random.random() < 0.7):
            return event
        asked = self.random.random() < 0.4
        countdown = self.random.choice((None, 0.0, 4.0)) if asked else None
        most = self.random.randint(0, 4) if asked and not flaky and self.random.random() < 0.3 else None
        own = policy.retries.max_retries or (3 if asked else 0)
        self.most[block, task] = max(self.most.get((block, task), 0), own if most is None else most)
        return replace(event, retry=True, asked=asked, countdown=countdown, max_retries=most)

    def _act(self, actions: Sequence[Action], check: bool = True) -> None:
        for action in actions:
            self.log.append((type(action).__name__, action.block.base))
            if isinstance(action, Retried):
                at = action.block, action.task
                assert action.delay >= 0.0
                self.earliest[at] = self.frontier.now + action.delay
                self.retried[at] = self.retried.get(at, 0) + 1
        super()._act(actions, check)

    # -- what must be true after every call --------------------------------------------------------

    def check(self) -> None:
        super().check()
        for block in self.frontier.blocks.values():
            self._check_waiting(block)
        held: dict[int, int] = {}
        for paper in [paper for papers in self.runners.values() for paper in papers if paper.left]:
            block, task = paper.lease.block, paper.left[0]
            if block.attempt(task) == paper.lease.attempt:
                assert block.state[task] not in (State.SCHEDULED, State.RETRYING, State.QUEUED), "it holds a slot"
            policy = block.policy(task)
            for limit in self.frontier._limits_of(policy) if policy is not None else ():
                held[id(limit)] = held.get(id(limit), 0) + 1
        for of, limit in self.frontier._limits.values():
            assert limit.running == held.get(id(limit), 0), f"{of} has lost count"
            assert of.most is None or limit.running <= of.most
            assert 0 <= limit._unreported <= limit.running
        for line in self.frontier._lines.values():
            assert line.called == sum(line is one for one in self.frontier._called.values())

    def _check_waiting(self, block: Block) -> None:
        for task, state in enumerate(block.states()):
            at = block, task
            assert block.attempt(task) >= self.attempt.get(at, 1), "attempts only grow"
            self.attempt[at] = block.attempt(task)
            assert self.retried.get(at, 0) == block.retries.get(task, 0) <= self.most.get(at, 0)
            if not self.deaths:
                assert block.attempt(task) == 1 + self.retried.get(at, 0)
            if state is State.SCHEDULED and task in block.parked:
                line = block.parked[task]
                limited = [limit for limit in line.limits if limit.free(self.frontier.now) <= line.called]
                due = self.frontier.next_time()
                if limited:
                    wakes = line.due < NEVER or line.called or any(limit.running for limit in limited)
                    assert wakes, f"nobody will let task {task} of {block} in"
                else:
                    assert due is not None
                    assert due <= self.frontier.now, "it might go, and does not"
            elif state in (State.SCHEDULED, State.RETRYING):
                assert block.wakes[task] >= self.swept, f"nobody will wake task {task} of {block}"
            if state is State.SCHEDULED:
                assert not block.pending[task]

    def _may_have_failed(self, block: Block, task: int) -> bool:
        policy = block.policy(task)
        late = policy is not None and (policy.expires is not None or policy.expires_at is not None)
        return super()._may_have_failed(block, task) or (late and (block, task) in self.raised)

    # -- a whole life ------------------------------------------------------------------------------

    def finish(self) -> None:
        """Do all work there is, and let time pass when there is none."""
        for _ in range(20_000):
            if not self.work() and not self.pass_time():
                break
        else:
            raise AssertionError("there is no end to it")
        self.check_over()

    def let_everything_go(self) -> None:
        super().let_everything_go()
        self.now += 1e6
        self.frontier.tick(self.now)
        frontier = self.frontier
        assert (frontier.next_time(), frontier._grants, frontier._called, frontier._expiries) == (None, {}, {}, {})
        for of, limit in frontier._limits.values():
            assert limit.idle(self.now), f"a permit of {of} is gone"
            assert limit.free(self.now) == min([of.most or math.inf, *(window.starts for window in of.windows)])
