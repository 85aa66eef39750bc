"""Random lives of a pretend cluster end as they must, and a broken mind is found out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from click.testing import CliRunner

from lazygraph.door import start
from lazygraph.executors.cluster import handing, scheduler_machine, worker_machine
from lazygraph.executors.cluster import messages as m
from lazygraph.executors.cluster.scheduler_machine import SchedulerMachine
from lazygraph.language.delayed import delayed
from lazygraph.running import events, frontier, limits
from lazygraph.testing.simulation.__main__ import main
from lazygraph.testing.simulation.check import Living, Wrong, check
from lazygraph.testing.simulation.handlers import Handlers
from lazygraph.testing.simulation.hands import Ending
from lazygraph.testing.simulation.lives import Act, Life, Ref, Rich, RunSpec, ScopeSpec, Task, live, to_plan
from lazygraph.testing.simulation.oracle import Oracle, values_of
from lazygraph.testing.simulation.story import line
from lazygraph.testing.simulation.tasks import (
    DIED,
    FUNCTIONS,
    NOTHING,
    UNSENDABLE,
    Answered,
    Bad,
    Lump,
    grow,
    grown,
    may_raise,
    value_of,
)

NOTHING_DONE: Callable[..., None] = lambda *args: None  # noqa: E731


@pytest.mark.parametrize("first", range(0, 400, 100))
def test_lives_end_as_they_must(first: int) -> None:
    for seed in range(first, first + 100):
        check(live(seed))


@pytest.mark.parametrize("seed", [15, 78, 84, 129, 172, 198, 273, 581, 962, 1322, 1456, 2037, 2058, 2959, 15975, 68412])
def test_lives_that_once_ended_badly(seed: int) -> None:
    check(live(seed, Rich.PLAIN))
    check(live(seed, Rich.SCOPES))


@pytest.mark.parametrize("seed", [323, 390, 812, 854, 104540, 2327706])
def test_lives_with_options_that_once_ended_badly(seed: int) -> None:
    check(live(seed))


def test_lives_hold_all_that_can_happen() -> None:
    lives = [live(seed) for seed in range(200)]
    acts = {act.what for life in lives for act in life.acts}
    kinds = {task.kind for life in lives for run in life.runs for task in run.tasks}

    often = {"submit", "drop", "cancel", "want", "leave", "join", "kill", "kill all"}
    assert acts == {*often, "force", "take", "refuse", "drain", "freeze", "thaw"}
    handlers = [task for life in lives for run in life.runs for scope in run.scopes for task in scope.handlers]

    assert kinds == {"plain", "large", "bad", "lump", "held", "grow", "shaky", "asks", "collect", "skip"}
    assert {task.kind for task in handlers} == {"answer", "bad"}
    assert any(task.scope for task in handlers) and any(task.inputs for task in handlers)
    assert {run.fail_fast for life in lives for run in life.runs} == {True, False}
    asked = {name for life in lives for run in life.runs for task in run.tasks for name in task.row.asked()}
    assert asked == {*"retries rate_limit queue priority resources workers limit concurrency".split()} | {
        *"at_most_once countdown eta expires".split()
    }
    assert {run.skips for life in lives for run in life.runs} == {True, False}
    assert {scope.fail_fast for life in lives for run in life.runs for scope in run.scopes} == {True, False}
    assert any(ref.run != index for life in lives for index, run in enumerate(life.runs) for ref in run.outputs)


def test_a_seed_replays_itself() -> None:
    def story() -> list[str]:
        lines: list[str] = []
        check(live(11), lambda *what: lines.append(line(*what)))
        return lines

    assert len(story()) > 10
    assert story() == story()


# -- the check can fail ----------------------------------------------------------------------------


def without(handlers: Any, kind: type) -> Callable[[pytest.MonkeyPatch], None]:
    """A mind that does not listen to one kind of message or event."""
    return lambda patch: patch.setitem(handlers, kind, NOTHING_DONE)


def free_at_once(patch: pytest.MonkeyPatch) -> None:
    done = SchedulerMachine._done

    def hasty(self: SchedulerMachine, peer: int, message: m.Done, body: bytes, now: float) -> None:
        done(self, peer, message, body, now)
        record = self.records.get(message.block)
        if record is not None:
            self._free(record, m.from_ints(message.tasks))

    patch.setitem(scheduler_machine._HANDLERS, m.Done, hasty)  # type: ignore[arg-type]


def give_back_and_keep(patch: pytest.MonkeyPatch) -> None:
    tail = worker_machine._tail

    def copied(lease: worker_machine.WorkLease, count: int) -> list[int]:
        taken = tail(lease, count)
        lease.tasks.extend(taken)
        return taken

    patch.setattr(worker_machine, "_tail", copied)


def never_free(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(SchedulerMachine, "_free", NOTHING_DONE)


def never_missing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(SchedulerMachine, "_missing", NOTHING_DONE)


def answers_to_nobody(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(SchedulerMachine, "_answer_wants", NOTHING_DONE)


def sleeps_on(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(frontier.Frontier, "_wake", NOTHING_DONE)


def tells_no_worker(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(SchedulerMachine, "_tell_failure", NOTHING_DONE)


def adopts_nothing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(SchedulerMachine, "_adopt", NOTHING_DONE)


def forgets_no_run(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(SchedulerMachine, "_ended", NOTHING_DONE)


def tells_twice(patch: pytest.MonkeyPatch) -> None:
    succeeded = SchedulerMachine._tell_succeeded

    def twice(self: SchedulerMachine, *told: Any) -> None:
        succeeded(self, *told)
        succeeded(self, *told)

    patch.setattr(SchedulerMachine, "_tell_succeeded", twice)


def never_parks(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(limits.Limit, "free", lambda self, now: 1)


def counts_from_when_it_is_given(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(limits.Limit, "started", lambda self, now: setattr(self, "_unreported", self._unreported - 1))


def takes_what_is_not_there(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(handing, "fits", lambda worker, where: where.queue in worker.queues)


def takes_any_queue(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(handing, "fits", lambda worker, where: True)


def never_tries_again(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(frontier.Frontier, "_tried_again", NOTHING_DONE)


def never_expires(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(frontier.Frontier, "_watch_expiry", NOTHING_DONE)


def keeps_permits(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(frontier.Frontier, "has_left", NOTHING_DONE)


BROKEN = {
    "never parks": never_parks,
    "forgets windows": counts_from_when_it_is_given,
    "takes what is not there": takes_what_is_not_there,
    "takes any queue": takes_any_queue,
    "never tries again": never_tries_again,
    "never expires": never_expires,
    "keeps permits": keeps_permits,
    "values lost": without(frontier._HANDLERS, events.ValuesLost),
    "runner lost": without(frontier._HANDLERS, events.RunnerLost),
    "failed": without(frontier._HANDLERS, events.Failed),
    "returned": without(scheduler_machine._HANDLERS, m.Returned),
    "dropped": without(scheduler_machine._HANDLERS, m.Drop),
    "want": without(scheduler_machine._HANDLERS, m.Want),
    "free": without(worker_machine._HANDLERS, m.Free),
    "forget": without(worker_machine._HANDLERS, m.Forget),
    "free at once": free_at_once,
    "never free": never_free,
    "never missing": never_missing,
    "give back and keep": give_back_and_keep,
    "replaced": without(scheduler_machine._HANDLERS, m.Replaced),
    "adopt": without(worker_machine._HANDLERS, m.Adopt),
    "adopts nothing": adopts_nothing,
    "sleeps on": sleeps_on,
    "tells no worker": tells_no_worker,
    "answers to nobody": answers_to_nobody,
    "forgets no run": forgets_no_run,
    "tells twice": tells_twice,
}


@pytest.mark.parametrize("break_it", BROKEN.values(), ids=BROKEN)
def test_a_broken_mind_is_found_out(break_it: Callable[[pytest.MonkeyPatch], None]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        break_it(patch)
        with pytest.raises(Exception):  # noqa: B017 - whichever way it shows
            for seed in range(600):
                check(live(seed))


# -- the oracle ------------------------------------------------------------------------------------


def with_runs(*runs: RunSpec, acts: tuple[Act, ...] = ()) -> Life:
    return Life(0, 1, (1,), 64, runs, acts)


def test_the_oracle_agrees_with_the_sync_executor() -> None:
    for seed in range(40):
        life = live(seed, Rich.SCOPES)
        values, nodes = values_of(life), dict[Ref, Any]()
        for run, spec in enumerate(life.runs):
            for at, task in enumerate(spec.tasks):
                if task.kind == "held":
                    nodes[Ref(run, at)] = task.number
                else:
                    inputs = [nodes[ref] for ref in task.inputs]
                    nodes[Ref(run, at)] = delayed(FUNCTIONS[task.kind])(task.number, *inputs)
        asked = [ref for run in life.runs if not run.held for ref in run.outputs if not life.runs[ref.run].held]
        if not asked:
            continue
        ran = start(*[nodes[ref] for ref in asked], executor="sync", fail_fast=False)
        for ref, future in zip(asked, ran.futures, strict=True):
            error = future.exception()
            assert (error is None) == (values[ref] is not NOTHING)
            assert error is not None or future.result() == values[ref]


def test_rules_of_the_oracle() -> None:
    good, bad, below = Task("plain", 1), Task("bad", 2), Task("plain", 3, (Ref(0, 1),))
    both = (Ref(0, 0), Ref(0, 2))
    slow = Oracle(with_runs(RunSpec(0, (good, bad, below), both)), deaths=0)
    fast = Oracle(with_runs(RunSpec(0, (good, bad, below), both, fail_fast=True)), deaths=0)

    assert slow.may == {(0, Ref(0, 0)): frozenset(), (0, Ref(0, 2)): frozenset({2})}
    assert fast.may == {(0, ref): frozenset({2, "cancelled"}) for ref in both}
    assert slow.wrong(0, Ref(0, 2), Ending("raised", Bad(2))) == ""
    assert slow.wrong(0, Ref(0, 2), Ending("value", 1)) == "it has a value, and must not"
    assert "raised" in slow.wrong(0, Ref(0, 0), Ending("raised", Bad(2)))
    assert "is lost" in slow.wrong(0, Ref(0, 0), Ending("lost", ""))
    assert slow.wrong(0, Ref(0, 0), Ending("value", 38)) == ""
    assert slow.wrong(0, Ref(0, 0), Ending("value", 39)) == "its value is 39 and not 38"


def test_what_tasks_become_is_evaluated_as_it_is_computed() -> None:
    for number in range(1, 60):
        future = start(delayed(grow)(number, 5), executor="sync", fail_fast=False).futures[0]
        error, value = future.exception(), value_of("grow", number, [5])
        assert (error is None) == (value is not NOTHING)
        if error is None:
            assert future.result() == value
        else:
            assert isinstance(error, Bad) and error.args[0] in may_raise("grow", number)
    some = [grown(number) for number in range(1, 60)]
    assert {task.kind for plan in some for task in plan.tasks} == {"plain", "large", "bad", "lump", "grow"}
    assert {plan.handler is None for plan in some} == {plan.link is None for plan in some} == {True, False}


GUARD = ScopeSpec(0, (), (Task("answer", 9, (Ref(0, 0),)),))


def told(life: Life, deaths: int = 0) -> tuple[dict[int, set[Any]], set[int]]:
    """Return what handlers may hear, and which of them must."""
    handlers = Handlers(Oracle(life, deaths), range(len(life.runs)))
    return {number: set(may) for number, may in handlers.may.items()}, handlers.must


def test_a_handler_must_hear_of_what_fails_for_certain() -> None:
    good, bad = Task("plain", 1), Task("bad", 2, (Ref(0, 0),), 1)
    run = RunSpec(0, (good, bad), (Ref(0, 1),), scopes=(GUARD,))

    assert told(with_runs(run)) == ({9: {2}}, {9})
    assert told(with_runs(run), deaths=1) == ({9: {2}}, {9})
    assert told(with_runs(run), deaths=4) == ({9: {2, DIED}}, set())
    assert told(with_runs(run, acts=(Act(0, "drop", 0, 0),))) == ({9: {2}}, set())
    assert told(with_runs(run, acts=(Act(0, "cancel", 0, -1),))) == ({9: {2}}, set())
    assert told(with_runs(run, acts=(Act(0, "leave", 0),))) == ({9: {2}}, set())


def test_and_need_not_hear_of_what_may_never_run() -> None:
    good, bad, alone = Task("plain", 1), Task("bad", 2, (Ref(0, 0),), 1), Task("bad", 3)
    unasked = RunSpec(0, (good, bad), (Ref(0, 0),), scopes=(GUARD,))
    below = RunSpec(0, (Task("bad", 1), bad), (Ref(0, 1),), scopes=(GUARD,))
    outside = RunSpec(0, (good, alone), (Ref(0, 1),), scopes=(GUARD,))
    race = RunSpec(0, (good, bad, alone), (Ref(0, 1), Ref(0, 2)), fail_fast=True, scopes=(GUARD,))
    deaf = RunSpec(0, (good, bad), (Ref(0, 1),), scopes=(ScopeSpec(0, (), (Task("answer", 9, (Ref(0, 1),)),)),))

    assert [told(with_runs(run))[1] for run in (unasked, below, outside, race, deaf)] == [set()] * 5
    assert told(with_runs(outside))[0] == {9: set()}


def test_scopes_in_scopes_given_tasks_and_what_tasks_become() -> None:
    good, bad = Task("plain", 1), Task("bad", 2, (Ref(0, 0),), 2)
    inner = ScopeSpec(1, (), (Task("answer", 10),))
    nested = RunSpec(0, (good, bad), (Ref(0, 1),), scopes=(GUARD, inner))
    given = ScopeSpec(0, (Ref(0, 1),), (Task("answer", 9),))
    lent = RunSpec(0, (good._replace(scope=1), bad._replace(scope=0)), (Ref(0, 1),), scopes=(given,))
    failing = (n for n in range(1, 300) if grown(n).handler and value_of("grow", n, []) is NOTHING)
    number = next(n for n in failing if UNSENDABLE not in may_raise("grow", n))
    grows = RunSpec(0, (Task("grow", number),), (Ref(0, 0),))

    assert told(with_runs(nested)) == ({9: {2}, 10: {2}}, {9, 10})
    assert told(with_runs(lent)) == ({9: {2}}, {9})
    may, must = told(with_runs(grows))
    handler = grown(number).handler
    assert handler is not None
    assert (may[handler], must) == (set(may_raise("grow", number)), {handler})


def test_what_is_wrong_with_answers() -> None:
    run = RunSpec(0, (Task("plain", 1), Task("bad", 2, (Ref(0, 0),), 1)), (Ref(0, 1),), scopes=(GUARD,))
    handlers = Handlers(Oracle(with_runs(run), 0), [0])

    assert handlers.wrong([Answered(9, 2)]) == ""
    assert handlers.wrong([]) == "handlers {9} were not told"
    assert handlers.wrong([Answered(9, 3)]) == "handler 9 was told of 3, and only {2} may be"
    assert handlers.wrong([Answered(9, 2)] * 2) == "handlers {9} were told more than once"
    assert "handler 7" in handlers.wrong([Answered(7, UNSENDABLE)])


def test_a_plan_says_which_externals_are_failures() -> None:
    first = RunSpec(0, (Task("plain", 1),), (Ref(0, 0),))
    scope = ScopeSpec(0, (), (Task("answer", 9, (Ref(0, 0),)),))
    plan, bound = to_plan(1, RunSpec(0, (Task("bad", 2, (), 1),), (Ref(1, 0),), scopes=(scope,)))

    assert sorted(bound, key=str) == [None, Ref(0, 0)]
    assert [plan.shape.name_of(bound.index(None)), first.held] == ["failure", False]


def test_loss_poison_lumps_and_cancelling() -> None:
    held = RunSpec(0, (Task("held", 1),), (Ref(0, 0),))
    reader = RunSpec(0, (Task("plain", 2, (Ref(0, 0),)),), (Ref(1, 0),))
    lump = RunSpec(0, (Task("lump", 3), Task("plain", 4, (Ref(2, 0),))), (Ref(2, 1),))
    ends = [(0, Ref(0, 0)), (1, Ref(1, 0)), (2, Ref(2, 1))]

    def may(deaths: int, *acts: Act) -> list[set[Any]]:
        oracle = Oracle(with_runs(held, reader, lump, acts=acts), deaths)
        return [set(oracle.may[end]) for end in ends]

    assert may(0) == [set(), set(), {"unsendable"}]
    assert may(1) == [{"lost"}, {"lost"}, {"unsendable"}]
    assert may(4) == [{"lost"}, {"lost", "died"}, {"unsendable", "died"}]
    assert may(0, Act(0, "cancel", 1, 0)) == [set(), {"cancelled"}, {"unsendable"}]
    assert may(0, Act(0, "cancel", 0, -1)) == [{"cancelled"}, {"cancelled"}, {"unsendable"}]
    assert Lump(1) == Lump(1) != Lump(2)


def test_a_run_that_never_ends_is_reported() -> None:
    living = Living(with_runs(RunSpec(0, (Task("plain", 1),), (Ref(0, 0),)), acts=(Act(0, "submit", 0),)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(worker_machine._HANDLERS, m.Do, NOTHING_DONE)
        with pytest.raises(AssertionError, match="task 0 of block 0 is queued"):
            living.live()

    with pytest.raises(AssertionError, match=r"client-2 waits for \[\(1, 0\)\]"):
        living.check_endings()


# -- the program -----------------------------------------------------------------------------------


def test_the_program_counts_and_tells_stories() -> None:
    many = CliRunner().invoke(main, ["--lives", "5", "--seed", "7"])
    one = CliRunner().invoke(main, ["--replay", "7"])

    assert many.exit_code == one.exit_code == 0
    assert many.output.startswith("5 lives from seed 7: all ended as they must")
    assert "Submit(run=1" in one.output and one.output.endswith("all ended as it must\n")


def test_the_program_names_the_seed_that_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Living, "check_kept", lambda self: (_ for _ in ()).throw(Wrong("as told")))

    many = CliRunner().invoke(main, ["--lives", "5", "--seed", "7"])
    one = CliRunner().invoke(main, ["--replay", "7"])

    assert many.exit_code == one.exit_code == 1
    assert "python -m lazygraph.testing.simulation --replay 7" in many.output
    assert "Wrong: as told" in one.output
