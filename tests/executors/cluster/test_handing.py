"""What the scheduler's mind hands to whom: the urgent first, near to its inputs, from the busy to the idle."""

from __future__ import annotations

from typing import Any

from lazygraph.executors.cluster import messages as m
from lazygraph.executors.cluster.placement import LONG
from lazygraph.executors.cluster.records import Send, pack_shape
from lazygraph.values.options import Limit
from lazygraph.values.status import State
from tests.executors.cluster.talking import CLIENT, FIRST, SECOND, TABLES, Elsewhere, Talk, shape_of, step


def many(count: int, **options: Any) -> Any:
    task = step.options(**options) if options else step
    return shape_of(*[task(at) for at in range(count)])


def handed(said: list[Send]) -> list[tuple[int, int, list[int]]]:
    """Return who is given which tasks of which block."""
    return [(to, one.block, list(m.from_ints(one.tasks))) for to, one, _ in said if isinstance(one, m.Do)]


def asked_back(said: list[Send]) -> list[tuple[int, int]]:
    """Return who is asked for how many tasks."""
    return [(to, one.count) for to, one, _ in said if isinstance(one, m.TakeBack)]


def give_back(*tasks: int, block: int = 0) -> m.Returned:
    return m.Returned(block, 1, m.ints(tasks), [], asked=True)


def nothing_to_give() -> m.Returned:
    return m.Returned(-1, 0, b"", [], asked=True)


class TestWhatIsUrgent:
    def test_it_comes_before_what_has_been_handed_out_and_has_not_begun(self) -> None:
        talk = Talk(FIRST)
        talk.submit(many(8))
        waiting = talk.submit(many(1, priority=10), run=2)

        assert asked_back(waiting) == [(FIRST, 8)] and not handed(waiting)
        assert handed(talk.say(FIRST, give_back(1, 2, 3, 4, 5, 6, 7)))[0] == (FIRST, 8, [0])

    def test_it_is_asked_for_once(self) -> None:
        talk = Talk(FIRST)
        talk.submit(many(8))
        talk.submit(many(1, priority=10), run=2)

        assert asked_back(talk.submit(many(1, priority=20), run=3)) == []
        assert asked_back(talk.say(FIRST, nothing_to_give())) == []  # all that is there has begun

    def test_what_is_as_urgent_stays_where_it_is(self) -> None:
        talk = Talk(FIRST)
        talk.submit(many(1))
        talk.submit(many(7, priority=10), run=2)
        talk.say(FIRST, nothing_to_give())

        assert asked_back(talk.submit(many(1, priority=10), run=3)) == []

    def test_what_a_worker_has_the_inputs_of_waits_for_what_is_urgent(self) -> None:
        talk = Talk(FIRST)
        root = step()
        talk.submit(shape_of(*[step(root) for _ in range(30)]))
        assert handed(talk.done(FIRST, [0])) == [(FIRST, 0, [1]), (FIRST, 0, [2])]
        talk.submit(many(1, priority=10), run=2)

        assert handed(talk.say(FIRST, give_back(2))) == [(FIRST, 31, [0])]
        assert handed(talk.done(FIRST, [1])) == [(FIRST, 0, [2])]

    def test_what_nobody_may_take_holds_nothing_up(self) -> None:
        talk = Talk(FIRST)
        talk.submit(many(1, priority=10, queue="nobody's"))
        root = step()
        talk.submit(shape_of(*[step(root) for _ in range(30)]), run=2)

        said = talk.done(FIRST, [0], block=1)
        assert handed(said) and not asked_back(said)

    def test_what_a_task_waits_for_comes_before_what_nobody_has_begun(self) -> None:
        talk = Talk(FIRST)
        talk.submit(many(30))
        talk.say(CLIENT, m.Submit(2, "", False, pack_shape(many(1)), TABLES, b"", inside=1), b"tables")

        assert handed(talk.join(SECOND))[0] == (SECOND, 30, [0])


class TestWhoIsIdle:
    def test_a_second_worker_of_a_queue_takes_over_what_waits_behind_the_first(self) -> None:
        talk = Talk()
        only = ["high"]
        talk.say(FIRST, m.Join("w11", "at11", 1, 0, queues=only))
        talk.submit(many(8, queue="high"))

        assert asked_back(talk.say(SECOND, m.Join("w12", "at12", 1, 0, queues=only))) == [(FIRST, 4)]
        assert handed(talk.say(FIRST, give_back(4, 5, 6, 7)))[0] == (SECOND, 0, [4, 5])

    def test_who_may_not_take_it_asks_nobody(self) -> None:
        talk = Talk()
        talk.say(FIRST, m.Join("w11", "at11", 1, 0, queues=["default", "high"]))
        talk.submit(many(8, queue="high"))

        assert asked_back(talk.join(SECOND)) == []

    def test_who_gave_back_what_nobody_idle_may_take_is_not_asked_again(self) -> None:
        talk = Talk()
        talk.say(FIRST, m.Join("w11", "at11", 1, 0, queues=["default", "high"]))
        talk.submit(shape_of(step(), *[step.options(queue="high")(at) for at in range(6)]))

        assert asked_back(talk.join(SECOND)) == [(FIRST, 3)]
        assert asked_back(talk.say(FIRST, give_back(4, 5, 6))) == []


