"""Random lives of a pretend cluster end as they must, and a broken mind is found out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from click.testing import CliRunner

from lazygraph.door import start
from lazygraph.executors.cluster import messages as m
from lazygraph.executors.cluster import scheduler_machine, worker_machine
from lazygraph.executors.cluster.scheduler_machine import SchedulerMachine
from lazygraph.language.delayed import delayed
from lazygraph.running import events, frontier
from lazygraph.testing.simulation.__main__ import main
from lazygraph.testing.simulation.check import Living, Wrong, check
from lazygraph.testing.simulation.hands import Ending
from lazygraph.testing.simulation.lives import FUNCTIONS, Act, Bad, Life, Lump, Ref, RunSpec, Task, live
from lazygraph.testing.simulation.oracle import NOTHING, Oracle, values_of
from lazygraph.testing.simulation.story import line

NOTHING_DONE: Callable[..., None] = lambda *args: None  # noqa: E731


@pytest.mark.parametrize("first", range(0, 400, 100))
def test_lives_end_as_they_must(first: int) -> None:
    for seed in range(first, first + 100):
        check(live(seed))


@pytest.mark.parametrize("seed", [15, 78, 84, 129, 172, 198, 273, 581, 962, 1322, 1456, 2037, 2058, 2959, 15975, 68412])
def test_lives_that_once_ended_badly(seed: int) -> None:
    check(live(seed))


def test_lives_hold_all_that_can_happen() -> None:
    lives = [live(seed) for seed in range(200)]
    acts = {act.what for life in lives for act in life.acts}
    kinds = {task.kind for life in lives for run in life.runs for task in run.tasks}

    assert acts == {"submit", "drop", "cancel", "want", "leave", "join", "kill", "kill all"}
    assert kinds == {"plain", "large", "bad", "lump", "held"}
    assert {run.fail_fast for life in lives for run in life.runs} == {True, False}
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


def forgets_no_run(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(SchedulerMachine, "_ended", NOTHING_DONE)


def tells_twice(patch: pytest.MonkeyPatch) -> None:
    succeeded = SchedulerMachine._tell_succeeded

    def twice(self: SchedulerMachine, *told: Any) -> None:
        succeeded(self, *told)
        succeeded(self, *told)

    patch.setattr(SchedulerMachine, "_tell_succeeded", twice)


BROKEN = {
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
        life = live(seed)
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
