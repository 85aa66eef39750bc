"""The one mind that says what may run.

Used by every driver and by the cluster's scheduler, so that all executors agree.  It knows no clock, socket, thread or
random source.  What happens to every task goes through `lease` and `succeeded`, in lists of entries; what is rare goes
through `handle(event, now)`.  Both read one table of moves (values.status.MOVES).

Covers: admission, leases, and what they lead to: success, failure, loss, cancellation.
Does not cover: claims and endings (running.endings), values that come or come again (running.arrivals), retries, times
and limits (running.timing).
"""

from __future__ import annotations

from heapq import heappop, heappush, heapreplace
from typing import TYPE_CHECKING, Any, cast

from lazygraph.running.arena import ANYWHERE, INNERMOST, NUMBER, RANK_SHIFT
from lazygraph.running.endings import ENDED, HANDED_OUT, SAD, UNSTARTED
from lazygraph.running.events import (
    Action,
    CancelRun,
    CancelTask,
    Delivered,
    Dropped,
    Event,
    Failed,
    Freed,
    Poisoned,
    Progress,
    Returned,
    RunnerLost,
    Settled,
    Started,
    ValuesLost,
    Wanted,
)
from lazygraph.running.lease import Lease, follow
from lazygraph.running.timing import Timing
from lazygraph.values.graph import MEMBER
from lazygraph.values.status import State

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from lazygraph.running.block import Block
    from lazygraph.running.row import Row
    from lazygraph.values.graph import Shape

MAX_DEATHS = 3
"""A task that was running on more dying runners than this has failed (as distributed's `allowed-failures`)."""

MAX_REPLACEMENTS = 1000
"""How often what stands for a task may be replaced in its turn: a task that returns itself for ever has failed."""

WHOLE_RUN = -1
"""Stands for the task in the cause of what was cancelled with its whole run."""

_WAITING, _QUEUED, _LEASED = int(State.WAITING), int(State.QUEUED), int(State.LEASED)
_SUCCEEDED, _RELEASED = int(State.SUCCEEDED), int(State.RELEASED)


