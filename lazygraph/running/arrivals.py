"""How values come to where they are wanted, across runs, and again after they were lost.

Covers: externals (what one run reads of another), tasks that were replaced, values computed again with whatever they
need.
Does not cover: endings and claims (running.endings), what is next (running.frontier).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lazygraph.running.endings import ENDED, SAD, Endings, of_reader
from lazygraph.running.events import Action, Adopted, Poisoned, Settled
from lazygraph.values.graph import MEMBER, ORDER
from lazygraph.values.status import State

if TYPE_CHECKING:
    from lazygraph.running.block import Block

_WAITING = int(State.WAITING)
_ABOUT_TO = (int(State.QUEUED), int(State.SCHEDULED))
_SUCCEEDED, _RELEASED, _CANCELLED = int(State.SUCCEEDED), int(State.RELEASED), int(State.CANCELLED)


class Arrivals(Endings):
    """An arena that knows where values come from."""

    # -- externals ---------------------------------------------------------------------------------

    def _bind(self, block: Block, external: int, actions: list[Action]) -> None:
        """Let an external of a new block stand for what it was bound to."""
        if external in block.failures:
            pass  # it comes when something fails
        elif not block.bindings:
            self._arrived(block, external, actions)  # held already
        elif block.state[external] == _WAITING:  # else the end of another external has ended the whole run
            self._bind_to(block, external, actions)
        if not block.claims[external]:
            self._orphans.append((block, external))

    def _bind_to(self, block: Block, external: int, actions: list[Action]) -> None:
        bound = block.bindings[external]
        assert bound is not None
        owner, entry = bound
        cause = owner.causes.get(entry)
        if cause is not None:  # it has ended unhappily, or its future was cancelled while others went on to want it
            failed = SAD[owner.state[entry]] and owner.state[entry] != _CANCELLED
            self._end(block, external, State.UPSTREAM_FAILED if failed else State.CANCELLED, cause, actions)
            self._end_below([(block, external)], actions)
            return
        # What stands for something else is not watched itself: chains of runs stay one step deep.
        owner, entry = block.bindings[external] = owner.owner(entry)
        self._watch(block, external, owner, entry)
        if owner.state[entry] == _RELEASED:
            self._reopen(owner, entry, actions)
        self._follow(block, external, actions)

    def _watch(self, block: Block, external: int, owner: Block, entry: int) -> None:
        watchers = owner.watchers.setdefault(entry, {})
        if (block, external) not in watchers:
            watchers[block, external] = None
            owner.claims[entry] += 1

    def _follow(self, block: Block, external: int, actions: list[Action]) -> None:
        """Bring a waiting external, or a task that was replaced, to where what it stands for is already."""
        owner, entry = block.replaced.get(external) or block.owner(external)
        state = owner.state[entry]
        if block.state[external] != _WAITING:
            return
        if state == _SUCCEEDED:
            self._arrived(block, external, actions)
        elif SAD[state]:
            target = State.CANCELLED if state == _CANCELLED else State.UPSTREAM_FAILED
            self._end(block, external, of_reader(block, external, target), owner.causes[entry], actions)
            self._end_below([(block, external)], actions)

    def _arrived(self, block: Block, external: int, actions: list[Action]) -> None:
        """The value an external, or a task that was replaced, stands for is there."""
        if block.state[external] != _WAITING:
            return
        if external >= block.shape.externals:
            self._adopt(block, external, actions)
            return
        self._move(block, external, State.SUCCEEDED)
        for reader in block.consumers_of(external):
            block.pending[reader] -= 1
            if not block.pending[reader] and block.state[reader] == _WAITING:
                self._ready(block, reader)
        if external in block.futures:
            actions.append(Settled(block, [external], State.SUCCEEDED))
        if not block.claims[external]:
            self._orphans.append((block, external))

    # -- replacements ------------------------------------------------------------------------------

    def _replace(self, block: Block, task: int, owner: Block, entry: int, actions: list[Action]) -> None:
        """Let a task wait for an entry of another block, whose value is to be its own."""
        self._move(block, task, State.WAITING)
        block.pending[task] += 1  # nothing else that comes may start it
        if not SAD[owner.state[entry]]:  # what has ended at once is followed no further
            owner, entry = owner.owner(entry)
        block.replaced[task] = owner, entry
        self._watch(block, task, owner, entry)
        self._follow(block, task, actions)
        if task in block.unwanted:
            self._orphans.append((block, task))

    def _adopt(self, block: Block, task: int, actions: list[Action]) -> None:
        owner, entry = block.replaced[task]
        block.pending[task] -= 1
        self._move(block, task, State.LEASED)
        actions.append(Adopted(block, task, block.attempt(task), owner, entry))

    def _again(self, block: Block, task: int, actions: list[Action]) -> None:
        """What was handed out has not been done: it is free again, or waits again for what stands for it."""
        if task in block.replaced:
            self._move(block, task, State.WAITING)
            block.pending[task] += 1
            self._follow(block, task, actions)
        else:
            self._requeue(block, task)
            if task in block.withdrawn and not block.watchers.get(task):  # cancelled meanwhile
                self._end(block, task, State.CANCELLED, (block.base, task), actions)
                self._end_below([(block, task)], actions)
        if task in block.unwanted:
            self._orphans.append((block, task))

    # -- values that are gone ----------------------------------------------------------------------

    def _needed(self, block: Block, entry: int) -> bool:
        """Whether anybody would miss the value now: a consumer that has not ended, or a future that has not got it."""
        if entry in block.futures and entry not in block.delivered:
            return True
        readers = (reader for reader in block.consumers_of(entry) if reader not in block.replaced)
        if any(not ENDED[block.state[reader]] and self._takes(block, reader, entry) for reader in readers):
            return True
        return any(
            external in watcher.replaced or self._needed(watcher, external)
            for watcher, external in block.watchers.get(entry, ())
        )

    def _let_lie(self, block: Block, entry: int) -> None:
        """A value is gone and nobody would miss it now: it is made again when somebody does."""
        self._move(block, entry, State.RELEASED)
        for watcher, external in block.watchers.get(entry, ()):
            if watcher.state[external] == _SUCCEEDED:
                self._move(watcher, external, State.RELEASED)

    def _takes(self, block: Block, task: int, read: int) -> bool:
        """Whether a task takes the value of what it reads, and not only waits for its end."""
        return block.shape.kinds[block.bounds[task] + block.inputs_of(task).index(read)] != ORDER

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
            where.remade.add(at)
            for reader in where.consumers_of(at):
                where.pending[reader] += 1
                if where.state[reader] in _ABOUT_TO:
                    self._move(where, reader, State.WAITING)
            stack.extend(w for w in where.watchers.get(at, ()) if w[0].state[w[1]] == _SUCCEEDED)
            if at >= where.shape.externals:
                self._reclaim(where, at, stack, actions)
            elif was == _RELEASED:
                self._rewatch(where, at, stack, actions)
            else:  # what it stands for may have ended meanwhile
                self._follow(where, at, actions)

    def _rewatch(self, block: Block, external: int, stack: list[tuple[Block, int]], actions: list[Action]) -> None:
        """An external whose value was let go of is wanted again."""
        owner, entry = block.owner(external)
        self._watch(block, external, owner, entry)
        if owner.state[entry] == _RELEASED:
            stack.append((owner, entry))
        else:
            self._follow(block, external, actions)

    def _reclaim(self, block: Block, task: int, stack: list[tuple[Block, int]], actions: list[Action]) -> None:
        """A task that has ended is to run again: claim its inputs again, and make those again that are gone."""
        state = block.state
        block.open += 1
        block.withdrawn.discard(task)
        block.attempts[task] = block.attempt(task) + 1
        missing, gone = 0, []
        unhappy: int | None = None
        for at, read in enumerate(block.inputs_of(task), block.bounds[task]):
            block.claims[read] += 1
            if block.shape.kinds[at] in (ORDER, MEMBER) and ENDED[state[read]]:
                if block.shape.kinds[at] == ORDER or SAD[state[read]]:
                    continue  # it has been waited for
            if SAD[state[read]]:
                unhappy = read
            elif state[read] == _RELEASED and read in block.failures:
                self._move(block, read, State.SUCCEEDED)  # a failure is kept as long as its run
            elif state[read] == _RELEASED:
                gone.append((block, read))  # reopening it counts it, for all its readers
            elif state[read] != _SUCCEEDED:
                missing += 1
        block.pending[task] = missing
        policy = block.policy(task)
        if policy is not None and policy.at_most_once:
            actions.append(Poisoned(block, task, block.deaths.get(task, 1)))
            self._end(block, task, State.FAILED, (block.base, task), actions)
            self._end_below([(block, task)], actions)
        elif unhappy is not None:
            target = State.CANCELLED if state[unhappy] == _CANCELLED else State.UPSTREAM_FAILED
            self._end(block, task, target, block.causes[unhappy], actions)
            self._end_below([(block, task)], actions)
        elif gone:
            stack.extend(gone)
        elif not missing:
            self._ready(block, task)

    def _lose(self, block: Block, entry: int, actions: list[Action]) -> None:
        """A held value, never computed, is gone: nothing says how to make it again, and whoever needs it has failed."""
        cause = (block.base, entry)
        lost = [(block, entry), *(w for w in block.watchers.get(entry, ()) if w[0].state[w[1]] == _SUCCEEDED)]
        for where, at in lost:
            self._end(where, at, State.LOST, cause, actions)
        self._end_below(lost, actions)
