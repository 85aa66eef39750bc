"""When what could run may run: delays, retries, expiry, permits of limits.

Time comes in: every door of the mind brings `now`, in seconds of any clock that only grows, and nothing here waits.
`next_time` says when something is due; whoever owns the mind then calls `tick`.

Covers: SCHEDULED and RETRYING, timers, who waits for a permit.
Does not cover: counting permits (running.limits), what options mean (running.policy), what runs (running.frontier).
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import TYPE_CHECKING, NamedTuple

from lazygraph.errors import InvalidOption
from lazygraph.running.arena import NUMBER, entry_of
from lazygraph.running.arrivals import Arrivals
from lazygraph.running.endings import UNSTARTED
from lazygraph.running.events import Action, Failed, Retried
from lazygraph.running.limits import NEVER, Limit, Line
from lazygraph.running.policy import ASKED, delay_of, policy_of
from lazygraph.values.status import State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from lazygraph.running.block import Block
    from lazygraph.running.policy import LimitOf, Policy, Where
    from lazygraph.values.graph import Shape

_SCHEDULED, _RETRYING, _QUEUED = int(State.SCHEDULED), int(State.RETRYING), int(State.QUEUED)

FEW_LIMITS = 64
"""So many limits are kept even if nobody uses them any more."""

Attempt = tuple[int, int, int]
"""A block's base, a task, which attempt at it."""


class _Grant(NamedTuple):
    """The permits of one attempt.

    `lent`: it waits for other work, and is not counted among what runs; `returning`: it would go on.
    """

    limits: tuple[Limit, ...]
    started: bool
    lent: bool = False
    returning: bool = False


class _Expiry(NamedTuple):
    """Tasks of one option row of a block that are not to start after `when`."""

    when: float
    tasks: list[int]


