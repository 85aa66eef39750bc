"""The one mind that says what may run.

Used by every driver and by the cluster's scheduler, so that all executors agree.  It knows no clock, socket, thread or
random source.  What happens to every task goes through `lease` and `succeeded`, in lists of entries; what is rare goes
through `handle(event, now)`.  Both read one table of moves (values.status.MOVES).

Covers: readiness, leases, claims and freeing, failure and cancellation, values computed again.
Does not cover yet: retries, rates, limits, times, queues (plans that ask for them are refused by the executors).
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any

from lazygraph.running.arena import ANYWHERE, Arena
from lazygraph.running.events import (
    Action,
    CancelRun,
    CancelTask,
    Delivered,
    Dropped,
    Ended,
    Event,
    Failed,
    Freed,
    Poisoned,
    Progress,
    Recall,
    Returned,
    RunnerLost,
    Settled,
    Started,
    ValuesLost,
    Wanted,
)
from lazygraph.running.lease import Lease
from lazygraph.values.status import TERMINAL, UNHAPPY, State, can_move, in_states

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from lazygraph.running.block import Block
    from lazygraph.values.graph import Shape

_NO_BLOCK: Any = None
MAX_DEATHS = 3
"""A task that was running on more dying runners than this has failed (as distributed's `allowed-failures`)."""

_MAY_SUCCEED = can_move(State.SUCCEEDED)
_ENDED = in_states(TERMINAL)
_SAD = in_states(UNHAPPY)
_UNSTARTED = in_states(frozenset({State.WAITING, State.SCHEDULED, State.QUEUED, State.RETRYING}))
_HANDED_OUT = in_states(frozenset({State.LEASED, State.RUNNING}))
_WAITING, _QUEUED, _LEASED = int(State.WAITING), int(State.QUEUED), int(State.LEASED)
_SUCCEEDED, _RELEASED = int(State.SUCCEEDED), int(State.RELEASED)


class Frontier(Arena):
    """The mind: what may run, what is claimed, what has ended, over the arena of all runs of one executor."""

    # -- admission ---------------------------------------------------------------------------------

    def admit(
        self, shape: Shape, bindings: Sequence[tuple[Block, int]] = (), fail_fast: bool = True
    ) -> tuple[Block, list[Action]]:
        """Take a plan in.  `bindings[i]` says whose value external i is; without any, externals are held values.

        Returns its block and what follows at once (outputs that have ended already are `Settled`).
        """
        block = self._new_block(shape, fail_fast)
        block.bindings = list(bindings)
        pending, base = block.pending, block.base
        state, lane = block.state, self._lanes[ANYWHERE]
        roots = [at for at in range(shape.externals, len(block)) if not pending[at]]
        for at in roots:
            state[at] = _QUEUED
        if lane:
            for at in roots:
                heappush(lane, base + at)
        else:
            lane.extend([base + at for at in roots])  # ascending: a heap already
        actions: list[Action] = []
        for external in range(shape.externals):
            self._bind(block, external, actions)
        self._end_if_unclaimed(block, actions)
        return block, actions

    def _bind(self, block: Block, external: int, actions: list[Action]) -> None:
        if not block.bindings:
            self._external_arrived(block, external, actions)
            return
        owner, entry = block.bindings[external]
        owner.claims[entry] += 1
        owner.watchers.setdefault(entry, []).append((block, external))
        if owner.state[entry] == _RELEASED:
            self._reopen(owner, entry, actions)
        if owner.state[entry] == _SUCCEEDED:
            self._external_arrived(block, external, actions)
        elif _SAD[owner.state[entry]]:
            self._external_failed(block, external, owner, entry, actions)

    # -- the door for every task -------------------------------------------------------------------

    def lease(self, limit: int, lane: int = ANYWHERE, most: int = 0) -> Lease | None:
        """Hand out up to `limit` ready tasks of one run, lowest rank first; None when the lane is empty.

        A plain task that is the only reader of tasks in the lease, and waits for nothing else, is sent ahead with them,
        up to `most` tasks in all (default: `limit`).
        """
        most = max(most, limit)
        taken = 0
        heap = self._lanes.get(lane)
        tasks: list[int] = []
        ahead: dict[int, int] = {}
        block: Any = _NO_BLOCK
        state, attempts = bytearray(), dict[int, int]()
        low = high = 0
        attempt = 1
        while heap and taken < limit and len(tasks) < most:
            number = heap[0]
            if not low <= number < high:
                if tasks:
                    break  # the next ready task belongs to another run
                found = self._block_of(number)
                if found is None:
                    heappop(heap)
                    continue
                block = found
                low, high = block.base, block.base + len(block)
                state, attempts = block.state, block.attempts
            at = number - low
            if state[at] != _QUEUED:
                heappop(heap)
                continue
            if attempts or block.special:
                alone = block.special and not block.plain[block.shape.option[at]]
                if tasks and (alone or attempts.get(at, 1) != attempt):
                    break
                attempt = attempts.get(at, 1)
                limit, most = (1, 1) if alone else (limit, most)
            heappop(heap)
            state[at] = _LEASED
            tasks.append(at)
            taken += 1
            if len(tasks) < most:
                _send_ahead(block, at, tasks, ahead, most, attempt)
        return Lease(block, tasks, attempt) if tasks else None

    def succeeded(self, block: Block, tasks: Sequence[int], attempt: int = 1) -> Progress:
        """Note that tasks have ended well; late and repeated reports change nothing."""
        progress = Progress()
        outputs, freed = progress.outputs, progress.freed
        state, pending, claims, futures = block.state, block.pending, block.claims, block.futures
        starts, consumers, bounds, inputs = block.starts, block.consumers, block.bounds, block.inputs
        attempts, watchers, base, k = block.attempts, block.watchers, block.base, block.shape.externals
        place, anywhere = self._place, self._lanes[ANYWHERE]
        for at in tasks:
            if not _MAY_SUCCEED[state[at]] or attempts.get(at, 1) != attempt or at < k:
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
                    state[reader] = _QUEUED
                    if place is None:
                        heappush(anywhere, base + reader)
                    else:
                        heappush(self._lane(place(block, reader)), base + reader)
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
            if watchers and at in watchers:
                for watcher, external in list(watchers[at]):
                    self._external_arrived(watcher, external, progress.actions)
        if freed:
            progress.freed = self._release(block, freed, progress.actions)
        if not block.open:
            self._end_if_unclaimed(block, progress.actions)
        return progress

    # -- the door for what is rare -----------------------------------------------------------------

    def handle(self, event: Event, now: float) -> list[Action]:
        """Absorb one event; return, in order, what the world outside must do.  `now` is in seconds, of any clock."""
        actions: list[Action] = []
        _HANDLERS[type(event)](self, event, actions)
        return actions

    def _failed(self, event: Failed, actions: list[Action]) -> None:
        block, task = event.block, event.task
        if _HANDED_OUT[block.state[task]] and block.attempt(task) == event.attempt:
            self._fail(block, task, actions)

    def _started(self, event: Started, actions: list[Action]) -> None:
        block, task = event.block, event.task
        if block.state[task] == _LEASED and block.attempt(task) == event.attempt:
            self._move(block, task, State.RUNNING)

    def _returned(self, event: Returned, actions: list[Action]) -> None:
        block = event.block
        for task in event.tasks:
            if _HANDED_OUT[block.state[task]] and block.attempt(task) == event.attempt:
                self._requeue(block, task)

    def _runner_lost(self, event: RunnerLost, actions: list[Action]) -> None:
        for block, task in event.suspects:
            if _HANDED_OUT[block.state[task]]:
                deaths = block.deaths[task] = block.deaths.get(task, 0) + 1
                if deaths > MAX_DEATHS:
                    actions.append(Poisoned(block, task, deaths))
                    self._fail(block, task, actions)
        for block, tasks in event.leased:
            for task in tasks:
                if _HANDED_OUT[block.state[task]]:
                    block.attempts[task] = block.attempt(task) + 1
                    self._requeue(block, task)

    def _values_lost(self, event: ValuesLost, actions: list[Action]) -> None:
        for block, entries in event.values:
            for entry in entries:
                if block.state[entry] == _SUCCEEDED and self._needed(block, entry):
                    self._reopen(block, entry, actions)
                elif block.state[entry] == _SUCCEEDED:
                    self._move(block, entry, State.RELEASED)

    def _needed(self, block: Block, entry: int) -> bool:
        """Whether anybody would miss the value now: a consumer that has not ended, or a future that has not got it."""
        if entry in block.futures and entry not in block.delivered:
            return True
        if any(not _ENDED[block.state[reader]] for reader in block.consumers_of(entry)):
            return True
        return any(self._needed(watcher, external) for watcher, external in block.watchers.get(entry, ()))

    def _delivered(self, event: Delivered, actions: list[Action]) -> None:
        event.block.delivered.update(event.tasks)

    def _wanted(self, event: Wanted, actions: list[Action]) -> None:
        block, task = event.block, event.task
        block.delivered.discard(task)
        if block.state[task] == _RELEASED:
            self._reopen(block, task, actions)

    def _dropped(self, event: Dropped, actions: list[Action]) -> None:
        block = event.block
        freed = []
        for entry in event.tasks:
            left = block.futures.get(entry, 0) - 1
            if left < 0:
                continue
            if left:
                block.futures[entry] = left
            else:
                del block.futures[entry]
            block.claims[entry] -= 1
            if not block.claims[entry]:
                freed.append(entry)
        self._withdraw(block, freed, actions)
        self._end_if_unclaimed(block, actions)

    def _cancel_task(self, event: CancelTask, actions: list[Action]) -> None:
        block, task = event.block, event.task
        if _UNSTARTED[block.state[task]]:
            self._end(block, task, State.CANCELLED, (block.base, task), actions)
            self._fail_below(block, [task], actions)
            self._end_if_unclaimed(block, actions)

    def _cancel_run(self, event: CancelRun, actions: list[Action]) -> None:
        self._cancel_all(event.block, (event.block.base, -1), actions)
        self._end_if_unclaimed(event.block, actions)

    # -- endings -----------------------------------------------------------------------------------

    def _end(self, block: Block, entry: int, target: State, cause: tuple[int, int], actions: list[Action]) -> None:
        """Give an entry its unhappy ending, and let go of what it claimed."""
        if _HANDED_OUT[block.state[entry]] and target is not State.FAILED:
            actions.append(Recall(block, [entry]))
        self._move(block, entry, target)
        block.causes[entry] = cause
        if entry >= block.shape.externals:
            block.open -= 1
        if entry in block.futures:
            actions.append(Settled(block, [entry], target))
        freed = []
        for read in block.inputs_of(entry):
            block.claims[read] -= 1
            if not block.claims[read]:
                freed.append(read)
        released = self._release(block, freed, actions)
        if released:
            actions.append(Freed(block, released))

    def _fail(self, block: Block, task: int, actions: list[Action]) -> None:
        self._end(block, task, State.FAILED, (block.base, task), actions)
        self._fail_below(block, [task], actions)
        self._end_if_unclaimed(block, actions)

    def _fail_below(self, block: Block, entries: list[int], actions: list[Action]) -> None:
        """Every node below an unhappy one ends too, and names where it began; iterative, each edge looked at once."""
        touched = {block.base: block}
        stack = [(block, entry) for entry in reversed(entries)]
        while stack:
            where, entry = stack.pop()
            cause, above = where.causes[entry], State(where.state[entry])
            target = State.CANCELLED if above is State.CANCELLED else State.UPSTREAM_FAILED
            for reader in where.consumers_of(entry):
                if not _ENDED[where.state[reader]]:
                    self._end(where, reader, target, cause, actions)
                    stack.append((where, reader))
            for watcher, external in list(where.watchers.get(entry, ())):
                touched[watcher.base] = watcher
                if not _ENDED[watcher.state[external]]:
                    self._end(watcher, external, target, cause, actions)
                    stack.append((watcher, external))
        for where in touched.values():
            if where.fail_fast and any(_SAD[where.state[output]] for output in where.futures):
                cause = next(where.causes[o] for o in where.futures if _SAD[where.state[o]])
                self._cancel_all(where, cause, actions)
            if where is not block:
                self._end_if_unclaimed(where, actions)

    def _cancel_all(self, block: Block, cause: tuple[int, int], actions: list[Action]) -> None:
        """Start nothing more of a run; what is running is no longer waited for."""
        for entry in range(len(block)):
            if not _ENDED[block.state[entry]]:
                self._end(block, entry, State.CANCELLED, cause, actions)

    def _withdraw(self, block: Block, entries: list[int], actions: list[Action]) -> None:
        """Nobody claims these any more: free what is made, cancel what has not started, and so on upwards."""
        stack = entries
        while stack:
            entry = stack.pop()
            if block.claims[entry] or entry in block.callbacks:
                continue
            state = block.state[entry]
            if state == _SUCCEEDED:
                released = self._release(block, [entry], actions)
                actions.append(Freed(block, released))
            elif _UNSTARTED[state] and (entry >= block.shape.externals or block.bindings):
                self._move(block, entry, State.CANCELLED)
                block.causes[entry] = (block.base, entry)
                if entry < block.shape.externals:
                    self._unwatch(block, entry, actions)
                    continue
                block.open -= 1
                for read in block.inputs_of(entry):
                    block.claims[read] -= 1
                    stack.append(read)

    # -- values ------------------------------------------------------------------------------------

    def _release(self, block: Block, entries: list[int], actions: list[Action]) -> list[int]:
        """Mark values that nobody claims as freed; return those that were there."""
        released = []
        state, k = block.state, block.shape.externals
        for entry in entries:
            if state[entry] != _SUCCEEDED:
                continue
            state[entry] = _RELEASED
            released.append(entry)
            if entry < k and block.bindings:
                self._unwatch(block, entry, actions)
        return released

    def _unwatch(self, block: Block, external: int, actions: list[Action]) -> None:
        """An external is no longer needed: withdraw its claim on the entry it stood for."""
        owner, entry = block.bindings[external]
        watchers = owner.watchers.get(entry)
        if not watchers or (block, external) not in watchers:
            return
        watchers.remove((block, external))
        if not watchers:
            del owner.watchers[entry]
        owner.claims[entry] -= 1
        if not owner.claims[entry]:
            self._withdraw(owner, [entry], actions)
        self._end_if_unclaimed(owner, actions)

    def _external_arrived(self, block: Block, external: int, actions: list[Action]) -> None:
        """The value an external stands for is there."""
        if block.state[external] != _WAITING:
            return
        self._move(block, external, State.SUCCEEDED)
        for reader in block.consumers_of(external):
            block.pending[reader] -= 1
            if not block.pending[reader] and block.state[reader] == _WAITING:
                self._move(block, reader, State.QUEUED)
                self._push(block, reader)
        if external in block.futures:
            actions.append(Settled(block, [external], State.SUCCEEDED))
        for watcher, other in list(block.watchers.get(external, ())):
            self._external_arrived(watcher, other, actions)
        if not block.claims[external]:
            released = self._release(block, [external], actions)
            actions.append(Freed(block, released))

    def _external_failed(self, block: Block, external: int, owner: Block, entry: int, actions: list[Action]) -> None:
        cancelled = State(owner.state[entry]) is State.CANCELLED
        target = State.CANCELLED if cancelled else State.UPSTREAM_FAILED
        self._end(block, external, target, owner.causes.get(entry, (owner.base, entry)), actions)
        self._fail_below(block, [external], actions)

    def _reopen(self, block: Block, entry: int, actions: list[Action]) -> None:
        """A value is gone and wanted: it is computed again, with whatever of its inputs is gone too."""
        stack = [(block, entry)]
        while stack:
            where, at = stack.pop()
            was = where.state[at]
            if was not in (_SUCCEEDED, _RELEASED):
                continue
            if at < where.shape.externals and not where.bindings:
                self._lose(where, at, actions)
                continue
            self._move(where, at, State.WAITING)
            for reader in where.consumers_of(at):
                where.pending[reader] += 1
                if where.state[reader] == _QUEUED:
                    self._move(where, reader, State.WAITING)
            for watcher, external in where.watchers.get(at, ()):
                if watcher.state[external] == _SUCCEEDED:
                    stack.append((watcher, external))
            if at < where.shape.externals:
                self._rebind(where, at, was, stack, actions)
            else:
                self._reclaim(where, at, stack)

    def _lose(self, block: Block, entry: int, actions: list[Action]) -> None:
        """A held value, never computed, is gone: nothing says how to make it again, and whoever needs it has failed."""
        lost = [(block, entry)]
        for where, at in lost:
            lost.extend(w for w in where.watchers.get(at, ()) if w[0].state[w[1]] == _SUCCEEDED)
            self._move(where, at, State.LOST)
            where.causes[at] = (block.base, entry)
            if at in where.futures:
                actions.append(Settled(where, [at], State.LOST))
        for where, at in lost:
            self._fail_below(where, [at], actions)

    def _rebind(self, block: Block, external: int, was: int, stack: list[Any], actions: list[Action]) -> None:
        owner, entry = block.bindings[external]
        if was == _RELEASED:
            owner.claims[entry] += 1
            owner.watchers.setdefault(entry, []).append((block, external))
        if owner.state[entry] == _SUCCEEDED and was == _RELEASED:
            self._external_arrived(block, external, actions)
        elif owner.state[entry] == _RELEASED:
            stack.append((owner, entry))

    def _reclaim(self, block: Block, task: int, stack: list[Any]) -> None:
        """A task that has ended is to run again: claim its inputs again, and make those again that are gone."""
        block.open += 1
        block.attempts[task] = block.attempt(task) + 1
        missing = 0
        for read in block.inputs_of(task):
            block.claims[read] += 1
            if block.state[read] != _SUCCEEDED:
                missing += 1
            if block.state[read] == _RELEASED:
                stack.append((block, read))
                missing -= 1  # reopening it counts it for all its readers
        block.pending[task] = missing
        if not missing and not any(block.state[read] == _RELEASED for read in block.inputs_of(task)):
            self._move(block, task, State.QUEUED)
            self._push(block, task)

    def _end_if_unclaimed(self, block: Block, actions: list[Action]) -> None:
        """Forget a block whose run has ended and of which nobody claims anything."""
        if block.open or block.futures or block.watchers or block.base not in self.blocks:
            return
        self._forget(block)
        for external in range(block.shape.externals if block.bindings else 0):
            if not _ENDED[block.state[external]] or block.state[external] == _SUCCEEDED:
                self._unwatch(block, external, actions)
        actions.append(Ended(block))


def _send_ahead(block: Block, at: int, tasks: list[int], ahead: dict[int, int], limit: int, attempt: int) -> None:
    """Add to a lease the tasks that only it feeds: following single readers takes no parallelism from anybody."""
    state, pending, starts, consumers = block.state, block.pending, block.starts, block.consumers
    while len(tasks) < limit and starts[at + 1] - starts[at] == 1:
        reader = consumers[starts[at]]
        if state[reader] != _WAITING or not block.plain[block.shape.option[reader]]:
            return
        seen = ahead.get(reader, 0) + 1
        if seen < pending[reader]:
            ahead[reader] = seen
            return
        if block.attempt(reader) != attempt:
            return
        state[reader] = _LEASED
        tasks.append(reader)
        at = reader


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
