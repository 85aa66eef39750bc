"""How entries end that do not succeed, who claims what, and when a value or a whole block can go.

A claim that is withdrawn may leave an entry that nobody wants, whose own claims go too, through any number of runs.  So
nothing here calls itself: what has lost its last claim is put on a list, and `_sweep` works the list off at the end of
every event.

Covers: unhappy endings and what they do below, withdrawn claims, forgetting blocks.
Does not cover: how values come (running.arrivals), what is next (running.frontier).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lazygraph.running.arena import Arena
from lazygraph.running.events import Action, Caught, Ended, Freed, Recall, Settled
from lazygraph.values.graph import MEMBER
from lazygraph.values.status import TERMINAL, UNHAPPY, State, in_states

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Iterator

    from lazygraph.running.block import Block

ENDED = in_states(TERMINAL)
SAD = in_states(UNHAPPY)
UNSTARTED = in_states(frozenset({State.WAITING, State.SCHEDULED, State.QUEUED, State.RETRYING}))
HANDED_OUT = in_states(frozenset({State.LEASED, State.RUNNING}))
_DIRECTLY = (int(State.FAILED), int(State.EXPIRED), int(State.LOST))
_BELOW = frozenset({State.UPSTREAM_FAILED, State.SKIPPED})
_FALLEN = frozenset({State.FAILED, State.EXPIRED})
_WAITING = int(State.WAITING)
_SUCCEEDED, _RELEASED, _CANCELLED = int(State.SUCCEEDED), int(State.RELEASED), int(State.CANCELLED)

Cause = tuple[int, int]


class Endings(Arena):
    """An arena that knows claims.

    With `lineage`, a block stays as long as another that has read from it, so that what is lost can be computed again;
    without it (values cannot be lost in this process) it goes as soon as nobody claims anything in it.
    """

    def __init__(self, place: Callable[[Block, int], int] | None = None, lineage: bool = True, rows: int = 0) -> None:
        super().__init__(place, 0 if lineage else rows)
        self._lineage = lineage
        self._orphans: list[tuple[Block, int]] = []  # entries that may have lost their last claim
        self._touched: dict[int, Block] = {}  # blocks that may be over
        self._broken: list[tuple[Block, Cause]] = []  # fail-fast runs with an unhappy output, and what stood in them
        self._fallen: list[tuple[Block, int, Cause]] = []  # scopes that fail as one, of which a node has failed

    # -- endings -----------------------------------------------------------------------------------

    def _end(self, block: Block, entry: int, target: State, cause: Cause, actions: list[Action]) -> None:
        """Give one entry its unhappy ending, and let go of what it claimed."""
        if HANDED_OUT[block.state[entry]] and target is not State.FAILED:
            _recall(actions, block, entry)
        self._move(block, entry, target)
        block.causes[entry] = cause
        if entry in block.futures:
            _settled(actions, block, entry, target)
            if block.fail_fast:
                block.fail_fast = False  # once is enough
                self._broken.append((block, cause))
        self._touched[block.base] = block
        if target is State.CANCELLED and entry in block.replaced and block.replaced[entry][0].within is not None:
            self._broken.append((block.replaced[entry][0], cause))
        self._unwatch(block, entry)
        # Of a fused task a member may have failed that the scope has too, and not the one whose value is the task's.
        fell = target in _FALLEN or (target in _BELOW and cause == (block.base, entry))
        if block.catches or block.strict:
            self._end_in_scopes(block, entry, fell, cause, actions)
        if entry >= block.shape.externals:
            self._close(block, entry)
            # Below a failure siblings run on, as Celery's do; what only a cancelled task wanted is not wanted any more.
            self._let_go(block, block.inputs_of(entry), target is State.CANCELLED)

    def _close(self, block: Block, task: int) -> None:
        """A task has ended that does not succeed.  One that waited for a failure was never open."""
        if task in block.dormant:
            block.dormant.remove(task)
        else:
            block.open -= 1

    def _end_in_scopes(self, block: Block, entry: int, fell: bool, cause: Cause, actions: list[Action]) -> None:
        """An entry has no value: see which scopes have failed, now that one of their nodes, or of their ends, has."""
        scopes, rows = block.shape.scopes, list[int]()
        for row in _failing_with(block, entry) if fell else ():
            block.felt.setdefault(row, cause)
            if not scopes[row].ends or row in block.sunk:
                rows.append(row)
        if entry in block.ends and block.state[entry] != _CANCELLED:
            block.sunk.update(block.ends[entry])
            rows.extend(block.ends[entry])
        for row in rows:
            if row in block.strict:
                self._fallen.append((block, row, cause))
            if row in block.catches and row in block.felt:
                self._catch(block, block.catches[row], block.felt[row], actions)

    def _catch(self, block: Block, catch: int, cause: Cause, actions: list[Action]) -> None:
        """A scope has failed: tell those who asked for its failure, once."""
        if block.state[catch] == _WAITING:
            self._move(block, catch, State.SUCCEEDED)
            actions.append(Caught(block, catch, cause))
            for reader in block.consumers_of(catch):
                self._wake(block, reader)

    def _wake(self, block: Block, task: int) -> None:
        """A failure that a task has waited for has come; one that waits for several begins to count with the last."""
        if task not in block.dormant:
            return
        block.pending[task] -= 1
        if any(read in block.failures and block.state[read] == _WAITING for read in block.inputs_of(task)):
            return
        block.dormant.remove(task)
        block.open += 1
        if not block.pending[task] and block.state[task] == _WAITING:
            self._ready(block, task)

    def _end_below(self, stack: list[tuple[Block, int]], actions: list[Action]) -> None:
        """Every node below these unhappy ones ends too, in whatever run, and names where it began."""
        while stack or self._broken or self._fallen:
            if not stack and self._fallen:
                stack.extend(self._end_scope(*self._fallen.pop(), actions))
                continue
            if not stack:
                run, cause = self._broken.pop()
                self._broken.extend((block, cause) for block in _left_behind(run))
                stack.extend((run, entry) for entry in self._cancel_all(run, cause, actions, _for_handlers(run)))
                continue
            block, entry = stack.pop()
            cause = block.causes[entry]
            target = State.CANCELLED if block.state[entry] == _CANCELLED else State.UPSTREAM_FAILED
            if block.skips and block.state[entry] in _DIRECTLY:
                target = State.SKIPPED
            # What has become something else has read its inputs: that one cannot be made again is nothing to it.
            past = block.replaced if target is not State.CANCELLED else ()
            readers = [(block, reader, target) for reader in block.consumers_of(entry) if reader not in past]
            if block.tolerant:
                readers = self._go_on_without(block, entry, readers, actions)
            readers.extend((*watcher, of_reader(*watcher, target)) for watcher in block.watchers.get(entry, ()))
            for where, reader, end in readers:
                if not ENDED[where.state[reader]]:
                    self._end(where, reader, end, cause, actions)
                    stack.append((where, reader))

    def _go_on_without(
        self, block: Block, entry: int, readers: list[tuple[Block, int, State]], actions: list[Action]
    ) -> list[tuple[Block, int, State]]:
        """Return those readers of an unhappy entry that end with it; the others have one input less to wait for."""
        ending = [one for one in readers if block.kind(one[1], entry) != MEMBER]
        if len(ending) < len(readers):
            actions.append(Caught(block, entry, block.causes[entry], member=True))
        for _, reader, _ in readers if block.state[entry] != State.LOST else ():  # what is lost had come before
            if block.kind(reader, entry) == MEMBER and not ENDED[block.state[reader]]:
                block.pending[reader] -= 1
                if not block.pending[reader] and block.state[reader] == _WAITING:
                    self._ready(block, reader)
        return ending

    def _end_scope(self, block: Block, row: int, cause: Cause, actions: list[Action]) -> list[tuple[Block, int]]:
        """A scope that fails as one has failed: nothing more of it is started, but what others want of it."""
        block.strict.discard(row)
        if block.members is None:  # once for all of a block's scopes: each of many may fail
            block.members = _members_of(block)
        members = block.members.pop(row, [])
        left = {entry: None for entry in members if not ENDED[block.state[entry]]}
        for entry in _wanted_outside(block, left, set(members)):
            left.pop(entry, None)
        for entry in left:
            self._end(block, entry, State.CANCELLED, cause, actions)
        return [(block, entry) for entry in left]

    def _cancel_all(self, block: Block, cause: Cause, actions: list[Action], spared: Container[int] = ()) -> list[int]:
        """Start nothing more of a run, but for what is `spared`; what is running is no longer waited for."""
        block.fail_fast = False
        ended = [entry for entry in range(len(block)) if not ENDED[block.state[entry]] and entry not in spared]
        for entry in ended:
            self._end(block, entry, State.CANCELLED, cause, actions)
        return ended

    # -- claims ------------------------------------------------------------------------------------

    def claim(self, block: Block, entries: Iterable[int]) -> None:
        """Somebody more claims these outputs, which are claimed already, until a `Dropped` for each."""
        block.spread()
        for entry in entries:
            block.futures[entry] = block.futures.get(entry, 0) + 1
            block.claims[entry] += 1
            block.delivered.discard(entry)

    def _let_go(self, block: Block, entries: Iterable[int], wholly: bool) -> None:
        """A reader of these has ended; `wholly`: what nobody else wants need not even be made."""
        claims, state, k = block.claims, block.state, block.shape.externals
        for entry in entries:
            claims[entry] -= 1
            if not claims[entry] and (wholly or entry < k or state[entry] == _SUCCEEDED):
                self._orphans.append((block, entry))

    def _unwatch(self, block: Block, external: int) -> None:
        """An external, or a task that was replaced, is no longer needed: withdraw its claim on what it stands for."""
        if external < len(block.bindings):
            bound = block.bindings[external]
        else:
            bound = block.replaced.pop(external, None)
        if bound is None:
            return
        owner, entry = bound
        watchers = owner.watchers.get(entry)
        if watchers is None or (block, external) not in watchers:
            return
        del watchers[block, external]
        if not watchers:
            del owner.watchers[entry]
        owner.claims[entry] -= 1
        if not owner.claims[entry]:
            self._orphans.append((owner, entry))
        self._touched[owner.base] = owner
        if not self._lineage and external < len(block.bindings):
            block.bindings[external] = None  # or a chain of runs would keep its first one alive

    def _sweep(self, actions: list[Action]) -> None:
        """Free, cancel or forget whatever the last event left without a claim."""
        orphans, touched = self._orphans, self._touched
        while orphans or touched:
            if orphans:
                block, entry = orphans.pop()
                if not block.claims[entry]:
                    self._abandon(block, entry, actions)
            else:
                self._forget_if_over(touched.popitem()[1], actions)

    def _abandon(self, block: Block, entry: int, actions: list[Action]) -> None:
        """Nobody claims this entry: free it if it is made, cancel it if it has not started."""
        state = block.state[entry]
        if state == _SUCCEEDED:
            self._move(block, entry, State.RELEASED)
            _freed(actions, block, entry)
        if state in (_SUCCEEDED, _RELEASED):
            self._unwatch(block, entry)
        elif UNSTARTED[state] and entry not in block.callbacks and entry not in block.remade:
            self._move(block, entry, State.CANCELLED)
            block.causes[entry] = (block.base, entry)
            self._touched[block.base] = block
            self._unwatch(block, entry)
            if entry >= block.shape.externals:
                self._close(block, entry)
                self._let_go(block, block.inputs_of(entry), wholly=True)
        elif HANDED_OUT[state]:
            block.unwanted.add(entry)  # should it come back, it is not begun again

    def _forget_if_over(self, block: Block, actions: list[Action]) -> None:
        """Forget a block whose run has ended and of which nobody claims anything."""
        claimed = block.futures or block.given_up or block.watchers or block.bound or block.stands
        if block.open or claimed or block.base not in self.blocks:
            return
        self._forget(block)
        if block.within is not None:
            del block.within.stands[block.base]
            self._touched[block.within.base] = block.within
        owners = {bound[0].base: bound[0] for bound in block.bindings if bound is not None}
        for external in range(len(block.bindings)):
            self._unwatch(block, external)
        if self._lineage:
            for owner in owners.values():
                owner.bound -= 1
            self._touched.update(owners)
        actions.append(Ended(block))


def _scopes_of(block: Block, entry: int) -> Iterator[int]:
    """Yield the rows of the scopes that an entry stands in, the inner ones first; some perhaps twice."""
    for row in (block.shape.scope[entry], *block.given.get(entry, ())):
        while row >= 0:
            yield row
            row = block.shape.scopes[row].parent


def _members_of(block: Block) -> dict[int, list[int]]:
    """Return who stands in those scopes that fail as one."""
    members: dict[int, list[int]] = {}
    for entry in range(block.shape.externals, len(block)):
        for row in {row for row in _scopes_of(block, entry) if block.shape.scopes[row].fail_fast}:
            members.setdefault(row, []).append(entry)
    return members


def _failing_with(block: Block, entry: int) -> Iterator[int]:
    """Yield those of an entry's scopes that its failure is one of: out to the first that goes on without it."""
    for row in (block.shape.scope[entry], *block.given.get(entry, ())):
        while row >= 0:
            yield row
            scope = block.shape.scopes[row]
            row = scope.parent if not scope.contained else -1


