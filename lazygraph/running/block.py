"""One admitted plan in the arena: its shape and, for each entry, what the mind knows of it.

Numbers are virtual: entry i of a block is number base + i, and bases only grow.  So a number is never used twice (a
late answer finds nothing), and a block is freed whole by forgetting it.  Per entry: one byte of state, two list slots.
"""

from __future__ import annotations

from operator import sub
from typing import TYPE_CHECKING, Any

from lazygraph.running.policy import policy_of
from lazygraph.running.row import Row, can_be_a_row
from lazygraph.values.graph import MEMBER, consumers_of
from lazygraph.values.status import State

if TYPE_CHECKING:
    from array import array

    from lazygraph.running.limits import Line
    from lazygraph.running.policy import Policy
    from lazygraph.values.graph import Shape


class Block:
    """The state of one run.  Only the Frontier changes it."""

    __slots__ = (
        "apart",
        "attempts",
        "base",
        "bindings",
        "bound",
        "bounds",
        "callbacks",
        "catches",
        "causes",
        "claims",
        "consumers",
        "deaths",
        "delivered",
        "depth",
        "dormant",
        "end",
        "ends",
        "fail_fast",
        "failures",
        "felt",
        "first",
        "futures",
        "given",
        "given_up",
        "handling",
        "inputs",
        "members",
        "open",
        "parked",
        "pending",
        "plain",
        "policies",
        "remade",
        "replaced",
        "retries",
        "root",
        "roots",
        "row",
        "shape",
        "skips",
        "special",
        "stands",
        "starts",
        "state",
        "strict",
        "sunk",
        "tolerant",
        "unwanted",
        "wakes",
        "watchers",
        "withdrawn",
        "within",
    )

    # Not there while the block is a row: whoever asks for them spreads it.
    state: bytearray
    starts: array[int]
    consumers: array[int]
    pending: list[int]  # inputs without a value yet
    claims: list[int]  # unfinished consumers and futures

    def __init__(
        self, base: int, shape: Shape, fail_fast: bool, task_of: Block | None = None, lane: list[int] | None = None
    ) -> None:
        """Take a plan in; with a `lane`, as a row if it can be one (running.row)."""
        n = len(shape)
        self.base, self.shape, self.fail_fast = base, shape, fail_fast
        self.end = base + n  # the first number that is not its own
        self.first = base  # what stands for its entry 0 in a lane
        self.bounds, self.inputs = shape.input_offsets, shape.inputs
        self.futures: dict[int, int] = {}  # output -> futures that claim it
        for output in () if task_of else shape.outputs:
            self.futures[output] = self.futures.get(output, 0) + 1
        self.row = Row(shape, self.futures, lane) if lane is not None and not task_of and can_be_a_row(shape) else None
        if self.row is None:
            self.state = bytearray(n)  # State.WAITING is 0
            self.starts, self.consumers = consumers_of(shape)
            self.pending = list(map(sub, self.bounds[1:], self.bounds))
            self.claims = list(map(sub, self.starts[1:], self.starts))
            for output, times in self.futures.items():
                self.claims[output] += times
        self.root, self.roots = -1, list[int]()  # which root is in a lane, and those after it, the next one last
        self.tolerant = MEMBER in shape.kinds  # whether somebody goes on without values
        self.skips = False  # whether what reads a failed node is said to be skipped
        self.strict = {row for row, scope in enumerate(shape.scopes) if scope.fail_fast}  # scopes that fail as one
        self.callbacks = frozenset(shape.callbacks)
        self.given_up: dict[int, int] = {}  # cancelled outputs that others want -> futures that still name them
        self.delivered: set[int] = set()  # outputs whose value their owner has
        self.open = n - shape.externals  # tasks that have not ended
        self.plain = [row.plain for row in shape.options]
        self.special = not all(self.plain)
        rows = zip(shape.options, self.plain, strict=True)
        self.policies = [None if plain else policy_of(row) for row, plain in rows]
        self.retries: dict[int, int] = {}  # tasks that were tried again because they failed -> how often
        self.wakes: dict[int, float] = {}  # scheduled and retrying tasks that a timer wakes -> when
        self.parked: dict[int, Line] = {}  # scheduled tasks that wait for a permit -> in which line
        self.attempts: dict[int, int] = {}  # only of tasks past their first
        self.deaths: dict[int, int] = {}  # runners that died while running a task
        self.apart: set[int] = set()  # tasks that a dead runner had, and that share no lease any more
        self.causes: dict[int, tuple[int, int]] = {}  # unhappy entry -> (base, entry) where it began
        self.bindings: list[tuple[Block, int] | None] = []  # external -> whose value it is (None: let go of)
        self.watchers: dict[int, dict[tuple[Block, int], None]] = {}  # entry -> externals elsewhere that stand for it
        self.bound = 0  # other blocks that may yet want something of this one made again
        self.remade: set[int] = set()  # entries that are, or were, computed again
        self.withdrawn: set[int] = set()  # tasks that were cancelled when handed out: they are not tried again
        self.unwanted: set[int] = set()  # tasks that lost their last claim when they had been handed out
        self.depth: int = task_of.depth + 1 if task_of else 0  # how many replacements deep: nobody has futures of such
        # The run, of what stands for a task in it.
        self.within: Block | None = (task_of.within or task_of) if task_of else None
        self.stands: dict[int, Block] = {}  # of a run: whatever stands for tasks in it and is not over, by base
        self.replaced: dict[int, tuple[Block, int]] = {}  # task -> whose value is to be its own
        self.catches = {row: scope.catch for row, scope in enumerate(shape.scopes) if scope.catch >= 0}
        self.failures = frozenset(self.catches.values())
        self.given: dict[int, list[int]] = {}  # entry -> rows of further scopes that it stands in
        self.ends: dict[int, list[int]] = {}  # entry -> rows of scopes that have failed when it has no value
        self.sunk: set[int] = set()  # rows of scopes of which an end has no value
        self.felt: dict[int, tuple[int, int]] = {}  # rows of scopes in which a node has failed -> the first that has
        for row, scope in enumerate(shape.scopes):
            for entry in scope.given:
                self.given.setdefault(entry, []).append(row)
            for entry in scope.ends:
                self.ends.setdefault(entry, []).append(row)
        self.members: dict[int, list[int]] | None = None  # rows of scopes -> who stands in them; made when one fails
        # What waits for the failure of a scope: it is not open until that has come, and lets nobody wait for it.
        self.dormant = {e for catch in self.failures for e in self.consumers_of(catch)}
        self.handling = frozenset(self.dormant)
        self.open -= len(self.dormant)

    def __repr__(self) -> str:
        return f"<Block {self.base}: {len(self)} entries, {self.open} open>"

    def __len__(self) -> int:
        return len(self.shape)

    def __getattr__(self, name: str) -> Any:
        if name not in _COLUMNS or self.row is None:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        self.spread()
        return getattr(self, name)

    def spread(self) -> None:
        """Be no row any more.  To be called before anything of it is changed that its columns are made from."""
        if self.row is not None:
            for column, made in self.row.columns(self.first).items():
                setattr(self, column, made)
            self.row = None  # last: who looks without a lock finds one or the other

    def state_of(self, entry: int) -> State:
        """Return the state of an entry, of a row too.  Needs no lock."""
        row = self.row
        return row.state_of(entry) if row is not None else State(self.state[entry])

    def policy(self, task: int) -> Policy | None:
        """Return what was said of a task besides its call; None when that is nothing."""
        return self.policies[self.shape.option[task]]

    def priority(self, task: int) -> int:
        """Return a task's priority."""
        policy = self.policies[self.shape.option[task]]
        return policy.priority if policy is not None else 0

    def attempt(self, task: int) -> int:
        """Return which attempt a task is at, from 1."""
        return self.attempts.get(task, 1)

    def kind(self, task: int, read: int) -> int:
        """Return how a task reads an entry (values.graph: DATA, ORDER, MEMBER, FAILURE)."""
        kinds, first, end = self.shape.kinds, self.bounds[task], self.bounds[task + 1]
        if kinds.count(MEMBER, first, end) == end - first:  # one that gathers members may read very many
            return MEMBER
        return kinds[first + self.inputs[first:end].index(read)]

    def inputs_of(self, entry: int) -> array[int]:
        """Return what an entry reads."""
        return self.inputs[self.bounds[entry] : self.bounds[entry + 1]]

    def consumers_of(self, entry: int) -> array[int]:
        """Return who reads an entry."""
        return self.consumers[self.starts[entry] : self.starts[entry + 1]]

    def owner(self, entry: int) -> tuple[Block, int]:
        """Return whose value an entry is: its own, or for an external that of the entry it stands for."""
        bound = self.bindings[entry] if self.bindings and entry < self.shape.externals else None
        return bound or (self, entry)

    def states(self) -> list[State]:
        """Return the state of every entry (for people and tests)."""
        return [self.state_of(entry) for entry in range(len(self))]


_COLUMNS = frozenset({"state", "starts", "consumers", "pending", "claims"})