class Frontier(Timing):
    """The mind: what may run, what is claimed, what has ended, over the arena of all runs of one executor."""

    # -- admission ---------------------------------------------------------------------------------

    def admit(
        self,
        shape: Shape,
        bindings: Sequence[tuple[Block, int] | None] = (),
        fail_fast: bool = True,
        now: float = 0.0,
        skips: bool = False,
        inside: int = 0,
    ) -> tuple[Block, list[Action]]:
        """Take a plan in.  `bindings[i]` says whose value external i is; without any, externals are held values.

        `inside`: how many tasks wait, or may soon, for others that they have started; of equal priority what was
        started further inside is next.

        An external that is the failure of a scope is bound to nothing.  Returns the plan's block and what follows at
        once (outputs that have ended already are `Settled`).  Raises `InvalidOption` for a limit that is another one
        under the same name elsewhere.
        """
        self._at(now)
        actions: list[Action] = []
        block = self._admit(shape, bindings, fail_fast, None, actions, skips, min(inside, INNERMOST))
        self._sweep(actions)
        return block, actions

    def replaced(
        self,
        block: Block,
        task: int,
        attempt: int,
        shape: Shape,
        bindings: Sequence[tuple[Block, int] | None] = (),
        now: float = 0.0,
    ) -> tuple[Block | None, list[Action]]:
        """Take in the plan that a task has returned: its one output's ending is to be the task's.

        Returns its block (None when nobody waits for this attempt any more) and what follows at once.
        """
        self._at(now)
        actions: list[Action] = []
        self.has_left(block.base, (task,), attempt)
        if not HANDED_OUT[block.state[task]] or block.attempt(task) != attempt:
            return None, actions
        new = self._admit(shape, bindings, False, block, actions)
        self._replace(block, task, new, shape.outputs[0], actions)
        self._sweep(actions)
        return new, actions

    def _admit(
        self,
        shape: Shape,
        bindings: Sequence[tuple[Block, int] | None],
        fail_fast: bool,
        task_of: Block | None,
        actions: list[Action],
        skips: bool = False,
        inside: int = 0,
    ) -> Block:
        self._check_limits(shape)
        block = self._new_block(shape, fail_fast, task_of)
        run = block.within
        block.first = block.base + run.first - run.base if run is not None else block.base - (inside << RANK_SHIFT)
        block.bindings, block.skips = list(bindings), skips
        lane, base, first = self._lanes[ANYWHERE], block.base, block.first
        self._touched[base] = block
        if block.row is not None:
            if len(block):
                heappush(lane, first)
            return block
        pending, state = block.pending, block.state
        roots = [at for at in range(shape.externals, len(block)) if not pending[at]]
        if block.special:
            self._watch_expiry(block)
            self.prioritized = self.prioritized or any(policy and policy.priority for policy in block.policies)
            named, roots = [at for at in roots if block.policy(at)], [at for at in roots if not block.policy(at)]
            for at in named:
                self._ready(block, at)
        for at in roots:
            state[at] = _QUEUED
        if roots:
            roots.reverse()
            block.root, block.roots = roots.pop(), roots
            self._waiting_roots += len(roots)
            heappush(lane, first + block.root)
        for external in range(shape.externals):
            self._bind(block, external, actions)
        if self._lineage:
            for owner in {bound[0].base: bound[0] for bound in block.bindings if bound is not None}.values():
                owner.bound += 1
        return block

    def next_alone(self, lane: int) -> bool:
        """Whether what is next in a lane that is not empty shares its lease with nothing."""
        number = self._lanes[lane][0] & NUMBER
        block = self._block_of(number)
        if block is None:
            return False
        policy = block.policy(number - block.base) if block.special else None
        return (policy is not None and policy.alone) or number - block.base in block.apart

    # -- the door for every task -------------------------------------------------------------------

    def lease(self, limit: int, lane: int = ANYWHERE, most: int = 0) -> Lease | None:
        """Hand out up to `limit` ready tasks of one run, lowest rank first; None when the lane is empty.

        What comes next by rank and reads nothing but what is in the lease is sent ahead with it, up to `most` tasks in
        all (default: `limit`).
        """
        most = max(most, limit)
        taken = 0
        heap = self._lanes.get(lane)
        tasks: list[int] = []
        block: Any = cast("Any", None)
        state, attempts = bytearray(), dict[int, int]()
        low = high = urgency = 0
        attempt = 1
        while heap and taken < limit and len(tasks) < most:
            number = heap[0] & NUMBER
            if not low <= number < high:
                if tasks:
                    break  # the next ready task belongs to another run
                found = self._block_of(number)
                if found is None:
                    self._pop(heap, found, number)
                    continue
                block = found
                if block.row is not None and (row := self._lease_of(block, block.row, number, most)) is not None:
                    return row
                low, high = block.base, block.end
                state, attempts = block.state, block.attempts
            at = number - low
            if state[at] != _QUEUED:
                self._pop(heap, block, number)
                continue
            policy = block.policies[block.shape.option[at]] if block.special else None
            if policy is not None or attempts:
                alone = (policy is not None and policy.alone) or at in block.apart
                if tasks and (alone or attempts.get(at, 1) != attempt or heap[0] >> RANK_SHIFT != urgency):
                    break
                if alone and not self._may_go(block, number):
                    self._pop(heap, block, number)
                    continue
                attempt = attempts.get(at, 1)
                limit, most = (1, 1) if alone else (limit, most)
            urgency = heap[0] >> RANK_SHIFT
            heappop(heap)
            root = at == block.root
            state[at] = _LEASED
            tasks.append(at)
            taken += 1
            if policy is not None and policy.limits:
                self._permit(block, at)
            waiting = len(block.roots)
            # Who waits can follow only as the one reader of this: looked at here, since mostly nobody does.
            after = at + 1
            if after < high - low and state[after] == _WAITING:
                alone = block.pending[after] == 1 and block.starts[after] - block.starts[at] == 1
                follows = alone and block.consumers[block.starts[at]] == after
            else:
                follows = True
            if follows and policy is None and len(tasks) < most:
                roots_only = self._place is not None
                ready = limit - taken if lane == ANYWHERE or not roots_only else 0
                taken += follow(block, tasks, ready, most, attempt, roots_only)
            if root:
                self._next_root(heap, block)
            self._waiting_roots -= waiting - len(block.roots)
        return Lease(block, tasks, attempt) if tasks else None

    def _lease_of(self, block: Block, row: Row, number: int, most: int) -> Lease | None:
        """Hand out what is next of a row; None when it is none any more, because something of it is handed out."""
        if row.leased > row.done:
            block.spread()
            return None
        lane = self._lanes[ANYWHERE]
        tasks = row.lease(most)
        if row.leased < len(block):
            heapreplace(lane, block.first + row.leased)
        else:
            heappop(lane)
        return Lease(block, tasks)

    def succeeded(self, block: Block, tasks: Sequence[int], attempt: int = 1, now: float = 0.0) -> Progress:
        """Note that tasks have ended well; late and repeated reports change nothing."""
        self._at(now)
        progress = Progress()
        if block.row is not None and attempt == 1 and (ended := block.row.succeeded(tasks)) is not None:
            progress.outputs, progress.freed = ended
            block.open -= len(tasks)
            if not block.open:
                self._touched[block.base] = block
                self._sweep(progress.actions)
            return progress
        outputs, freed = progress.outputs, progress.freed
        state, pending, claims, futures = block.state, block.pending, block.claims, block.futures
        starts, consumers, bounds, inputs = block.starts, block.consumers, block.bounds, block.inputs
        attempts, watchers, replaced = block.attempts, block.watchers, block.replaced
        base, first = block.base, block.first
        place, anywhere = self._place, self._lanes[ANYWHERE]
        policies, option = block.policies if block.special else None, block.shape.option
        if self._grants:
            self.has_left(base, tasks, attempt)
        again = attempt != 1 or bool(attempts)
        for at in tasks:
            if not HANDED_OUT[state[at]] or (again and attempts.get(at, 1) != attempt):
                progress.late.append(at)
                continue
            state[at] = _SUCCEEDED
            block.open -= 1
            start, end = starts[at], starts[at + 1]
            while start < end:
                reader = consumers[start]
                start += 1
                left = pending[reader] - 1
                pending[reader] = left
                if not left and state[reader] == _WAITING:
                    if policies is not None and policies[option[reader]] is not None:
                        self._ready(block, reader)
                        continue
                    state[reader] = _QUEUED
                    if place is None:
                        heappush(anywhere, first + reader)
                    else:
                        heappush(self._lane(place(block, reader)), first + reader)
            start, end = bounds[at], bounds[at + 1]
            while start < end:
                read = inputs[start]
                start += 1
                left = claims[read] - 1
                claims[read] = left
                if not left:
                    freed.append(read)
            if at in futures:
                outputs.append(at)
            if not claims[at]:
                freed.append(at)
            if replaced and at in replaced:
                self._unwatch(block, at)
            if watchers and at in watchers:
                for watcher, external in list(watchers[at]):
                    self._arrived(watcher, external, progress.actions)
        if freed:
            progress.freed = self._release(block, freed)
        if not block.open:
            self._touched[base] = block
        if self._orphans or self._touched or self._timers or self._due_lines:
            self._sweep(progress.actions)
        return progress

    def handed_out(self, block: Block, task: int, attempt: int, began: bool = False) -> bool:
        """A runner has a task that nobody here gave it: a mind that this one goes on for has; return whether it may.

        Its permits, if it needs any, are another matter (see `granted`).
        """
        block.spread()
        if HANDED_OUT[block.state[task]] and attempt > block.attempt(task):  # the one that is known is over
            self.has_left(block.base, (task,), block.attempt(task))
            block.attempts[task] = attempt
            return True
        if not UNSTARTED[block.state[task]] or task in block.replaced or attempt < block.attempt(task):
            return False
        block.wakes.pop(task, None)
        block.parked.pop(task, None)
        if block.state[task] != _QUEUED:
            self._move(block, task, State.QUEUED)
        self._move(block, task, State.LEASED)
        if began:
            self._move(block, task, State.RUNNING)
        if attempt != block.attempt(task):
            block.attempts[task] = attempt
        return True

    def _release(self, block: Block, entries: list[int]) -> list[int]:
        """Mark values that nobody claims as freed; return those that were there."""
        released = []
        state, k = block.state, block.shape.externals
        for entry in entries:
            if state[entry] == _SUCCEEDED:
                state[entry] = _RELEASED
                released.append(entry)
            if entry < k and state[entry] == _RELEASED:
                self._unwatch(block, entry)
        return released

    # -- the door for what is rare -----------------------------------------------------------------

    def handle(self, event: Event, now: float) -> list[Action]:
        """Absorb one event; return, in order, what the world outside must do.  `now` is in seconds, of any clock."""
        self._at(now)
        actions: list[Action] = []
        _HANDLERS[type(event)](self, event, actions)
        self._sweep(actions)
        return actions

    def _failed(self, event: Failed, actions: list[Action]) -> None:
        block, task = event.block, event.task
        self.has_left(block.base, (task,), event.attempt)
        if not HANDED_OUT[block.state[task]] or block.attempt(task) != event.attempt:
            return
        if event.stopped or (task in block.withdrawn and event.retry):
            self._fail(block, task, actions, State.CANCELLED)
        elif event.above or not self._tried_again(block, task, event, actions):
            above = State.SKIPPED if block.skips else State.UPSTREAM_FAILED
            self._fail(block, task, actions, above if event.above else State.FAILED)

    def _fail(self, block: Block, task: int, actions: list[Action], state: State = State.FAILED) -> None:
        self._end(block, task, state, (block.base, task), actions)
        self._end_below([(block, task)], actions)

    def _started(self, event: Started, actions: list[Action]) -> None:
        block, task = event.block, event.task
        self.has_begun(block.base, task, event.attempt)
        if block.state[task] == _LEASED and block.attempt(task) == event.attempt:
            self._move(block, task, State.RUNNING)

    def _returned(self, event: Returned, actions: list[Action]) -> None:
        block = event.block
        self.has_left(block.base, event.tasks, event.attempt, ran=False)
        for task in event.tasks:
            if HANDED_OUT[block.state[task]] and block.attempt(task) == event.attempt:
                self._again(block, task, actions)

    def _runner_lost(self, event: RunnerLost, actions: list[Action]) -> None:
        for block, task in event.suspects:
            if HANDED_OUT[block.state[task]] and task not in block.replaced:  # taking a value over kills nobody
                deaths = block.deaths[task] = block.deaths.get(task, 0) + 1
                if deaths > MAX_DEATHS:
                    actions.append(Poisoned(block, task, deaths))
                    self._fail(block, task, actions)
        for block, tasks in event.leased:
            for task in tasks:
                self.has_left(block.base, (task,), block.attempt(task))
                policy = block.policy(task)
                if HANDED_OUT[block.state[task]] and policy is not None and policy.at_most_once:
                    actions.append(Poisoned(block, task, block.deaths.get(task, 1)))
                    self._fail(block, task, actions)
                elif HANDED_OUT[block.state[task]]:
                    block.attempts[task] = block.attempt(task) + 1
                    if event.apart:
                        block.apart.add(task)
                    self._again(block, task, actions)

    def _values_lost(self, event: ValuesLost, actions: list[Action]) -> None:
        for block, entries in event.values:
            for entry in entries:
                if block.state[entry] == _SUCCEEDED and self._needed(block, entry):
                    self._reopen(block, entry, actions)
                elif block.state[entry] == _SUCCEEDED:
                    self._let_lie(block, entry)

    def _delivered(self, event: Delivered, actions: list[Action]) -> None:
        event.block.delivered.update(event.tasks)

    def _wanted(self, event: Wanted, actions: list[Action]) -> None:
        block, task = event.block, event.task
        block.delivered.discard(task)
        if task in block.futures and block.state[task] == _RELEASED:
            self._reopen(block, task, actions)

    def _dropped(self, event: Dropped, actions: list[Action]) -> None:
        block = event.block
        if block.row is not None and (gone := block.row.dropped(event.tasks)) is not None:
            actions.extend([Freed(block, gone)] if gone else ())
            self._touched[block.base] = block
            return
        block.spread()
        futures, claims, state, made = block.futures, block.claims, block.state, block.shape.externals
        freed: list[int] = []
        for entry in event.tasks:
            held = futures if entry in futures else block.given_up
            left = held.get(entry, 0) - 1
            if left < 0:
                continue
            if left:
                held[entry] = left
            else:
                del held[entry]
            if held is not futures:
                continue
            if claims[entry] == 1 and state[entry] == _SUCCEEDED and entry >= made and entry not in block.replaced:
                claims[entry] = 0  # nearly always: what was made goes with the last who could ask for it
                state[entry] = _RELEASED
                freed.append(entry)
            else:
                self._let_go(block, [entry], wholly=True)
        if freed:
            actions.append(Freed(block, freed))
        self._touched[block.base] = block

    def _cancel_task(self, event: CancelTask, actions: list[Action]) -> None:
        block, task = event.block, event.task
        if HANDED_OUT[block.state[task]] and not block.watchers.get(task):
            block.withdrawn.add(task)
        if not UNSTARTED[block.state[task]]:
            return
        cause = (block.base, task)
        if not block.watchers.get(task):
            self._end(block, task, State.CANCELLED, cause, actions)
            self._end_below([(block, task)], actions)
            return
        # Another run wants it too, and for that one it goes on; only this run lets go of it.  Who would go on here
        # without it may as well have it.
        below = [(block, reader) for reader in block.consumers_of(task) if not ENDED[block.state[reader]]]
        if block.tolerant:
            below = [(block, reader) for _, reader in below if block.kind(reader, task) != MEMBER]
        if task in block.futures:
            actions.append(Settled(block, [task], State.CANCELLED))
            block.given_up[task] = block.futures.pop(task)
            block.claims[task] -= block.given_up[task]
        block.causes[task] = cause
        for where, reader in below:
            self._end(where, reader, State.CANCELLED, cause, actions)
        self._end_below(below, actions)

    def _cancel_run(self, event: CancelRun, actions: list[Action]) -> None:
        run = event.block
        if run.base not in self.blocks:
            return  # forgotten, and with it what still waited for a failure
        for block in (*reversed(run.stands.values()), run):
            self._cancel_all(block, (run.base, WHOLE_RUN), actions)
        self._end_below([(run, entry) for entry in run.watchers if SAD[run.state[entry]]], actions)


_HANDLERS: Mapping[type, Callable[[Frontier, Any, list[Action]], None]] = {
    Failed: Frontier._failed,
    Started: Frontier._started,
    Returned: Frontier._returned,
    RunnerLost: Frontier._runner_lost,
    ValuesLost: Frontier._values_lost,
    Delivered: Frontier._delivered,
    Wanted: Frontier._wanted,
    Dropped: Frontier._dropped,
    CancelTask: Frontier._cancel_task,
    CancelRun: Frontier._cancel_run,
}
