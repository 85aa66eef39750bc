"""The Ray engine: the conformance suite and random workflows on a real Ray, and what is Ray's own."""

from __future__ import annotations

import os
import random
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import pytest
from hypothesis import given

import lazygraph
from lazygraph import Status, compute, delayed
from lazygraph.errors import InvalidOption, UnsupportedByExecutor, WorkerDied
from lazygraph.executors.base import Executor
from lazygraph.executors.on_ray import RayExecutor
from lazygraph.testing.conformance.canvases_failing import Ear
from lazygraph.testing.conformance.suite import AsynchronousSuite
from lazygraph.testing.conformance.tasks import add, give, large, length, log_line, marked, marks, total
from tests.conftest import missing
from tests.language import test_random_options as with_options
from tests.language.canvases import Described, Same, Speller, often
from tests.language.test_random_canvases import (
    BROKEN,
    CHANCE,
    TURBULENT,
    WHOLE,
    check_endings,
    check_outputs,
    ends_as,
    meaning,
)

LOCAL = "127.0.0.1"
WAIT = 50
"""Seconds after which something that should happen is given up; no test that passes waits so long."""


TOKEN = secrets.token_hex(32)
"""One for the whole process, whichever modules start a Ray: it is read once."""


@pytest.fixture(scope="module")
def environment() -> Iterator[str]:
    """A folder for Ray's sockets and logs; it leaves nothing in the user's own, and tells nobody of its use."""
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory(prefix="ray-") as folder:
        patch.setenv("RAY_AUTH_TOKEN", TOKEN)
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # its own switch for "this host only", read on import
        yield folder


@pytest.fixture(scope="module")
def ray(environment: str) -> Iterator[Any]:
    """The library, initialised: two CPUs, and other things."""
    try:
        import ray
    except ImportError:
        missing("the library ray", "pip install 'lazygraph[ray]'")
    said: dict[str, Any] = {
        "include_dashboard": False,
        "log_to_driver": False,
        "_temp_dir": environment,
        "_node_ip_address": LOCAL,
    }
    ray.init(num_cpus=2, num_gpus=1, resources={"shelf": 2}, **said)
    meeting = f"{environment}/meeting"
    os.mkfifo(meeting)
    meet = ray.remote(lambda mode: open(meeting, mode).close())
    ray.get([meet.remote("r"), meet.remote("w")], timeout=WAIT)  # both workers are there
    here = sys.modules[__name__]
    cloudpickle.register_pickle_by_value(here)  # workers need not find the tests
    yield ray
    cloudpickle.unregister_pickle_by_value(here)
    ray.shutdown()


@pytest.fixture(scope="module")
def executor(ray: Any) -> Iterator[Executor]:
    with RayExecutor() as executor:
        yield executor


class TestRay(AsynchronousSuite):
    lends = False
    says, at_once = True, 2

    @pytest.fixture(scope="class")
    @classmethod
    def executor(cls, ray: Any) -> Iterator[Executor]:
        with RayExecutor() as executor:
            yield executor


# -- random workflows --------------------------------------------------------------------------------


@often(15)
@given(said=WHOLE.described(), chance=CHANCE)
def test_ray_gives_what_the_interpreter_gives(executor: Any, said: Described, chance: random.Random) -> None:
    assert Speller(said, chance).canvas().compute(executor=executor, timeout=WAIT) == meaning(said)[0].value


@often(10)
@given(said=BROKEN.described(), changing=TURBULENT.described(), chance=CHANCE)
def test_ray_fails_alike(executor: Any, said: Described, changing: Described, chance: random.Random) -> None:
    check_endings(Speller(said, chance, Same.SHAPE).canvas(), meaning(said)[0], executor)
    canvas, end = Speller(changing, chance, Same.SHAPE).canvas(), meaning(changing)[0]
    check_outputs(canvas, end, executor)
    ends_as(canvas, end, executor)


@often(10)
@given(shaky=with_options.SHAKY.described(), failing=with_options.FAILING.described(), chance=CHANCE)
def test_ray_honours_options_alike(executor: Any, shaky: Described, failing: Described, chance: random.Random) -> None:
    for said in (shaky, failing):
        canvas, end = Speller(said, chance, Same.SHAPE).canvas(), with_options.meaning(said)[0]
        with_options.ends_as(canvas, end, executor)


# -- where values are --------------------------------------------------------------------------------


