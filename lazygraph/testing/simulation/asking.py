"""What the tasks of a life ask for besides being called, and what workers offer: drawn at random, small enough to meet.

Covers: option rows, offers of workers, the names and limits that a life uses.
Does not cover: what must hold for them (simulation.ledger), how tasks that ask so may end (simulation.oracle).
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from lazygraph.running.policy import ASKED, policy_of
from lazygraph.testing.simulation.tasks import ASKS, SHAKY, Bad, fails_of
from lazygraph.values.options import DEFAULT, Limit, Rate, RetryPolicy, TaskOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from random import Random

NAMES = ("ada", "bob", "cyd")
"""What workers are called; several may have one name."""
QUEUES = ("default", "io", "rare")
AMOUNTS = {"gpu": 2.0, "mem": 4.0}
"""The most that a worker has."""
WALL_AHEAD = 1_000_000.0
"""What the wall clock of a life shows more than the clock of its scheduler."""


class Offer(NamedTuple):
    """What a worker joins with."""

    name: str = ""
    queues: tuple[str, ...] = ("default",)
    resources: tuple[tuple[str, float], ...] = ()


PLAIN_OFFER = Offer()


def offer(random: Random) -> Offer:
    """Draw what a worker offers."""
    queues = tuple(sorted({random.choice(QUEUES) for _ in range(random.choice((1, 2, 3)))}))
    if random.random() < 0.6:
        queues = tuple(sorted({"default", *queues}))
    amounts = {name: random.choice((1.0, most)) for name, most in AMOUNTS.items() if random.random() < 0.5}
    return Offer(random.choice(NAMES), queues, tuple(sorted(amounts.items())))


SAVIORS = [Offer(name, QUEUES, tuple(sorted(AMOUNTS.items()))) for name in NAMES]
"""Workers that together take everything a life may ask for."""

_LIMITS = (
    Limit("api", "2/s"),
    Limit("api", Rate("4/s", even=True), 2),
    Limit("api", None, 1),
    Limit("api", "3/m", 2),
    Limit("disk", None, 1),
    Limit("disk", "0.5/s"),
)
_RETRIES: tuple[int | RetryPolicy, ...] = (
    1,
    2,
    3,
    RetryPolicy(2, delay=0.5),
    RetryPolicy(3, delay=0.01, backoff=3.0, jitter=1.0),
    RetryPolicy(3, on=(Bad,), delay=2.0, max_delay=3.0),
    RetryPolicy(3, on=(KeyError,)),
    RetryPolicy(3, not_on=(Bad,)),
)


class Asking:
    """Draws the options of one life's tasks; `limits` are the named ones, each name meaning one thing (mostly)."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.often = random.choice((0.0, 0.1, 0.5, 1.0))
        self.clashes = random.random() < 0.1  # whether names of limits may mean two things
        self.limits = [random.choice([one for one in _LIMITS if one.name == name]) for name in ("api", "disk")]
        most = random.choice((1, 2, len(_WAYS)))
        self.ways = random.sample(list(_WAYS), most)

    def row(self) -> TaskOptions:
        """Draw what one task asks for."""
        random = self.random
        if random.random() >= self.often:
            return DEFAULT
        given: dict[str, Any] = {}
        for way in random.sample(self.ways, random.randint(1, min(3, len(self.ways)))):
            given.update(_WAYS[way](self))
        if given.get("at_most_once"):
            given.pop("retries", None)
        return replace(DEFAULT, **given)

    def _limit(self) -> dict[str, Any]:
        clash = self.clashes and self.random.random() < 0.05
        return {"limit": self.random.choice(_LIMITS if clash else self.limits)}

    def _own_limit(self) -> dict[str, Any]:
        name = self.random.choice("fg")
        spelled: Any = {"f": ("2/s", "5/m"), "g": "0.5/s"}[name]
        most = {"f": None, "g": 1}[name]
        return {"rate_limit": spelled, "concurrency": most, "limited_as": name}

    def _expires(self) -> dict[str, Any]:
        if self.random.random() < 0.2:
            when = datetime.fromtimestamp(WALL_AHEAD + self.random.choice((0.05, 5.0)), UTC)
            return {"expires": when}
        return {"expires": self.random.choice((0.01, 0.1, 1.0, 60.0))}

    def _later(self) -> dict[str, Any]:
        if self.random.random() < 0.2:
            return {"eta": datetime.fromtimestamp(WALL_AHEAD + self.random.choice((0.05, 5.0)), UTC)}
        return {"countdown": self.random.choice((0.001, 0.05, 2.0))}

    def _resources(self) -> dict[str, Any]:
        wanted = self.random.choice(({"gpu": 1.0}, {"gpu": 2.0}, {"mem": 1.5}, {"gpu": 0.5, "mem": 4.0}))
        return {"resources": tuple(sorted(wanted.items()))}

    def _workers(self) -> dict[str, Any]:
        return {"workers": tuple(self.random.sample(NAMES, self.random.choice((1, 2))))}


_WAYS: Mapping[str, Callable[[Asking], dict[str, Any]]] = {
    "retries": lambda asking: {"retries": asking.random.choice(_RETRIES)},
    "priority": lambda asking: {"priority": asking.random.choice((-1, 1, 5))},
    "limit": Asking._limit,
    "own limit": Asking._own_limit,
    "expires": Asking._expires,
    "later": Asking._later,
    "queue": lambda asking: {"queue": asking.random.choice(QUEUES)},
    "resources": Asking._resources,
    "workers": Asking._workers,
    "once": lambda asking: {"at_most_once": True},
}


def refusable(rows: Iterable[TaskOptions], others: Iterable[TaskOptions]) -> bool:
    """Whether a limit of one of these may be said to be another one than its name stands for elsewhere."""
    named = {row.limit for row in others if row.limit is not None}
    clashing = {one.name for one in named if any(one.name == other.name and one != other for other in named)}
    return any(row.limit is not None and row.limit.name in clashing for row in rows)


def expires(row: TaskOptions) -> bool:
    """Whether a task that asks so may be too late."""
    return row.expires is not None


def retries_of(row: TaskOptions, asked: bool) -> int:
    """Return how often a task that raises `Bad` is tried again, when nothing else happens to it."""
    retries = policy_of(row).retries
    if asked:
        return retries.max_retries or ASKED.max_retries
    meant = issubclass(Bad, retries.on) and not issubclass(Bad, retries.not_on)
    return retries.max_retries if meant else 0


def gets_there(kind: str, number: int, row: TaskOptions) -> bool:
    """Whether a task that fails a few times first is tried often enough."""
    return kind not in (SHAKY, ASKS) or retries_of(row, kind == ASKS) >= fails_of(number)
