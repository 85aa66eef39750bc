"""A worker's mind, one exchange at a time: its actions are compared whole."""

from __future__ import annotations

from typing import Any

import pytest

from lazygraph.executors.cluster import messages as m
from lazygraph.executors.cluster.worker_machine import (
    MISSING,
    Action,
    Fail,
    Fetch,
    Say,
    Start,
    Tell,
    WorkerMachine,
    WorkLease,
)
from lazygraph.language.delayed import delayed
from lazygraph.planning.plan import plan_of
from lazygraph.running.program import Program
from lazygraph.running.runner import Report, run_lease
from lazygraph.values.node import External


class Elsewhere(External):
    """Stands for a value of another run."""


def step(*inputs: Any) -> Any:
    return sum(inputs) + 1


def program_of(*outputs: Any) -> Program:
    plan = plan_of(outputs, optimize_graph=False)
    return Program(plan.shape, plan.tables)


def chain(length: int) -> Program:
    node = delayed(step)()
    for _ in range(length - 1):
        node = delayed(step)(node)
    return program_of(node)


def joined() -> Program:
    """Two tasks without inputs, and one that reads both."""
    return program_of(delayed(step)(delayed(step)(), delayed(step)()))


def mind_of(program: Program, aliases: tuple[tuple[int, int], ...] = ()) -> WorkerMachine:
    mind = WorkerMachine()
    mind.load(0, program, aliases)
    return mind


def do(*tasks: int, attempt: int = 1, where: tuple[tuple[str, int, list[int]], ...] = ()) -> m.Do:
    asked = [(address, base, m.ints(entries)) for address, base, entries in where]
    return m.Do(0, attempt, m.ints(tasks), b"", asked)


def returned(*tasks: int, asked: bool = False, missing: tuple[tuple[str, int, bytes], ...] = ()) -> Say:
    return Say(m.Returned(0, 1, m.ints(tasks), list(missing), asked))


def nothing_there(address: str, base: int, *entries: int) -> Say:
    return Say(m.Returned(-1, 0, b"", [(address, base, m.ints(entries))]))


def run(mind: WorkerMachine, lease: WorkLease, tasks: int | None = None) -> None:
    """Run some tasks of a lease, or all, and tell the mind."""
    reports: list[Report] = []
    part = lease.tasks if tasks is None else type(lease.tasks)(lease.tasks.popleft() for _ in range(tasks))
    run_lease(lease.program, part, lease.values, reports.append)
    for report in reports:
        mind.answered(lease, report)


# -- leases ----------------------------------------------------------------------------------------


def test_a_lease_with_nothing_to_fetch_starts_and_is_forgotten_when_all_is_told() -> None:
    mind = mind_of(chain(2))

    actions = mind.receive(do(0, 1))
    assert actions == [Start(mind.leases[0])]
    run(mind, mind.leases[0])
    assert mind.leases == []
    assert mind.lookup(0, [0, 1, 2]) == [1, 2, MISSING]
    assert mind.lookup(5, [0]) == [MISSING]


def test_inputs_are_fetched_first_and_asked_for_once() -> None:
    mind = mind_of(joined())
    where = (("there", 0, [0, 1]),)

    assert mind.receive(do(2, where=where)) == [Fetch(1, "there", 0, m.ints([0, 1]))]
    assert mind.receive(do(2, where=where)) == []
    first, second = mind.leases
    assert mind.fetched(1, [10, 20], {}) == [Start(first), Start(second)]
    run(mind, first)
    assert mind.lookup(0, [2]) == [31]


def test_what_an_earlier_lease_is_fetching_is_waited_for_although_nobody_names_it() -> None:
    mind = mind_of(joined())
    mind.receive(do(2, where=(("there", 0, [0, 1]),)))

    assert mind.receive(do(2)) == []
    assert [lease.fetching for lease in mind.leases] == [1, 1]


def test_what_is_here_already_is_not_fetched() -> None:
    mind = mind_of(joined())
    mind.store(0, [0, 1], [10, 20])

    assert mind.receive(do(2, where=(("there", 0, [0, 1]),))) == [Start(mind.leases[0])]