class Landlocked:
    """Something big that opens in every process but in the one with this number."""

    def __init__(self, not_in: int) -> None:
        self.not_in, self.big = not_in, bytes(300_000)

    def __reduce__(self) -> Any:
        return opened_landlocked, (self.not_in, self.big)


def opened_landlocked(not_in: int, big: bytes) -> Landlocked:
    if os.getpid() == not_in:
        raise RuntimeError("it has come where it must not come")
    return Landlocked(not_in)


@delayed
def landlocked(not_in: int) -> Landlocked:
    return Landlocked(not_in)


@delayed
def breadth(value: Any) -> int:
    return len(value.big)


@delayed
def ones(count: int) -> Any:
    import numpy

    return numpy.ones(count)


@delayed
def place(array: Any) -> tuple[int, bool]:
    """Return where in memory an array is, and whether it may be changed."""
    return array.__array_interface__["data"][0], array.flags.writeable


def test_values_pass_from_call_to_call_without_coming_here(executor: Any) -> None:
    with lazygraph.use(executor):
        kept = landlocked(os.getpid()).persist()
        assert compute(*(breadth(kept) for _ in range(3))) == (300_000,) * 3
        with pytest.raises(TypeError, match="it has come where it must not come"):
            kept.compute()


def test_an_array_is_shared_there_and_ones_own_here(executor: Any) -> None:
    with lazygraph.use(executor):
        array = ones(100_000).persist()
        places = compute(*(place(array) for _ in range(4)))
        assert {writeable for _, writeable in places} == {False}
        own = ones(100_000).compute()
        own += 1
        assert own.sum() == 200_000


def test_a_future_of_one_run_is_an_argument_of_others(executor: Any) -> None:
    with lazygraph.use(executor):
        future = large.delay(500_000)
        lengths = [length.delay(future) for _ in range(3)]
        assert total(lengths).compute() == 1_500_000
        assert len(future.get(WAIT)) == 500_000


def test_a_large_plan_goes_there_once(executor: Any) -> None:
    big = bytes(1_000_000)
    assert total([length(big) for _ in range(600)]).compute(executor=executor) == 600_000_000


def test_references_to_objects_can_be_given_and_returned(ray: Any, executor: Any) -> None:
    @delayed
    def follow(reference: Any) -> int:
        import ray

        return int(ray.get(reference)) + 1

    @delayed
    def put() -> Any:
        import ray

        return {"there": ray.put("something")}

    with lazygraph.use(executor):
        assert follow(ray.put(41)).compute(timeout=WAIT) == 42
        assert ray.get(put().compute(timeout=WAIT)["there"], timeout=WAIT) == "something"


def test_what_cannot_be_pickled_fails_its_own_task_only(executor: Any) -> None:
    @delayed
    def give_lock() -> Any:
        return threading.Lock()

    run = lazygraph.start(*(add(n, 1) for n in range(3)), give_lock(), add(3, 1), executor=executor, fail_fast=False)
    *good, bad, last = run.futures
    assert [future.result(WAIT) for future in (*good, last)] == [1, 2, 3, 4]
    with pytest.raises(TypeError, match=rf"the result of 'give_lock', a lock, .*{Path(__file__).name}:\d+"):
        bad.result(WAIT)


def test_who_is_called_when_all_is_over_gets_the_value(ray: Any) -> None:
    got: list[int] = []
    called = threading.Event()

    def note(future: Any) -> None:
        got.append(len(future.result(0)))
        called.set()

    with RayExecutor() as executor, lazygraph.use(executor):
        large.delay(200_000).add_done_callback(note)
    assert called.wait(WAIT)
    assert got == [200_000]


# -- options -----------------------------------------------------------------------------------------


@delayed
def assigned() -> dict[str, float]:
    import ray

    found: dict[str, float] = ray.get_runtime_context().get_assigned_resources()
    return found


@pytest.mark.parametrize(
    ("asked", "got"),
    [
        ({}, {"CPU": 1}),
        ({"cpu": 2}, {"CPU": 2}),
        ({"CPU": 0.5, "gpu": 1}, {"CPU": 0.5, "GPU": 1}),
        ({"GPU": 0.5, "shelf": 2}, {"CPU": 1, "GPU": 0.5, "shelf": 2}),
    ],
)
def test_resources_are_those_of_ray(executor: Any, asked: dict[str, float], got: dict[str, float]) -> None:
    assert assigned.options(resources=asked)().compute(executor=executor) == got


