"""The simulated cluster: what it is asked, how long jobs take in it, and that no worker idles beside others' work."""

from __future__ import annotations

import json
from pathlib import Path
from zipfile import ZipFile

import pytest
from click.testing import CliRunner

from benchmarks import simulate
from benchmarks.simulate import Anywhere, bound_lines, main
from benchmarks.simulate_bounds import FREE, Job, Minds, Network, listed, lower_bound
from benchmarks.simulate_graphs import MIB, job, job_of, jobs
from lazygraph.executors.cluster.scheduler_machine import SchedulerMachine

MINDS = [SchedulerMachine, Anywhere]


def plain(reads: list[list[int]], seconds: list[float], size: int = 0) -> Job:
    return job("plain", reads, seconds, [size] * len(reads))


def makespan(of: Job, workers: int, network: Network = FREE, mind: type[SchedulerMachine] = SchedulerMachine) -> float:
    return Minds(of, workers, network, mind()).run().makespan


# -- bounds and makespans --------------------------------------------------------------------------


def test_the_bound_is_the_longest_path_or_the_work_each_worker_has() -> None:
    diamond = plain([[], [0], [0], [1, 2]], [1.0, 5.0, 2.0, 1.0])

    assert lower_bound(diamond, 1) == 9.0
    assert lower_bound(diamond, 2) == lower_bound(diamond, 9) == 7.0


@pytest.mark.parametrize("mind", MINDS)
def test_a_small_job_takes_what_it_must(mind: type[SchedulerMachine]) -> None:
    diamond = plain([[], [0], [0], [1, 2]], [1.0, 5.0, 2.0, 1.0])

    assert makespan(diamond, 1, mind=mind) == 9.0
    assert makespan(diamond, 2, mind=mind) == pytest.approx(7.0)
    assert listed(diamond, 1) == 9.0 and listed(diamond, 2) == 7.0


def test_transfers_take_their_time() -> None:
    join = plain([[], [], [0, 1]], [1.0, 1.0, 1.0], size=MIB)
    slow = Network(speed=MIB / 2)

    assert listed(join, 2, slow) == makespan(join, 2, slow) == pytest.approx(4.0)  # one of the two is fetched
    assert Minds(join, 2, slow).run().moved == MIB
    assert makespan(join, 1, slow) == 3.0


def test_messages_take_their_time() -> None:
    one = plain([[]], [1.0])

    assert makespan(one, 1, Network(latency=0.25)) == pytest.approx(1.5)


def test_short_tasks_are_reported_together() -> None:
    short = plain([[] for _ in range(200)], [1e-5] * 200)
    outcome = Minds(short, 2).run()

    assert outcome.busy == pytest.approx(200 * 1e-5)
    assert outcome.messages < 100


# -- nobody idles ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reads", "seconds", "best"),
    [
        # The last of a lease reads what stands before it: both can go.
        ([[], [], [0], []], [2.0, 20.0, 20.0, 2.0], 22.0),
        ([[], [], [0, 1], [], [], []], [20.0, 20.0, 2.0, 5.0, 2.0, 2.0], 25.5),
        # A worker is asked, and is given another lease before it has answered that it has nothing.
        (
            [[], [], [], [], [], [], [3, 4], [3], [], [], [], [], []],
            [2.0, 5.0, 1.0, 2.0, 1.0, 1.0, 20.0, 20.0, 2.0, 1.0, 3.0, 5.0, 1.0],
            32.0,
        ),
    ],
)
def test_two_workers_keep_within_grahams_bound(reads: list[list[int]], seconds: list[float], best: float) -> None:
    given = plain(reads, seconds)

    assert lower_bound(given, 2) == best
    assert makespan(given, 2) <= 1.5 * best


# -- the command -----------------------------------------------------------------------------------


def archive(folder: Path) -> None:
    """Write a family of one graph as the Estee set has them."""
    tasks = [
        {"d": 2.0, "e_d": 2, "cpus": 1, "outputs": [{"s": 1.0, "e_s": 1}, {"s": 3.0, "e_s": 3}], "inputs": []},
        {"d": 1.0, "e_d": 1, "cpus": 4, "outputs": [], "inputs": [[0, 0]]},
        {"d": 1.0, "e_d": 1, "cpus": 1, "outputs": [], "inputs": [[0, 0], [0, 1]]},
    ]
    table = {"graph_name": {"0": "fork"}, "graph": {"0": json.dumps(tasks)}}
    with ZipFile(folder / "family.zip", "w") as opened:
        opened.writestr("family.json", json.dumps(table))


def test_a_graph_is_read_with_its_durations_and_sizes(tmp_path: Path) -> None:
    archive(tmp_path)
    [(family, fork)] = jobs(tmp_path)

    assert (family, fork.name) == ("family", "family/0 fork")
    assert list(fork.seconds) == [2.0, 1.0, 1.0]
    assert fork.sizes[0] == 2.5 * MIB  # its readers read 1 and 4 MiB of it


def test_tasks_may_stand_before_what_they_read() -> None:
    tasks = [
        {"d": 1.0, "outputs": [], "inputs": [[1, 0]]},
        {"d": 5.0, "outputs": [{"s": 1.0}], "inputs": []},
    ]

    assert list(job_of("turned", tasks).seconds) == [5.0, 1.0]


def test_the_command_tells_of_families_and_of_the_bound(tmp_path: Path) -> None:
    archive(tmp_path)
    told = CliRunner().invoke(main, ["--bounds", "--graphs", str(tmp_path), "--workers", "2", "--speed", "100"])

    assert told.exit_code == 0
    assert "2 - 1/workers: 1 of 1 are within" in told.output
    assert "100 MiB/s to each worker" in told.output


def test_a_broken_bound_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    halves = plain([[], []], [1.0, 1.0])
    monkeypatch.setattr(simulate, "POLICIES", {"ours": lambda job, workers, network: 2.0})

    assert list(bound_lines([("family", halves)], [2], [FREE]))[-2] == "over Graham's bound: plain on 2 workers, 2.000"


def test_the_command_tells_what_the_scheduler_costs() -> None:
    told = CliRunner().invoke(
        main, ["--zero", "--tasks", "20", "--workers", "1", "--workers", "3", "--plans", "tree,chains", "--runs", "1"]
    )

    assert told.exit_code == 0
    rows = [line.split()[:3] for line in told.output.splitlines()[2:]]
    assert rows == [["tree", "19", "1"], ["tree", "19", "3"], ["chains", "20", "1"], ["chains", "20", "3"]]


def test_jobs_are_made_where_tasks_are_asked_for() -> None:
    told = CliRunner().invoke(
        main, ["--bounds", "--tasks", "50", "--plans", "tree,layers", "--workers", "3", "--speed", "100"]
    )

    assert told.exit_code == 0
    assert "2 - 1/workers: 2 of 2 are within" in told.output


@pytest.mark.parametrize(("words", "why"), [([], "--zero, --bounds"), (["--bounds"], "--graphs")])
def test_the_command_says_what_it_wants(words: list[str], why: str) -> None:
    told = CliRunner().invoke(main, words)

    assert told.exit_code == 2 and why in told.output
