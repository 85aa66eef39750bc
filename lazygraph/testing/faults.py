"""What is to go wrong in a test: exceptions, workers that die, tasks that take long.

Covers: what was asked for, and whether it has happened.
Does not cover: making it happen (testing.watching, testing.sim).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from lazygraph.errors import InvalidOption, LazyGraphError


class InjectedFault(LazyGraphError, RuntimeError):
    """What a task raises when a test has it fail and names no exception of its own."""

    def __init__(self, name: str, attempt: int) -> None:
        super().__init__(f"attempt {attempt} of {name!r} was to fail: this test asked for it")


class WorkerKilled(BaseException):
    """Stands, between watching and its engine, for the death of the worker.  Never seen by users."""


@dataclass(slots=True, eq=False)
class Fault:
    """One thing that is to go wrong: at each of `attempts` of every call of `name`."""

    name: str
    attempts: tuple[int, ...]
    exception: BaseException | type[BaseException] | None
    kills: bool = False
    happened: set[int] = field(default_factory=set)

    def __repr__(self) -> str:
        which = " and ".join(map(str, self.attempts))
        return f"{'kill the worker at' if self.kills else 'fail'} attempt {which} of {self.name!r}"

    @property
    def left(self) -> tuple[int, ...]:
        """The attempts of which none has gone wrong yet."""
        return tuple(attempt for attempt in self.attempts if attempt not in self.happened)

    def raise_(self, attempt: int) -> None:
        """Make it happen."""
        self.happened.add(attempt)
        if self.kills:
            raise WorkerKilled
        raise InjectedFault(self.name, attempt) if self.exception is None else self.exception


class Faults:
    """All that is to go wrong in one test."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._seconds: dict[str, float] = {}

    def fail(
        self, name: str, attempt: int | tuple[int, ...], exception: BaseException | type[BaseException] | None
    ) -> None:
        """Have these attempts of every call of `name` raise instead of being made."""
        self._add(Fault(name, _attempts(attempt), exception))

    def kill_worker(self, name: str, attempt: int | tuple[int, ...]) -> None:
        """Have the worker die that is about to make these attempts."""
        self._add(Fault(name, _attempts(attempt), None, kills=True))

    def lasts(self, name: str, seconds: float) -> None:
        """Have every call of `name` take so many seconds of a virtual clock."""
        if seconds < 0:
            raise InvalidOption(f"lasts({name!r}, {seconds!r}): it cannot be negative")
        self._seconds[name] = seconds

    def seconds_of(self, name: str) -> float:
        """Return how long a call of `name` takes: 0.0 unless somebody has said."""
        return self._seconds.get(name, 0.0)

    def _add(self, fault: Fault) -> None:
        self._faults.append(fault)

    def strike(self, name: str, attempt: int) -> None:
        """Raise what is to go wrong with this attempt, if anything."""
        for fault in self._faults:
            if fault.name == name and attempt in fault.attempts:
                fault.raise_(attempt)

    def strikes(self, name: str, attempt: int) -> bool:
        """Whether something is to go wrong with this attempt."""
        return any(fault.name == name and attempt in fault.attempts for fault in self._faults)

    @property
    def missed(self) -> list[Fault]:
        """What was to go wrong and has not, each with the attempts that have not been made."""
        return [replace(fault, attempts=fault.left) for fault in self._faults if fault.left]


def _attempts(attempt: int | tuple[int, ...]) -> tuple[int, ...]:
    attempts = attempt if isinstance(attempt, tuple) else (attempt,)
    if not attempts or any(one < 1 for one in attempts):
        raise InvalidOption(f"attempt={attempt!r}: attempts count from 1")
    return attempts
