"""What workers really do, written down when they do it, and held against what was asked.

The scheduler hears of a start and of an end later, in any order between workers; here they stand with their own times.
So what must hold is said once more, of what has happened and not of what the mind believes:

1. Limits.  No window of a rate holds more starts than its number, and no more attempts run at once than a limit says,
   over all workers, also when some of them die.
2. Places.  A task is handed only to a worker that, at that moment, takes its queue and has a name it may run under;
   what runs on a worker at once never needs more of a resource than the worker has.
3. Times.  Nothing is handed out before its countdown or eta, before the delay of its retry, or after it has expired
   (what is made again because it was lost is not late).
4. Numbers.  `at_most_once` means one start; any other task starts once, once for each retry, and as often again as
   dying workers make necessary.

Covers: the four rules.  Does not cover: how tasks end (simulation.oracle).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from lazygraph.running.policy import ASKED, LimitOf, policy_of
from lazygraph.testing.simulation.asking import WALL_AHEAD

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lazygraph.running.block import Block
    from lazygraph.values.options import TaskOptions

_A_LITTLE = 1e-6
"""Clocks of floats: half a microsecond is no time."""

Attempt = tuple[int, int, int]
"""Block, task, attempt."""


class Wrong(AssertionError):
    """Something that must hold did not."""


class Place(NamedTuple):
    """What a worker is, as far as it was told: its queues may change."""

    name: str
    queues: set[str]
    resources: dict[str, float]


class Ledger:
    """Starts and ends; raises `Wrong` for the first that must not be."""

    def __init__(self) -> None:
        self.places: dict[int, Place] = {}
        self.began: Counter[tuple[int, int]] = Counter()
        self.rows: dict[tuple[int, int], TaskOptions] = {}
        self._admitted: dict[int, float] = {}
        self._not_before: dict[tuple[int, int], float] = {}
        # By what a limit is, not by its name: one that nobody uses any more may be something else under the same name.
        self._starts: defaultdict[LimitOf, list[float]] = defaultdict(list)
        self._running: dict[tuple[int, Attempt], TaskOptions] = {}
        self._uncounted: set[int] = set()  # workers that were silent: what they begin late may break a limit

    # -- workers and plans ---------------------------------------------------------------------------

    def joined(self, peer: int, name: str, queues: Iterable[str], resources: Iterable[tuple[str, float]]) -> None:
        """The scheduler has heard of a worker."""
        self.places[peer] = Place(name, set(queues), dict(resources))

    def queues_set(self, add: Iterable[str], remove: Iterable[str], names: Iterable[str]) -> None:
        """The scheduler has heard that workers (no names: all) are to take other queues."""
        chosen = set(names)
        for place in self.places.values():
            if not chosen or place.name in chosen:
                place.queues.update(add)
                place.queues.difference_update(remove)

    def died(self, peer: int) -> None:
        """A worker is gone, and what it was doing has ended."""
        self.places.pop(peer, None)
        self._running = {key: row for key, row in self._running.items() if key[0] != peer}

    def given_up(self, peer: int) -> None:
        """A worker was silent for so long that what it is doing does not count any more."""
        self._uncounted.add(peer)
        self._running = {key: row for key, row in self._running.items() if key[0] != peer}

    def admitted(self, base: int, now: float) -> None:
        """A plan has come."""
        self._admitted.setdefault(base, now)

    def failed(self, base: int, task: int, row: TaskOptions, asked: bool, countdown: float | None, now: float) -> None:
        """The scheduler has heard that an attempt has failed, and may be made again."""
        retries = policy_of(row).retries
        if asked and not retries.max_retries:
            retries = ASKED
        delay = retries.delay * (1.0 - retries.jitter) if countdown is None else countdown
        self._not_before[base, task] = now + min(delay, retries.max_delay)

    # -- handing out -----------------------------------------------------------------------------------

    def handed_out(self, peer: int, block: Block, task: int, now: float) -> None:
        """A task is on its way to a worker."""
        place, base = self.places[peer], block.base
        row = block.shape.options[block.shape.option[task]]
        what = f"task {task} of block {base}"
        if row.queue not in place.queues:
            raise Wrong(f"{what} of queue {row.queue!r} is handed to worker {peer}, which takes {sorted(place.queues)}")
        if row.workers and place.name not in row.workers:
            raise Wrong(f"{what} for {row.workers} is handed to worker {peer}, which is {place.name!r}")
        early = max(self._earliest(row, base), self._not_before.get((base, task), 0.0))
        if now < early - _A_LITTLE:
            raise Wrong(f"{what} is handed out at {now:.3f}, and not to begin before {early:.3f}")
        late = self._latest(row, base)
        if late is not None and now > late + _A_LITTLE and task not in block.remade:
            raise Wrong(f"{what} is handed out at {now:.3f}, and has expired at {late:.3f}")

    def _earliest(self, row: TaskOptions, base: int) -> float:
        policy = policy_of(row)
        eta = policy.eta - WALL_AHEAD if policy.eta is not None else 0.0
        return max(self._admitted[base] + policy.countdown, eta)

    def _latest(self, row: TaskOptions, base: int) -> float | None:
        if isinstance(row.expires, datetime):
            return row.expires.timestamp() - WALL_AHEAD
        return self._admitted[base] + row.expires if row.expires is not None else None

    # -- what workers do -------------------------------------------------------------------------------

    def begins(self, peer: int, at: Attempt, row: TaskOptions, now: float) -> None:
        """An attempt begins on a worker."""
        self.began[at[:2]] += 1
        self.rows[at[:2]] = row
        if row.at_most_once and self.began[at[:2]] > 1:
            raise Wrong(f"{at} begins again, and is to begin at most once")
        if peer in self._uncounted:
            return
        self._running[peer, at] = row
        for limit in policy_of(row).limits:
            self._starts[limit].append(now)
            self._check_limit(limit, now)
        for name, _ in row.resources:
            used = sum(dict(other.resources).get(name, 0.0) for key, other in self._running.items() if key[0] == peer)
            if used > self.places[peer].resources.get(name, 0.0) + _A_LITTLE:
                raise Wrong(f"{used} of {name!r} is in use on worker {peer}, which has {self.places[peer].resources}")

    def _check_limit(self, limit: LimitOf, now: float) -> None:
        starts = self._starts[limit]
        for window in limit.windows:
            within = [start for start in starts if start > now - window.seconds + _A_LITTLE]
            if len(within) > window.starts:
                raise Wrong(f"{len(within)} starts in {window.seconds} s under {limit}: {within}")
        running = sum(limit in policy_of(row).limits for row in self._running.values())
        if limit.most is not None and running > limit.most:
            raise Wrong(f"{running} run at once under {limit}")

    def ends(self, peer: int, at: Attempt) -> None:
        """An attempt has ended, whatever became of it."""
        if peer not in self._uncounted:
            del self._running[peer, at]

    # -- when all is over ------------------------------------------------------------------------------

    def check_numbers(self, losses: int) -> None:
        """Nothing was begun more often than its retries and so many losses make necessary."""
        for at, count in self.began.items():
            row = self.rows[at]
            most = 1 + losses + max(policy_of(row).retries.max_retries, ASKED.max_retries * row.bind)
            if count > most:
                raise Wrong(f"{at} was begun {count} times, and {most} are enough")
