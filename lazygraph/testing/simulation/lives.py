"""A life: what a seed makes happen to a cluster.  Data only; simulation.check lives it.

Covers: random runs (graphs, scopes, bindings between them, values sent ahead), and the acts of clients and of fate.
Does not cover: what tasks compute (simulation.tasks), the network's own choices (simulation.world draws them).
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any, NamedTuple

from lazygraph.planning.plan import Plan, plan_of
from lazygraph.testing.simulation.asking import NAMES, PLAIN_OFFER, QUEUES, Asking, Offer, offer
from lazygraph.testing.simulation.tasks import ASKS, COLLECT, SHAKY, SKIP, call
from lazygraph.values.node import External, NodeScope
from lazygraph.values.options import DEFAULT, TaskOptions

# -- runs ------------------------------------------------------------------------------------------


class Ref(NamedTuple):
    """A task of a run of this life, or one of the values of a run that holds some."""

    run: int
    at: int


class Task(NamedTuple):
    """A call of one of FUNCTIONS, or with kind "held" a value: `number` itself.  `scope` 0 is the run."""

    kind: str
    number: int
    inputs: tuple[Ref, ...] = ()
    scope: int = 0
    row: TaskOptions = DEFAULT  # what it asks for


class ScopeSpec(NamedTuple):
    """A scope of a run: the one around it, tasks given to it besides its own, and its handlers.

    A handler of kind "answer" or "bad" gets the failure before its inputs; it may stand in a scope further down.
    `fail_fast`: its first failure ends all of it.
    """

    parent: int = 0
    given: tuple[Ref, ...] = ()
    handlers: tuple[Task, ...] = ()
    fail_fast: bool = False


@dataclass(frozen=True)
class RunSpec:
    """One run: whose it is, its tasks (inputs first), and which of them, or of earlier runs' outputs, it asks for.

    `scopes` are numbered from 1, each below its parent.
    """

    client: int
    tasks: tuple[Task, ...]
    outputs: tuple[Ref, ...]
    fail_fast: bool = False
    optimized: bool = True
    scopes: tuple[ScopeSpec, ...] = ()
    skips: bool = False

    @property
    def held(self) -> bool:
        """Whether it holds values instead of running tasks."""
        return bool(self.tasks) and self.tasks[0].kind == "held"


def under(spec: RunSpec, row: int) -> set[int]:
    """Return a scope and all in it."""
    rows = {row}
    for other, scope in enumerate(spec.scopes, 1):
        if scope.parent in rows:
            rows.add(other)
    return rows


def inside(spec: RunSpec, rows: set[int]) -> set[int]:
    """Return the tasks that stand in one of these scopes."""
    given = {ref.at for other in rows for ref in spec.scopes[other - 1].given}
    return given | {at for at, task in enumerate(spec.tasks) if task.scope in rows}


class Elsewhere(External):
    """Stands for an output of an earlier run."""

    __slots__ = ("ref",)

    def __init__(self, ref: Ref) -> None:
        self.ref = ref


def to_plan(index: int, spec: RunSpec) -> tuple[Plan, list[Ref | None]]:
    """Return the plan of a run, and for each of its externals what it stands for (None: a failure)."""
    elsewhere: dict[Ref, Elsewhere] = {}
    nodes: list[Any] = []

    def node(ref: Ref) -> Any:
        return nodes[ref.at] if ref.run == index else elsewhere.setdefault(ref, Elsewhere(ref))

    scopes: list[NodeScope | None] = [None]
    for scope in spec.scopes:
        scopes.append(NodeScope(scopes[scope.parent], scope.fail_fast))
    for task in spec.tasks:
        promise = call(task.kind, task.number, [*map(node, task.inputs)], scopes[task.scope], task.row)
        nodes.append(promise)
    for made, scope in zip(scopes[1:], spec.scopes, strict=True):
        assert made is not None
        made.given.extend(map(node, scope.given))
        for task in scope.handlers:
            reads = [made.caught, *map(node, task.inputs)]
            made.handlers.append(call(task.kind, task.number, reads, scopes[task.scope]))
    outputs = [node(ref) for ref in spec.outputs]
    plan = plan_of(outputs, optimize_graph=spec.optimized, fail_fast=spec.fail_fast, skips=spec.skips)
    return plan, [external.ref if isinstance(external, Elsewhere) else None for external in plan.externals]


# -- acts ------------------------------------------------------------------------------------------


class Act(NamedTuple):
    """`what` happens `after` so many steps of the network (sooner when nothing else can happen).

    "submit" run; "drop", "cancel" (output -1: the whole run), "force" (which makes what runs leave) and "want" run and
    output; "leave" client; "join" threads (and `second`, an offer of the life); "kill" a worker (`first` counts them),
    "kill all"; "drain" or "freeze" a worker, "thaw" all; "take", "refuse": workers of a name take a queue, or no more.
    """

    after: int
    what: str
    first: int = 0
    second: int = 0


@dataclass(frozen=True)
class Life:
    """Everything that does not follow from the order in which messages happen to arrive."""

    seed: int
    clients: int
    workers: tuple[int, ...]  # threads of each
    inline_limit: int
    runs: tuple[RunSpec, ...]
    acts: tuple[Act, ...]
    offers: tuple[Offer, ...] = (PLAIN_OFFER,)  # of each worker that is there first; then of those that join, in turn

    def offer(self, at: int) -> Offer:
        """Return what the worker offers that joins as the how-manieth."""
        return self.offers[at % len(self.offers)]

    @property
    def branching(self) -> int | None:
        """Bytes from which values go from worker to worker; None: as in earnest, where none in a life is so large."""
        return (None, 0, 20)[self.seed % 3]

    @property
    def grain(self) -> int:
        """So many rows make a portion of its plans; 0: they go to workers whole."""
        return (0, 0, 1, 3)[self.seed % 4]


class Rich(enum.IntEnum):
    """How much a life holds: only calls; also scopes and tasks that become plans; also options, groups and queues."""

    PLAIN = 0
    SCOPES = 1
    OPTIONS = 2


@dataclass
class _Maker:
    random: Random
    extra: Random | None  # for scopes and tasks that become plans
    asking: Asking | None  # for options, and tasks that need them
    clients: int
    runs: list[RunSpec] = field(default_factory=list)
    acts: list[Act] = field(default_factory=list)
    futures: dict[int, list[tuple[int, int]]] = field(default_factory=dict)  # client -> (run, output) it holds
    left: set[int] = field(default_factory=set)
    number: int = 0

    def act(self, what: str, first: int = 0, second: int = 0) -> None:
        self.acts.append(Act(self.random.choice((0, 1, 3, 10, 30, 100)), what, first, second))

    def client(self) -> int | None:
        there = [client for client in range(self.clients) if client not in self.left]
        return self.random.choice(there) if there else None

    def submit(self) -> None:
        client = self.client()
        if client is None:
            return
        held = self.random.random() < 0.2
        spec = self.held_run(client) if held else self.random_run(client)
        self.futures.setdefault(client, []).extend((len(self.runs), at) for at in range(len(spec.outputs)))
        self.act("submit", len(self.runs))
        self.runs.append(spec)

    def held_run(self, client: int) -> RunSpec:
        tasks = tuple(Task("held", self.next()) for _ in range(self.random.randint(1, 4)))
        return RunSpec(client, tasks, tuple(Ref(len(self.runs), at) for at in range(len(tasks))))

    def next(self) -> int:
        self.number += 1
        return self.number

    def random_run(self, client: int) -> RunSpec:
        random, index = self.random, len(self.runs)
        earlier = [self.runs[run].outputs[output] for run, output in self.futures.get(client, ())]
        tasks: list[Task] = []
        careless = random.choice((0.0, 0.0, 0.02, 0.1))
        extra = self.extra
        growing = extra.choice((0.0, 0.0, 0.05, 0.3)) if extra else 0.0
        rows = range(extra.choice((1, 1, 2, 3)) if extra else 1)  # scopes that tasks stand in
        harm = extra.choice((0.0, 0.1)) if extra and len(rows) > 1 else 0.0
        for at in range(random.choice((1, 2, 5, 12, 30, 60))):
            near = [Ref(index, other) for other in range(max(0, at - random.choice((1, 3, 12))), at)]
            if earlier and random.random() < 0.25:
                near += random.sample(earlier, min(len(earlier), 2))
            inputs = tuple(random.sample(near, min(len(near), random.choice((0, 1, 1, 1, 2, 3)))))
            kind = random.choice(("plain", "plain", "large"))
            if random.random() < careless:
                kind = random.choice(("bad", "bad", "lump"))
            elif extra is not None and extra.random() < growing:
                kind = "grow"
            elif extra is not None and extra.random() < harm:
                kind = "bad"
            task = Task(kind, self.next(), inputs, extra.choice(rows) if extra else 0)
            tasks.append(self.odd(task) if self.asking else task)
        outputs = [Ref(index, at) for at in random.choices(range(len(tasks)), k=random.randint(1, 5))]
        if earlier and random.random() < 0.1:
            outputs.append(random.choice(earlier))
        scopes = self.scopes(extra, index, len(rows) - 1, tasks) if extra else ()
        spec = RunSpec(client, tuple(tasks), tuple(outputs), random.random() < 0.4, random.random() < 0.6, scopes)
        return self.odd_run(spec, self.asking) if self.asking else spec

    def odd(self, task: Task) -> Task:
        """Give a task options, and now and then a kind that goes with them."""
        assert self.asking is not None
        random, row = self.asking.random, self.asking.row()
        chance, kind = random.random(), random.choice((SHAKY, SHAKY, ASKS))
        if task.kind == "plain" and chance < 0.5 * self.asking.often:
            task = task._replace(kind=kind)
        elif task.kind in ("plain", "large") and task.inputs and chance > 0.9:
            task = task._replace(kind=random.choice((COLLECT, SKIP)))
        if task.kind == ASKS:  # who asks to be begun again does not ask for the opposite
            row = replace(row, at_most_once=False)
        return task._replace(row=row)

    def odd_run(self, spec: RunSpec, asking: Asking) -> RunSpec:
        """Let some scopes fail as one, and some runs say that what follows a failure is skipped."""
        strict = asking.random.choice((0.0, 0.0, 0.5))
        scopes = tuple([scope._replace(fail_fast=asking.random.random() < strict) for scope in spec.scopes])
        return replace(spec, scopes=scopes, skips=asking.random.random() < 0.1)

    def queue(self) -> None:
        """Change what workers of a name take."""
        assert self.asking is not None
        random = self.asking.random
        what, name, queue = random.choice(("take", "refuse")), random.choice(NAMES), random.choice(QUEUES)
        self.act(what, NAMES.index(name), QUEUES.index(queue))

    def scopes(self, random: Random, index: int, rows: int, tasks: list[Task]) -> tuple[ScopeSpec, ...]:
        """Scopes of tasks, and now and then one of their handlers."""
        further = rows + random.choice((0, 1)) * bool(rows)
        scopes = []
        for row in range(1, further + 1):
            every = [Ref(index, at) for at in range(len(tasks))]
            given = random.sample(every, min(len(every), random.choice((0, 0, 0, 1, 2)))) if row <= rows else []
            handlers = []
            for _ in range(random.choice((0, 1, 1, 1, 2))):
                inputs = tuple(random.sample(every, min(len(every), random.choice((0, 0, 0, 1)))))
                kind = "answer" if random.random() < 0.8 else "bad"
                own = further if random.random() < 0.5 and row <= rows < further else 0
                handlers.append(Task(kind, self.next(), inputs, own))
            scopes.append(ScopeSpec(random.randrange(row) if row <= rows else 0, tuple(given), tuple(handlers)))
        return tuple(scopes)

    def about_a_future(self, what: str) -> None:
        client = self.client()
        futures = self.futures.get(client, []) if client is not None else []
        if not futures:
            return
        run, output = self.random.choice(futures)
        if what == "drop":
            futures.remove((run, output))
        if what in ("cancel", "force") and self.random.random() < 0.3:
            output = -1
        self.act(what, run, output)

    def kill(self) -> None:
        self.act("kill", self.random.randrange(8))
        if self.random.random() < 0.8:
            self.act("join", self.random.choice((1, 2)))

    def kill_all(self) -> None:
        self.act("kill all")
        for _ in range(self.random.choice((0, 1, 2))):
            self.act("join", self.random.choice((1, 2)))

    def leave(self) -> None:
        client = self.client()
        if client is not None and self.clients > 1:
            self.left.add(client)
            self.act("leave", client)


def _let_leave(acts: list[Act], random: Random) -> None:
    """Put in, between what happens else, workers that leave, and others that stand still for a while."""
    leaving = random.choice((0, 0, 0, 1, 3)) * ["drain"] + random.choice((0, 0, 0, 0, 1, 3)) * ["freeze"]
    for what in leaving:
        follows = "join" if what == "drain" else "thaw"
        for one, often in ((what, 1.0), (follows, 0.7)):
            if random.random() < often:
                act = Act(random.choice((0, 1, 3, 10, 30)), one, random.randrange(8) if one == what else 1)
                acts.insert(random.randrange(len(acts) + 1), act)


def live(seed: int, rich: Rich = Rich.OPTIONS) -> Life:
    """Return the life that a seed stands for."""
    random = Random(seed)
    extra = Random(-1 - seed) if rich >= Rich.SCOPES else None
    asking = Asking(Random(f"options of {seed}")) if rich >= Rich.OPTIONS else None
    maker = _Maker(random, extra, asking, clients=random.choice((1, 1, 2, 3)))
    workers = tuple(random.choice((1, 2)) for _ in range(random.choice((0, 1, 2, 2, 3))))
    deadly = random.choice((0, 0, 1, 1, 6))
    acts = (
        [maker.submit] * 6
        + [lambda: maker.about_a_future("drop")] * 4
        + [lambda: maker.about_a_future("want")] * 2
        + [lambda: maker.about_a_future("cancel")] * random.choice((0, 1))
        + [maker.kill] * deadly
        + [maker.kill_all] * (deadly > 1)
        + [lambda: maker.act("join", random.choice((1, 2)))]
        + [maker.leave] * random.choice((0, 1))
    )
    offers = [PLAIN_OFFER]
    if asking is not None:
        acts += [maker.queue] * asking.random.choice((0, 1))
        acts += [lambda: maker.about_a_future("force")] * asking.random.choice((0, 1))
        offers = [offer(asking.random) for _ in range(asking.random.choice((1, 2, 5)))]
    maker.submit()
    for _ in range(random.choice((0, 2, 5, 12, 25))):
        random.choice(acts)()
    if rich >= Rich.OPTIONS:
        _let_leave(maker.acts, Random(f"those that leave in {seed}"))
    limit = random.choice((64, 64, 64 * 1024))
    return Life(seed, maker.clients, workers, limit, tuple(maker.runs), tuple(maker.acts), tuple(offers))