def test_what_nobody_has_holds_nobody_up(executor: Any) -> None:
    with lazygraph.use(executor):
        run = lazygraph.start(*(give.options(resources={"moon": 1})(n) for n in range(10)))
        futures = [give.options(resources={"moon": 1}).delay(n) for n in range(10)]
        assert add(1, 2).compute(timeout=WAIT) == 3
        run.cancel()
        assert all(future.cancel() for future in futures)
        assert {future.status for future in (*run.futures, *futures)} == {Status.CANCELLED}


@delayed
def begin_and_end(ear: str, pipe: str) -> None:
    log_line(ear, "begins")
    Path(pipe).read_text(encoding="utf-8")
    log_line(ear, "ends")


def test_what_runs_does_not_notice_that_it_was_cancelled(executor: Any, tmp_path: Path) -> None:
    ear, pipe = Ear(tmp_path / "ear"), tmp_path / "pipe"
    os.mkfifo(pipe)
    run = lazygraph.start(begin_and_end(ear.path, str(pipe)), executor=executor)
    assert ear.lines(1) == ["begins"]
    run.cancel()
    assert add(1, 2).compute(executor=executor, timeout=WAIT) == 3
    pipe.write_text("go", encoding="utf-8")
    assert ear.lines(2) == ["begins", "ends"]
    ear.close()


CANCELLING = """
import sys
import lazygraph
from lazygraph import delayed
from lazygraph.executors.on_ray import RayExecutor

with RayExecutor(sys.argv[1], log_to_driver=False) as executor, lazygraph.use(executor):
    there = delayed(lambda: [1, 2])().persist()
    there.compute()
    for _ in range(150):
        for run in [lazygraph.start(delayed(len)(there)) for _ in range(4)]:
            run.cancel()
    print(delayed(sum)(there).compute())
"""


def test_to_cancel_just_when_calls_begin_and_end_does_not_end_this_process(ray: Any) -> None:
    command = [sys.executable, "-c", CANCELLING, ray.get_runtime_context().gcs_address]
    done = subprocess.run(command, capture_output=True, text=True, timeout=WAIT)
    assert (done.returncode, done.stdout.splitlines()[-1:]) == (0, ["3"]), done.stderr


@pytest.mark.parametrize("option", [{"workers": ["node-1"]}, {"timeout": 5.0}, {"isolated": True}])
def test_what_ray_cannot_do_is_refused_before_anything_runs(
    executor: Any, option: dict[str, Any], tmp_path: Path
) -> None:
    node = add.options(**option)(marked(str(tmp_path), 1), 1)
    with pytest.raises(UnsupportedByExecutor, match=f"executor 'ray' does not honour {next(iter(option))}="):
        node.compute(executor=executor)
    assert marks(tmp_path) == 0


def test_an_amount_that_ray_cannot_give_is_refused_before_anything_runs(executor: Any, tmp_path: Path) -> None:
    node = add.options(resources={"gpu": 1.5})(marked(str(tmp_path), 1), 1)
    with pytest.raises(InvalidOption, match="gpu"):
        node.compute(executor=executor)
    assert marks(tmp_path) == 0


# -- when workers die --------------------------------------------------------------------------------


@delayed
def die_the_first_time(folder: str, value: int) -> int:
    try:
        Path(folder, f"died-{value}").touch(exist_ok=False)
    except FileExistsError:
        return value
    os.kill(os.getpid(), signal.SIGKILL)
    return -1