@pytest.mark.parametrize("answer", [None, [MISSING]])
def test_a_fetch_that_brings_nothing_is_said_at_once_and_the_lease_given_back(answer: list[Any] | None) -> None:
    mind = mind_of(chain(2))
    mind.receive(do(1, where=(("there", 0, [0]),)))

    assert mind.fetched(1, answer, {}) == [nothing_there("there", 0, 0), returned(1)]
    assert mind.leases == []


def test_an_input_that_nobody_named_and_nobody_has_is_missing() -> None:
    assert mind_of(chain(2)).receive(do(1)) == [returned(1, missing=(("", 0, m.ints([0])),))]


def test_an_input_that_cannot_be_sent_fails_only_the_tasks_that_read_it() -> None:
    both = delayed(step)(), delayed(step)()
    mind = mind_of(program_of(*[delayed(step)(node) for node in both]))
    reads_first, reads_second = (entry for entry in range(4) if len(mind.blocks[0].program.shape.inputs_of(entry)))  # type: ignore[union-attr]
    first, second = (mind.blocks[0].program.shape.inputs_of(entry)[0] for entry in (reads_first, reads_second))  # type: ignore[union-attr]
    mind.receive(do(reads_first, reads_second, where=(("there", 0, [first, second]),)))
    lease = mind.leases[0]

    assert mind.fetched(1, [MISSING, 20], {0: "a lock"}) == [
        nothing_there("", 0, first),
        Fail(lease, [reads_first], "a lock"),
        returned(reads_second),
    ]
    assert mind.leases == [] and mind.lookup(0, [second]) == [20]


def test_values_of_other_runs_are_read_through_aliases() -> None:
    mind = mind_of(program_of(delayed(step)(Elsewhere())), aliases=((7, 3),))

    assert mind.receive(do(1, where=(("there", 7, [3]),))) == [Fetch(1, "there", 7, m.ints([3]))]
    assert mind.fetched(1, [41], {}) == [Start(mind.leases[0])]
    run(mind, mind.leases[0])
    assert mind.lookup(0, [1]) == [42]
    assert mind.lookup(7, [3]) == [41]


# -- giving back -----------------------------------------------------------------------------------


def test_unstarted_tasks_are_given_back_from_the_right() -> None:
    mind = mind_of(program_of(*[delayed(step)() for _ in range(4)]))
    mind.receive(do(0, 1, 2, 3))
    lease = mind.leases[0]

    assert mind.receive(m.TakeBack(-1, b"", 2)) == [returned(2, 3, asked=True)]
    assert list(lease.tasks) == [0, 1]
    run(mind, lease)
    assert mind.leases == []


def test_a_chain_is_not_torn() -> None:
    mind = mind_of(chain(4))
    mind.receive(do(0, 1, 2, 3))

    assert mind.receive(m.TakeBack(-1, b"", 2)) == [Say(m.Returned(-1, 0, b"", [], asked=True))]
    assert list(mind.leases[0].tasks) == [0, 1, 2, 3]


def test_what_has_not_begun_goes_back_when_a_task_waits() -> None:
    mind = mind_of(program_of(*[delayed(step)() for _ in range(5)]))
    mind.receive(do(0, 1, 2))
    mind.receive(do(3, 4))
    first, second = mind.leases
    first.tasks.popleft()  # it runs, and waits

    assert mind.give_back() == [returned(1, 2), returned(3, 4)]
    assert mind.leases == [first] and not first.tasks and not second.tasks


def test_what_nothing_was_told_of_is_known() -> None:
    mind = mind_of(program_of(*[delayed(step)() for _ in range(5)]))
    mind.receive(do(0, 1, 2, 3, 4))
    (lease,) = mind.leases
    run(mind, lease, tasks=1)
    mind.receive(m.TakeBack(-1, b"", 1))
    for _ in range(2):
        lease.tasks.popleft()

    assert mind.unanswered(lease) == [1, 2]


def test_what_a_runner_takes_while_the_tail_is_looked_at_is_its_own() -> None:
    taken: list[int] = []

    class LookedAt(dict[int, Any]):
        """Values whose look-up lets the runner empty the lease."""

        def __contains__(self, entry: object) -> bool:
            while lease.tasks:
                taken.append(lease.tasks.popleft())
            return super().__contains__(entry)

    mind = mind_of(chain(3))
    mind.store(0, [0], ["value"])
    mind.receive(do(1, 2))
    (lease,) = mind.leases
    mind.blocks[0].values = LookedAt()
    actions = mind.receive(m.TakeBack(-1, b"", 2))

    assert actions == [Say(m.Returned(-1, 0, b"", [], asked=True))] and taken == [1, 2]
    assert not lease.tasks  # nothing was put back where nobody looks any more