def of_reader(block: Block, reader: int, target: State) -> State:
    """A task that was replaced has become what stands for it: it fails as that does, not because of that."""
    return State.FAILED if reader in block.replaced and target is State.UPSTREAM_FAILED else target


def _wanted_outside(block: Block, left: Iterable[int], members: set[int]) -> set[int]:
    """Return which entries of a scope are read by what is not of it, here or in other runs, and what those read.

    Who gathers members, and goes on without those that are missing, does not count: the scope's own is one of these.
    """
    state = block.state

    def wants(reader: int, entry: int) -> bool:
        goes_on = block.tolerant and block.kind(reader, entry) == MEMBER
        return reader not in members and not ENDED[state[reader]] and not goes_on

    stack = [
        entry
        for entry in left
        if entry in block.watchers or any(wants(reader, entry) for reader in block.consumers_of(entry))
    ]
    wanted: set[int] = set()
    while stack:
        entry = stack.pop()
        if entry not in wanted:
            wanted.add(entry)
            stack.extend(read for read in block.inputs_of(entry) if not ENDED[state[read]])
    return wanted


def _for_handlers(block: Block) -> set[int]:
    """Who asked for a failure is told of it, and has what it needs for that, although its run has failed."""
    spared = {*block.failures, *block.dormant}
    stack = [task for task in block.handling if not ENDED[block.state[task]]]
    while stack:
        task = stack.pop()
        if task not in spared:
            spared.add(task)
            stack.extend(read for read in block.inputs_of(task) if not ENDED[block.state[read]])
    return spared


def _left_behind(run: Block) -> list[Block]:
    """What has stood for a task that has ended by now: its callbacks, and what a failure has left."""
    standing = {owner.base for block in (run, *run.stands.values()) for owner, _ in block.replaced.values()}
    return [block for block in run.stands.values() if block.base not in standing]


# One action for neighbours of one kind: whoever acts on them does so in lists.


def _settled(actions: list[Action], block: Block, entry: int, state: State) -> None:
    last = actions[-1] if actions else None
    if isinstance(last, Settled) and last.block is block and last.state is state:
        last.tasks.append(entry)
    else:
        actions.append(Settled(block, [entry], state))


def _freed(actions: list[Action], block: Block, entry: int) -> None:
    last = actions[-1] if actions else None
    if isinstance(last, Freed) and last.block is block:
        last.tasks.append(entry)
    else:
        actions.append(Freed(block, [entry]))


def _recall(actions: list[Action], block: Block, entry: int) -> None:
    last = actions[-1] if actions else None
    if isinstance(last, Recall) and last.block is block:
        last.tasks.append(entry)
    else:
        actions.append(Recall(block, [entry]))