@delayed
def die(value: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return value


def test_what_a_dead_worker_was_at_runs_again(executor: Any, tmp_path: Path) -> None:
    dying = [die_the_first_time(str(tmp_path), n) for n in range(2)]
    assert total([*dying, *(add(n, 0) for n in range(30))]).compute(executor=executor, timeout=WAIT) == 436


def test_what_must_not_run_twice_has_failed(executor: Any, tmp_path: Path) -> None:
    dying = die_the_first_time.options(at_most_once=True)(str(tmp_path), 1)
    with pytest.raises(WorkerDied, match="'die_the_first_time' was running on 1 workers"):
        dying.compute(executor=executor, timeout=WAIT)
    assert marks(tmp_path) == 1


def test_a_task_that_kills_every_worker_has_failed_and_only_it(executor: Any) -> None:
    run = lazygraph.start(give(1), die(2), give(3), give(4), executor=executor, fail_fast=False)
    one, dead, *others = run.futures
    with pytest.raises(WorkerDied, match=r"'die' was running on 4 workers one after another .*WorkerCrashedError"):
        dead.result(WAIT)
    assert [future.result(WAIT) for future in (one, *others)] == [1, 3, 4]


# -- whose Ray it is ---------------------------------------------------------------------------------


def test_the_ray_of_the_user_stays_when_the_executor_is_closed(ray: Any) -> None:
    with RayExecutor() as executor:
        assert add(1, 2).compute(executor=executor) == 3
    assert ray.is_initialized()
    assert ray.get(ray.put(1)) == 1


def test_a_second_ray_in_one_process_is_refused(ray: Any) -> None:
    with pytest.raises(InvalidOption, match="this process has initialised Ray already"):
        RayExecutor(num_cpus=1)


SCRIPT = """
import sys
import lazygraph
from lazygraph import delayed
from lazygraph.errors import LostData
from lazygraph.executors.on_ray import RayExecutor

class Own:
    pass

make = delayed(lambda: [Own(), bytes(200_000)])
is_own = delayed(lambda made: type(made[0]) is Own)
executor = RayExecutor(num_cpus=1, log_to_driver=False, _temp_dir=sys.argv[1])
import ray
with executor:
    made = make().persist()
    assert type(made.compute()[0]) is Own
    assert is_own(made).compute()
assert not ray.is_initialized()
try:
    made.compute()
except LostData as error:
    assert "closed" in str(error)
else:
    raise AssertionError("it was closed")
assert not ray.is_initialized()
last = RayExecutor(num_cpus=1, log_to_driver=False, _temp_dir=sys.argv[1])
lazygraph.start(make(), executor=last).futures[0].add_done_callback(lambda future: print(len(future.result()[1])))
"""


@pytest.mark.timeout(150)  # it starts two
def test_a_ray_of_its_own_ends_with_the_executor_and_at_exit_after_what_was_submitted(
    environment: str, tmp_path: Path
) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT, encoding="utf-8")
    done = subprocess.run([sys.executable, script, environment], capture_output=True, text=True, timeout=140)
    assert (done.returncode, done.stdout.splitlines()[-1:]) == (0, ["200000"]), done.stderr


SHUT_DOWN = """
import os
import sys
import lazygraph
from lazygraph import delayed
from lazygraph.errors import Closed
from lazygraph.executors.on_ray import RayExecutor
from lazygraph.testing.conformance.saying import Noticed, half_way
import ray

ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, _temp_dir=sys.argv[1], _node_ip_address="127.0.0.1")
executor = RayExecutor()
os.mkfifo(sys.argv[2])
behind = delayed(len)(half_way(sys.argv[2]))
run = lazygraph.start(half_way(sys.argv[2]), behind, executor=executor, fail_fast=False)
Noticed(run).wait(1)
ray.shutdown()
for ask in (*(future.result for future in run.futures), lambda wait: delayed(len)("").compute(executor=executor)):
    try:
        ask(30)
    except Closed as error:
        print(error)
executor.close()
assert not ray.is_initialized()
"""


@pytest.mark.timeout(100)
def test_a_ray_that_is_shut_down_in_the_middle_ends_what_it_had(environment: str, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SHUT_DOWN, encoding="utf-8")
    command = [sys.executable, str(script), environment, str(tmp_path / "pipe")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90)
    assert (done.returncode, done.stdout.splitlines()[-3:]) == (
        0,
        ["Ray (by ray.shutdown()) is closed; open a new one"] * 3,
    ), done.stderr


@delayed(bind=True)
def worker_of_ray(self: Any) -> tuple[str, int]:
    return self.request.worker, os.getpid()


def test_a_worker_is_called_by_its_address_and_its_process(executor: Any) -> None:
    name, pid = worker_of_ray().compute(executor=executor)
    assert name == f"ray@{LOCAL}/{pid}"


def test_a_graph_of_dasks_runs_there(executor: Any) -> None:
    array = pytest.importorskip("dask.array")
    from lazygraph.interop.dask import from_dask, get

    x = array.arange(100, chunks=10)
    assert from_dask((x + x[::-1]).sum()).compute(executor=executor) == 9900
    assert x.max().compute(scheduler=get, executor=executor) == 99