def test_the_newest_lease_gives_first_and_only_one_answer_is_the_answer() -> None:
    mind = mind_of(program_of(*[delayed(step)() for _ in range(4)]))
    mind.receive(do(0, 1))
    mind.receive(do(2, 3))

    taken: list[Action] = [returned(2, 3, asked=True), returned(1)]
    assert mind.receive(m.TakeBack(-1, b"", 3)) == taken
    assert [list(lease.tasks) for lease in mind.leases] == [[0]]


def test_named_tasks_are_given_back_unless_they_have_started() -> None:
    mind = mind_of(program_of(*[delayed(step)() for _ in range(3)]))
    mind.receive(do(0, 1, 2))
    run(mind, mind.leases[0], tasks=1)

    assert mind.receive(m.TakeBack(0, m.ints([0, 2]))) == [returned(2)]
    assert list(mind.leases[0].tasks) == [1]


def test_a_task_that_runs_for_two_ticks_is_said_to_have_begun_once() -> None:
    mind = mind_of(chain(2))
    mind.receive(do(0, 1))
    mind.leases[0].tasks.popleft()  # a thread has taken it

    said = [mind.tick() for _ in range(4)]
    assert said == [[], [Say(m.Began(0, 0, 1))], [], []]


# -- values ----------------------------------------------------------------------------------------


def test_freed_values_are_gone_and_other_stay() -> None:
    mind = mind_of(chain(2))
    mind.store(0, [0, 1], ["a", "b"])

    assert mind.receive(m.Free(0, m.ints([0, 5]))) == []
    assert mind.receive(m.Free(9, m.ints([0]))) == []
    assert mind.lookup(0, [0, 1]) == [MISSING, "b"]


def test_a_value_that_was_freed_on_its_way_is_not_kept() -> None:
    mind = mind_of(chain(2))
    mind.receive(do(1, where=(("there", 0, [0]),)))
    mind.receive(m.Free(0, m.ints([0])))

    assert mind.fetched(1, [1], {}) == [returned(1, missing=(("", 0, m.ints([0])),))]
    assert mind.lookup(0, [0]) == [MISSING]


def test_a_forgotten_block_takes_its_leases_and_what_is_still_coming_with_it() -> None:
    mind = mind_of(chain(2))
    mind.receive(do(1, where=(("there", 0, [0]),)))

    assert mind.receive(m.Forget(0)) == [returned(1)]
    assert mind.fetched(1, [1], {}) == []
    assert mind.blocks == {} and mind.leases == []


# -- tasks that became others ----------------------------------------------------------------------


def test_a_value_here_becomes_that_of_another_task() -> None:
    mind = mind_of(chain(1))
    mind.store(7, [3], ["value"])

    (told,) = mind.receive(m.Adopt(0, 0, 2, 7, 3, True))
    assert isinstance(told, Tell)
    assert (told.tasks, told.lease.base, told.lease.attempt, told.lease.wanted) == ([0], 0, 2, frozenset({0}))
    assert told.lease.values[0] == "value" and not mind.leases
    mind.receive(m.Forget(7))
    assert mind.lookup(0, [0]) == ["value"]


def test_only_if_it_is_wanted_does_it_ride_back() -> None:
    mind = mind_of(chain(1))
    mind.store(7, [3], ["value"])

    (told,) = mind.receive(m.Adopt(0, 0, 1, 7, 3, False))
    assert isinstance(told, Tell) and not told.lease.wanted


def test_a_value_that_is_not_here_cannot() -> None:
    mind = mind_of(chain(1))

    assert mind.receive(m.Adopt(0, 0, 1, 7, 3, True)) == [returned(0, missing=(("", 7, m.ints([3])),))]
    assert mind.lookup(0, [0]) == [MISSING]


def test_a_lease_is_over_when_its_last_task_has_become_something_else() -> None:
    mind = mind_of(chain(2))
    mind.receive(do(0, 1))
    (lease,) = mind.leases

    mind.answered(lease, Report(replaced=[(0, plan_of([delayed(step)()]))]))
    assert mind.leases == [lease]
    mind.answered(lease, Report(skipped=[1]))
    assert mind.leases == []