class Timing(Arrivals):
    """An arena that knows time.  `seed` is what jitter is made of."""

    def __init__(
        self,
        place: Callable[[Block, int], int] | None = None,
        lineage: bool = True,
        seed: int = 0,
        rows: int = 0,
    ) -> None:
        super().__init__(place, lineage, rows)
        self.now = 0.0
        self.wall_ahead = 0.0  # what the wall clock shows more than `now`: for times that people give as dates
        self.prioritized = False  # whether anything was ever more urgent than anything else
        self._seed = seed
        self._timers: list[tuple[float, int, int, int]] = []  # when, in what order set, block, task or ~option row
        self._expiries: dict[tuple[int, int], _Expiry] = {}  # block, option row
        self._due_lines: list[tuple[float, int, Line]] = []
        self._set = 0
        self._limits: dict[tuple[str, ...], tuple[LimitOf, Limit]] = {}
        self._many_limits = FEW_LIMITS  # when to forget those that nobody uses
        self._lines: dict[tuple[tuple[Limit, ...], Where | None], Line] = {}
        self._grants: dict[Attempt, _Grant] = {}
        self._called: dict[int, Line] = {}  # tasks, by number, that were let in and have not been handed out yet
        self._woken: list[Limit] = []  # limits with a permit that somebody may wait for
        # Whoever keeps a journal hears here of attempts with permits: that they have begun (None), or are over, and
        # whether they had run.
        self.heard: list[tuple[Attempt, bool | None]] | None = None

    # -- time --------------------------------------------------------------------------------------

    def _at(self, now: float) -> None:
        """Take notice of the time; it never runs backwards."""
        if now > self.now:
            self.now = now

    def next_time(self) -> float | None:
        """Return when `tick` is next worth calling, None when nothing waits for time."""
        if self._woken:
            return self.now
        while self._timers and self._stale(*self._timers[0]):
            heappop(self._timers)
        heads = [heap[0][0] for heap in (self._timers, self._due_lines) if heap]
        return min(heads, default=None)

    def tick(self, now: float) -> list[Action]:
        """Do what is due; return what follows."""
        self._at(now)
        actions: list[Action] = []
        self._sweep(actions)
        return actions

    def _sweep(self, actions: list[Action]) -> None:
        """What is due is done at every door, before what the event has left is seen to."""
        timers, dues = self._timers, self._due_lines
        while timers and timers[0][0] <= self.now:
            when, _, base, what = heappop(timers)
            block = self.blocks.get(base)
            if block is not None and what < 0:
                self._expire(block, self._expiries[base, ~what].tasks, actions)
            elif block is not None:
                self._wake_up(block, what, when)
        super()._sweep(actions)
        while dues and dues[0][0] <= self.now:
            _, _, line = heappop(dues)
            line.due = NEVER
            self._woken.append(line.limits[0])
        if self._woken:
            self._let_in()

    def _timer(self, when: float, block: Block, what: int) -> None:
        self._set += 1
        heappush(self._timers, (when, self._set, block.base, what))

    def _stale(self, when: float, order: int, base: int, what: int) -> bool:
        """Whether a timer is nobody's any more."""
        block = self.blocks.get(base)
        return block is None or (what >= 0 and (block.wakes.get(what) != when or not UNSTARTED[block.state[what]]))

    def why(self, block: Block, entry: int, now: float) -> str:
        """Say what an entry that has not ended waits for."""
        self._at(now)
        state = State(block.state[entry])
        left = max(0.0, block.wakes.get(entry, 0.0) - self.now)
        limit = block.parked.get(entry)
        if state is State.WAITING:
            if entry in block.replaced:
                return "waits for what stands for it now"
            return f"waits for {block.pending[entry]} of its {len(block.inputs_of(entry))} inputs"
        if state is State.SCHEDULED and limit is not None:
            said = [_said(of) for of, one in self._limits.values() if one in limit.limits]
            return f"waits for a permit: {', '.join(said)}"
        if state is State.SCHEDULED:
            return f"begins in {left:.3g} s"
        if state is State.RETRYING:
            return f"attempt {block.attempt(entry)} begins in {left:.3g} s"
        if state is State.QUEUED:
            return "waits for a free slot"
        return "is with a runner" if state is State.LEASED else str(state.status)

    # -- before a task is queued ---------------------------------------------------------------------

    def _ready(self, block: Block, task: int) -> None:
        policy = block.policy(task) if block.special else None
        if policy is not None and (policy.countdown or policy.eta is not None):
            when = self.now + policy.countdown
            if policy.eta is not None:
                when = max(when, policy.eta - self.wall_ahead)
            if when > self.now:
                self._move(block, task, State.SCHEDULED)
                block.wakes[task] = when
                block.parked.pop(task, None)  # should it have stood in a line before an input was lost
                self._timer(when, block, task)
                return
        self._queue(block, task)

    def _wake_up(self, block: Block, task: int, when: float) -> None:
        if block.wakes.get(task) != when:
            return  # it was set anew, or is not scheduled any more
        del block.wakes[task]
        if block.state[task] == _SCHEDULED:
            self._queue(block, task)
        elif block.state[task] == _RETRYING:
            self._requeue(block, task)

    # -- expiry ------------------------------------------------------------------------------------

    def _watch_expiry(self, block: Block) -> None:
        """Set the timers of a new block's option rows that expire."""
        expiring: dict[int, list[int]] = {}
        for row, policy in enumerate(block.policies):
            if policy is None or (policy.expires is None and policy.expires_at is None):
                continue
            at = policy.expires_at
            when = self.now + policy.expires if at is None else at - self.wall_ahead  # type: ignore[operator]
            expiring[row] = []
            self._expiries[block.base, row] = _Expiry(when, expiring[row])
            self._timer(when, block, ~row)
        if expiring:
            option = block.shape.option
            for task in range(block.shape.externals, len(block)):
                if option[task] in expiring:
                    expiring[option[task]].append(task)

    def _expire(self, block: Block, tasks: Iterable[int], actions: list[Action]) -> None:
        """What has not started by now is not to start any more; a value that was lost may be made again."""
        state, ended = block.state, []
        for at in tasks:
            if UNSTARTED[state[at]] and at not in block.replaced and at not in block.remade:
                self._end(block, at, State.EXPIRED, (block.base, at), actions)
                ended.append((block, at))
        self._end_below(ended, actions)

    def _is_late(self, block: Block, task: int) -> bool:
        expiry = self._expiries.get((block.base, block.shape.option[task])) if self._expiries else None
        return expiry is not None and expiry.when <= self.now

    def _again(self, block: Block, task: int, actions: list[Action]) -> None:
        super()._again(block, task, actions)
        if self._is_late(block, task):
            self._expire(block, (task,), actions)

    def _forget(self, block: Block) -> None:
        super()._forget(block)
        if self._expiries:
            for row in range(len(block.policies)):
                self._expiries.pop((block.base, row), None)

    # -- retries -----------------------------------------------------------------------------------

    def _tried_again(self, block: Block, task: int, event: Failed, actions: list[Action]) -> bool:
        """Schedule another attempt at a task that has failed, when it has one left; return whether it has."""
        if not event.retry or self._is_late(block, task):
            return False
        policy = block.policy(task)
        retries = policy.retries if policy is not None else ASKED
        if event.asked and not retries.max_retries:
            retries = ASKED
        before = block.retries.get(task, 0)
        if before >= (retries.max_retries if event.max_retries is None else event.max_retries):
            return False
        seed = hash((self._seed, block.base + task, before))
        delay = event.countdown if event.countdown is not None else delay_of(retries, before, seed)
        block.retries[task] = before + 1
        block.attempts[task] = event.attempt + 1
        actions.append(Retried(block, task, event.attempt, delay))
        self._move(block, task, State.RETRYING)
        block.wakes[task] = self.now + delay
        self._timer(self.now + delay, block, task)
        if task in block.unwanted:
            self._orphans.append((block, task))
        return True

    # -- limits ------------------------------------------------------------------------------------

    def _check_limits(self, shape: Shape) -> None:
        """Make the limits that a new plan names.  Raises `InvalidOption` when one is named otherwise elsewhere."""
        named: dict[tuple[str, ...], LimitOf] = {}
        for row in shape.options:
            for of in policy_of(row).limits if not row.plain else ():
                known = self._limits.get(of.key)
                others = [named.setdefault(of.key, of)]
                if known is not None and known[0] != of and self._in_use(*known):
                    others.append(known[0])
                for other in others:
                    if other != of:
                        raise InvalidOption(
                            f"Limit({of.key[1]!r}) is {_said(of)} here, and {_said(other)} for another task; "
                            "one name is one limit"
                        )
        if len(self._limits) + sum(key not in self._limits for key in named) > self._many_limits:
            self._forget_limits()
        for key, of in named.items():
            if key not in self._limits or self._limits[key][0] != of:
                self._limits[key] = of, Limit(of)

    def _in_use(self, of: LimitOf, limit: Limit) -> bool:
        """Whether anybody has, or may yet want, a permit."""
        blocks = (block for block in self.blocks.values() if block.special and block.open)
        return not limit.idle(self.now) or any(
            policy is not None and of in policy.limits for block in blocks for policy in block.policies
        )

    def _forget_limits(self) -> None:
        """Forget limits that count nothing and that nobody here names; next when there are twice as many as are left.

        There may be one for every function that was ever made in another.
        """
        policies = (policy for block in self.blocks.values() if block.special for policy in block.policies)
        named = {of.key for policy in policies if policy is not None for of in policy.limits}
        kept = {key: one for key, one in self._limits.items() if key in named or not one[1].idle(self.now)}
        limits = {limit for _, limit in kept.values()}
        self._limits = kept
        self._lines = {of: line for of, line in self._lines.items() if limits.issuperset(of[0])}
        for limit in limits:
            limit.lines = [line for line in limit.lines if limits.issuperset(line.limits)]
        self._many_limits = max(FEW_LIMITS, 2 * len(kept))

    def _limits_of(self, policy: Policy) -> tuple[Limit, ...]:
        return tuple([self._limits[of.key][1] for of in policy.limits])

    def _may_go(self, block: Block, number: int) -> bool:
        if not block.special:
            return True
        task = number - block.base
        policy = block.policy(task)
        if policy is None or not policy.limits:
            return True
        limits = self._limits_of(policy)
        if all(limit.free(self.now) > 0 for limit in limits):
            return True
        self._move(block, task, State.SCHEDULED)
        block.parked[task] = line = self._line_of(limits, policy.where)
        heappush(line.waiting, entry_of(block, task))
        self._set_due(line)
        return False

    def _line_of(self, limits: tuple[Limit, ...], where: Where | None) -> Line:
        line = self._lines.get((limits, where))
        if line is None:
            line = self._lines[limits, where] = Line(limits)
            for limit in limits:
                limit.lines.append(line)
        return line

    def _move(self, block: Block, entry: int, target: State) -> None:
        super()._move(block, entry, target)
        if self._called:
            line = self._called.pop(block.base + entry, None)
            if line is not None:  # it does not come, although there is a permit for it
                line.call(-1)
                self._woken += line.limits

    def _permit(self, block: Block, task: int) -> None:
        """A task that may go is handed out: give it its permits."""
        policy = block.policy(task)
        if policy is None or not policy.limits:
            return
        line = self._called.pop(block.base + task, None)
        if line is not None:
            line.call(-1)
        limits = self._limits_of(policy)
        for limit in limits:
            limit.take()
        self._grants[block.base, task, block.attempt(task)] = _Grant(limits, False)

    def has_begun(self, base: int, task: int, attempt: int, now: float = 0.0) -> None:
        """A report says that an attempt has begun: from now on its permits count for one window."""
        self._at(now)
        grant = self._grants.get((base, task, attempt))
        if grant is not None and not grant.started:
            self._grants[base, task, attempt] = grant._replace(started=True)
            if self.heard is not None:
                self.heard.append(((base, task, attempt), None))
            for limit in grant.limits:
                limit.started(self.now)
            for limit in grant.limits:
                for line in limit.lines:
                    self._set_due(line)

    def has_left(self, base: int, tasks: Iterable[int], attempt: int, now: float = 0.0, ran: bool = True) -> None:
        """Attempts are over, whatever became of them: their permits are free, or (not `ran`) were never used.

        One whose start was not reported may have started at any time until now; one whose start was has run.
        """
        if not self._grants:
            return
        self._at(now)
        for task in tasks:
            if ran:
                self.has_begun(base, task, attempt)
            grant = self._grants.pop((base, task, attempt), None)
            if grant is not None and self.heard is not None:
                self.heard.append(((base, task, attempt), ran))
            for limit in grant.limits if grant is not None else ():
                if grant is not None and grant.lent:
                    limit.returning -= grant.returning
                elif grant is not None and grant.started:
                    limit.ended()
                else:
                    limit.given_back()
                self._woken.append(limit)
        self._let_in()

    def granted(self, attempt: Attempt, limits: Iterable[LimitOf]) -> None:
        """An attempt was given permits of these limits by a mind that this one goes on for."""
        held = []
        for of in limits:
            known = self._limits.get(of.key)
            if known is None or known[0] != of:
                known = self._limits[of.key] = of, Limit(of)
            known[1].take()
            held.append(known[1])
        self._grants[attempt] = _Grant(tuple(held), False)

    def has_permit(self, attempt: Attempt) -> bool:
        """Whether an attempt has permits."""
        return attempt in self._grants

    def permitted(self) -> list[Attempt]:
        """Return the attempts that have permits."""
        return list(self._grants)

    def waits(self, base: int, task: int, attempt: int, now: float = 0.0) -> None:
        """An attempt that runs waits for other work: under its limits somebody else may have its place meanwhile."""
        self._at(now)
        grant = self._grants.get((base, task, attempt))
        if grant is None or grant.lent or not grant.started:
            return
        self._grants[base, task, attempt] = grant._replace(lent=True)
        for limit in grant.limits:
            limit.ended()
            self._woken.append(limit)
        self._let_in()

    def goes_on(self, base: int, task: int, attempt: int) -> bool:
        """An attempt has waited long enough; False while there is no place for it under each of its limits."""
        grant = self._grants.get((base, task, attempt))
        if grant is None or not grant.lent:
            return True
        free = all(limit.may_go_on() for limit in grant.limits)
        self._grants[base, task, attempt] = grant._replace(lent=not free, returning=not free)
        for limit in grant.limits:
            limit.returning += (not free) - grant.returning
            limit.running += free
        return free

    def _let_in(self) -> None:
        """Queue those who wait for permits that are free now, the first of each line before its next."""
        while self._woken:
            limit = self._woken.pop()
            while moving := [line for line in limit.lines if line.moves(self.now)]:
                self._call(min(moving, key=_first))
            for line in limit.lines:
                self._set_due(line)

    def _call(self, line: Line) -> None:
        """Let the first of a line in, if it still stands there."""
        number = heappop(line.waiting) & NUMBER
        block = self._block_of(number)
        task = number - block.base if block is not None else 0
        if block is not None and block.parked.get(task) is line:
            del block.parked[task]
            if block.state[task] == _SCHEDULED:
                self._queue(block, task)
                self._called[number] = line
                line.call(1)

    def _set_due(self, line: Line) -> None:
        if not line.waiting:
            return
        when = line.moves_at(self.now)
        if when < line.due:
            line.due = when
            self._set += 1
            heappush(self._due_lines, (when, self._set, line))


def _first(line: Line) -> int:
    return line.waiting[0]


def _said(of: LimitOf) -> str:
    rates = [f"{window.starts} in {window.seconds:g} s" for window in of.windows]
    return " and ".join(rates + ([f"{of.most} at once"] if of.most is not None else []))