class Timed(Talk):
    """A talk in which functions are known by their pickles, and tasks take as long as is said."""

    def start(self, *outputs: Any, run: int, pickle: bytes = b"fast") -> list[Send]:
        shape = shape_of(*outputs)
        tables = m.TablesOnWire([len(pickle)], 0)
        return self.say(CLIENT, m.Submit(run, "", False, pack_shape(shape), tables, b""), pickle)

    def took(self, worker: int, tasks: list[int], seconds: float, block: int) -> list[Send]:
        sizes = m.longs([28] * len(tasks))
        return self.say(worker, m.Done(block, 1, m.ints(tasks), sizes, seconds * len(tasks), b""))

    def learned(self, seconds: float) -> Timed:
        """Have one task of a first run take so long."""
        self.start(step(), run=1)
        self.took(FIRST, [0], seconds, 0)
        return self


class TestWhatIsKnownOfFunctions:
    def test_what_is_known_to_be_short_is_not_spread_thin(self) -> None:
        talk = Timed(FIRST, SECOND).learned(1e-6)

        (given,) = handed(talk.start(*[step(at) for at in range(90)], run=2))
        assert given[2] == list(range(90))

    def test_what_is_known_to_be_long_is_spread(self) -> None:
        talk = Timed(FIRST, SECOND).learned(1.0)

        said = handed(talk.start(*[step(at) for at in range(4)], run=2))
        assert sorted(to for to, _, _ in said) == [FIRST, FIRST, SECOND, SECOND]

    def test_another_function_is_not_known(self) -> None:
        talk = Timed(FIRST, SECOND).learned(1e-6)

        said = handed(talk.start(*[step(at) for at in range(90)], run=2, pickle=b"other"))
        assert [len(tasks) for _, _, tasks in said] == [8, 8]

    def test_one_that_turns_out_to_be_long_is_spread_from_then_on(self) -> None:
        talk = Timed(FIRST).learned(1e-6)
        talk.start(*[step(at) for at in range(90)], run=2)
        talk.join(SECOND)

        assert asked_back(talk.say(FIRST, m.Began(1, 0, 1))) == [(FIRST, 90)]
        said = handed(talk.say(FIRST, give_back(*range(1, 90), block=1)))
        assert {(to, len(tasks)) for to, _, tasks in said} == {(FIRST, 1), (SECOND, 1)}
        assert talk.mind.records[1].paces[0].seconds == LONG

    def test_so_it_is_among_the_threads_of_one_worker(self) -> None:
        talk = Timed()
        talk.join(FIRST, threads=4)
        talk.learned(1e-6)
        (given,) = handed(talk.start(*[step(at) for at in range(10)], run=2))
        assert given[2] == list(range(10))

        assert asked_back(talk.say(FIRST, m.Began(1, 0, 1))) == [(FIRST, 10)]
        assert len(handed(talk.say(FIRST, give_back(*range(1, 10), block=1)))) >= 3

    def test_so_it_is_when_the_first_has_ended(self) -> None:
        talk = Timed(FIRST).learned(1e-6)
        talk.start(*[step(at) for at in range(90)], run=2)
        talk.join(SECOND)

        assert asked_back(talk.took(FIRST, [0], 0.005, 1)) == [(FIRST, 89)]

    def test_nobody_is_asked_when_nobody_could_take_it(self) -> None:
        talk = Timed(FIRST).learned(1e-6)
        talk.start(*[step(at) for at in range(90)], run=2)

        assert asked_back(talk.say(FIRST, m.Began(1, 0, 1))) == []


class TestWhatIsTooLittleForALease:
    def busy(self, seconds: float) -> Timed:
        """Return a talk in which FIRST has a value, and works on something else; SECOND has nothing to do."""
        talk = Timed(FIRST).learned(seconds)
        assert handed(talk.start(*[step(at) for at in range(8)], run=2)) != []
        talk.join(SECOND)
        return talk

    def readers(self, talk: Timed) -> list[Send]:
        """Have five tasks ready that read what FIRST has."""
        value = Elsewhere()
        reads = shape_of(*[step(value, at) for at in range(5)])
        tables = m.TablesOnWire([4], 0)
        return talk.say(CLIENT, m.Submit(3, "", False, pack_shape(reads), tables, m.ints((1, 0))), b"fast")

    def test_it_waits_until_its_worker_has_reported(self) -> None:
        talk = self.busy(1e-6)

        assert handed(self.readers(talk)) == []
        assert handed(talk.took(FIRST, list(range(3)), 1e-6, 1)) == []
        assert handed(talk.took(FIRST, list(range(3, 8)), 1e-6, 1)) == [(FIRST, 9, [1, 2, 3, 4, 5])]

    def test_who_has_nothing_to_do_takes_it_when_that_takes_long(self) -> None:
        talk = self.busy(1e-6)
        self.readers(talk)

        assert handed(talk.say(FIRST, m.Began(1, 0, 1)))[0] == (SECOND, 9, [1])

    def test_what_takes_longer_is_given_at_once(self) -> None:
        talk = self.busy(0.001)

        assert handed(self.readers(talk))[0] == (SECOND, 9, [1, 2, 3])


class TestNearToItsInputs:
    def test_what_reads_a_value_of_another_run_goes_where_that_is(self) -> None:
        talk = Talk(FIRST, SECOND)
        talk.submit(shape_of(step(), step()))
        talk.done(FIRST, [0], size=100)
        talk.done(SECOND, [1], size=20_000_000)

        reads = shape_of(step(Elsewhere()))
        assert handed(talk.submit(reads, run=2, bindings=(1, 1))) == [(SECOND, 2, [1])]


class TestResources:
    def test_fractions_come_out_even(self) -> None:
        talk = Talk()
        talk.say(FIRST, m.Join("w11", "at11", 8, 0, resources={"mem": 1.0}))
        amounts = (0.1, 0.2, 0.3, 0.4)
        talk.submit(shape_of(*[step.options(resources={"mem": amount})(amount) for amount in amounts]))
        for at in range(4):
            talk.done(FIRST, [at])

        assert handed(talk.submit(many(1, resources={"mem": 1}), run=2)) == [(FIRST, 4, [0])]


class TestLimitsThatContradict:
    def test_a_task_that_would_become_one_has_failed_and_its_worker_goes_on(self) -> None:
        talk = Talk(FIRST)
        talk.submit(many(1), run=2)
        talk.submit(many(1, limit=Limit("api", concurrency=1)))
        replacing = many(1, limit=Limit("api", concurrency=2))

        said = talk.say(FIRST, m.Replaced(0, 0, 1, pack_shape(replacing), TABLES))
        (ended,) = [one for to, one, _ in said if to == CLIENT and isinstance(one, m.Ended)]
        assert (ended.run, ended.state, ended.kind) == (2, State.FAILED, "refused") and "api" in ended.text
        assert talk.mind.workers[FIRST].outstanding == 1

    def test_one_that_is_to_be_made_again_is_refused(self) -> None:
        talk = Talk(FIRST)
        talk.submit(shape_of(step(1), step.options(limit=Limit("api", concurrency=1))(2)))
        talk.done(FIRST, [0])
        talk.say(FIRST, m.Broke(0, 1, 1, "step", "", ""))
        talk.submit(many(1, limit=Limit("api", concurrency=2)), run=2)

        said = talk.say(CLIENT, m.Again(3, "3", 1, m.ints([1])))
        (ended,) = [one for to, one, _ in said if to == CLIENT and isinstance(one, m.Ended)]
        assert (ended.run, list(m.from_ints(ended.entries)), ended.kind) == (3, [1], "refused")


def test_what_is_to_be_made_again_of_a_run_that_is_over_is_refused_by_its_own_number() -> None:
    talk = Talk(FIRST)

    ((to, ended, _),) = talk.say(CLIENT, m.Again(3, "3", 1, m.ints([4])))
    assert to == CLIENT and isinstance(ended, m.Ended) and list(m.from_ints(ended.entries)) == [4]


def test_a_worker_that_is_slower_than_its_peers_is_not_buried() -> None:
    talk, tasks = Talk(FIRST, SECOND), 20_000
    sent = talk.submit(shape_of(*[step() for _ in range(tasks)]))
    slow = fast = 0
    while sent:
        leases = [one for one in sent if isinstance(one.message, m.Do)]
        slow += sum(len(m.from_ints(one.message.tasks)) for one in leases if one.peer == FIRST)
        sent = []
        for one in leases:
            if one.peer == SECOND:
                numbers = [*m.from_ints(one.message.tasks)]
                fast += len(numbers)
                sent += talk.say(SECOND, m.Done(0, 1, one.message.tasks, m.longs([28] * len(numbers)), 0.0, b""))
    assert slow + fast == tasks
    assert slow < tasks // 4
