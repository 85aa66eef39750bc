"""joblib, and scikit-learn with it, on our executors: as on joblib's own backends."""

from __future__ import annotations

import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from lazygraph import Client, LocalCluster
from lazygraph.errors import UnknownExecutor, UnknownOption
from lazygraph.executors import ProcessExecutor, ThreadExecutor

joblib = pytest.importorskip("joblib")

from joblib import Parallel  # noqa: E402
from joblib import delayed as call  # noqa: E402

from lazygraph.interop.joblib import register  # noqa: E402

WAIT = 30.0


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with LocalCluster(n_workers=2) as cluster, Client(cluster, set_as_default=False) as client:
        client.wait_for_workers(2)
        yield client


@pytest.fixture(scope="module")
def processes() -> Iterator[ProcessExecutor]:
    with ProcessExecutor(2) as executor:
        yield executor


@pytest.fixture(params=["threads", "processes", "client"])
def ours(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Two slots of each of ours."""
    if request.param == "threads":
        with ThreadExecutor(2) as executor:
            yield executor
    else:
        yield request.getfixturevalue(request.param)


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    from joblib.parallel import BACKENDS

    register()
    yield
    BACKENDS.pop("lazygraph")


@pytest.fixture(params=["threads", "processes", "client", "threading"])
def backend(request: pytest.FixtureRequest) -> Iterator[None]:
    """Two slots of each of ours, and joblib's own two threads."""
    if request.param == "threading":
        with joblib.parallel_config(backend="threading", n_jobs=2):
            yield
        return
    with ExitStack() as stack:
        if request.param == "threads":
            chosen: Any = stack.enter_context(ThreadExecutor(2))
        else:
            chosen = request.getfixturevalue(request.param)
        stack.enter_context(joblib.parallel_config(backend="lazygraph", executor=chosen, n_jobs=-1))
        yield


def square(x: int) -> int:
    return x * x


def fails_at_three(x: int) -> int:
    if x == 3:
        raise KeyError("three")
    return x


class TestResults:
    def test_a_list_in_order(self, backend: None) -> None:
        assert Parallel()(call(square)(i) for i in range(20)) == [i * i for i in range(20)]

    def test_of_nothing(self, backend: None) -> None:
        assert Parallel()([]) == []

    def test_a_generator_in_order(self, backend: None) -> None:
        values = Parallel(return_as="generator")(call(square)(i) for i in range(20))
        assert next(values) == 0
        assert list(values) == [i * i for i in range(1, 20)]

    def test_a_generator_as_they_come(self, backend: None) -> None:
        values = Parallel(return_as="generator_unordered")(call(square)(i) for i in range(20))
        assert sorted(values) == [i * i for i in range(20)]

    def test_the_first_one_is_given_while_another_runs(self, tmp_path: Path) -> None:
        done = threading.Event()
        with ThreadExecutor(2) as executor, joblib.parallel_config(backend="lazygraph", executor=executor):
            values = Parallel(return_as="generator_unordered")([call(done.wait)(WAIT), call(square)(3)])
            assert next(values) == 9
            done.set()
            assert list(values) == [True]

    @pytest.mark.parametrize("size", ["auto", 1, 7])
    def test_batches_do_not_show(self, backend: None, size: Any) -> None:
        values = Parallel(batch_size=size, pre_dispatch="all")(call(square)(i) for i in range(50))
        assert values == [i * i for i in range(50)]

    def test_quick_calls_come_in_larger_batches(self) -> None:
        sizes: list[int] = []
        with ThreadExecutor(2) as executor, joblib.parallel_config(backend="lazygraph", executor=executor):
            parallel = Parallel()
            parallel(call(square)(i) for i in range(2_000))
            sizes.append(parallel.n_dispatched_batches)
        assert sizes[0] < 1_000

    def test_a_parallel_is_used_again(self, backend: None) -> None:
        with Parallel() as parallel:
            assert parallel(call(square)(i) for i in range(3)) == [0, 1, 4]
            assert parallel(call(square)(i) for i in range(3)) == [0, 1, 4]

    def test_one_may_run_while_the_values_of_another_are_taken(self, ours: Any) -> None:
        with joblib.parallel_config(backend="lazygraph", executor=ours):
            values = Parallel(return_as="generator")(call(square)(i) for i in range(200))
            assert next(values) == 0
            assert Parallel()(call(square)(i) for i in range(3)) == [0, 1, 4]
            assert list(values) == [i * i for i in range(1, 200)]

    @pytest.mark.filterwarnings("ignore:.*tasks:UserWarning:joblib")  # joblib tells what was in vain
    def test_a_parallel_is_used_again_after_a_generator_that_was_closed(self, ours: Any) -> None:
        with joblib.parallel_config(backend="lazygraph", executor=ours):
            parallel = Parallel(return_as="generator", batch_size=1)
            for _ in range(10):
                values = parallel(call(square)(i) for i in range(3, 200))
                assert next(values) == 9
                values.close()
                # joblib may put one in front that it had cut off already, on its own backends too.
                assert list(parallel(call(square)(i) for i in range(3)))[-3:] == [0, 1, 4]


class TestFailing:
    def test_the_original_exception(self, backend: None) -> None:
        with pytest.raises(KeyError, match="three") as caught:
            Parallel()(call(fails_at_three)(i) for i in range(10))
        assert "in fails_at_three" in "".join(traceback.format_exception(caught.value))

    def test_after_it_there_are_slots_for_others(self, backend: None) -> None:
        for _ in range(3):
            with pytest.raises(KeyError):
                Parallel()(call(fails_at_three)(i) for i in range(10))
        assert Parallel()(call(square)(i) for i in range(3)) == [0, 1, 4]

    def test_an_open_parallel_can_be_used_again(self, backend: None) -> None:
        with Parallel(pre_dispatch="all", batch_size=1) as parallel:
            with pytest.raises(KeyError):
                parallel([call(fails_at_three)(3)])
            assert parallel([call(square)(2)]) == [4]

    def test_what_waits_is_cancelled(self, tmp_path: Path) -> None:
        gate = threading.Event()

        def touch(at: int) -> None:
            gate.wait(WAIT)
            (tmp_path / str(at)).touch()

        with ThreadExecutor(2) as executor, joblib.parallel_config(backend="lazygraph", executor=executor):
            calls = [call(fails_at_three)(3), *(call(touch)(at) for at in range(50))]
            with pytest.raises(KeyError):
                Parallel(pre_dispatch="all", batch_size=1)(calls)
            gate.set()
        assert len(list(tmp_path.iterdir())) <= 2

    def test_too_late(self, tmp_path: Path) -> None:
        gate = threading.Event()
        with ThreadExecutor(2) as executor, joblib.parallel_config(backend="lazygraph", executor=executor):
            with pytest.raises(Exception, match=r"^$") as caught:
                Parallel(timeout=0.01)(call(gate.wait)(WAIT) for _ in range(4))
            gate.set()
            assert type(caught.value).__name__ == "TimeoutError"
            assert Parallel(timeout=WAIT)(call(square)(i) for i in range(3)) == [0, 1, 4]

    def test_a_source_that_fails(self, backend: None) -> None:
        def source() -> Iterator[Any]:
            yield call(square)(1)
            raise OSError("no more")

        with pytest.raises(OSError, match="no more"):
            Parallel()(source())


def nests(depth: int) -> int:
    return 1 + (sum(Parallel(n_jobs=2)(call(nests)(depth - 1) for _ in range(2))) if depth else 0)


def nests_here(depth: int) -> int:
    if not depth:
        return 1
    with joblib.parallel_config(backend="lazygraph", n_jobs=2):
        return 1 + sum(Parallel()(call(nests_here)(depth - 1) for _ in range(2)))


def backends(depth: int) -> list[str]:
    found = type(joblib.parallel.get_active_backend()[0]).__name__
    return [found, *(Parallel(n_jobs=2)([call(backends)(depth - 1)] * 2)[0] if depth else [])]


class TestNesting:
    def test_as_deep_as_one_likes(self, backend: None) -> None:
        assert Parallel()(call(nests)(3) for _ in range(4)) == [15] * 4

    def test_threads_then_a_plain_loop(self, backend: None) -> None:
        mine, deeper, deepest = Parallel()([call(backends)(2)] * 2)[0]
        assert (deeper, deepest) == ("SequentialBackend", "SequentialBackend")
        assert mine in ("ThreadingBackend", "SequentialBackend")

    def test_on_the_tasks_own_executor(self, ours: Any) -> None:
        with joblib.parallel_config(backend="lazygraph", executor=ours):
            assert Parallel(n_jobs=2)(call(nests_here)(2) for _ in range(4)) == [7] * 4


class TestHowManyAtOnce:
    def test_all_slots(self, client: Client) -> None:
        with ThreadExecutor(3) as executor, joblib.parallel_config(backend="lazygraph", executor=executor):
            assert [joblib.effective_n_jobs(n) for n in (-1, -2, -9, 1, 2, 8)] == [3, 2, 1, 1, 2, 3]
            assert Parallel().n_jobs == -1
        with joblib.parallel_config(backend="lazygraph", executor=client):
            assert joblib.effective_n_jobs(-1) == 2

    def test_none_has_no_meaning(self) -> None:
        with joblib.parallel_config(backend="lazygraph", executor="threads"), pytest.raises(ValueError, match="n_jobs"):
            Parallel(n_jobs=0)([call(square)(1)])

    def test_no_more_than_was_said(self) -> None:
        lock, now, most, pair = threading.Lock(), [0], [0], threading.Barrier(2)

        def counts() -> None:
            with lock:
                now[0] += 1
                most[0] = max(most[0], now[0])
            pair.wait(WAIT)  # fewer than two at once would be too few
            with lock:
                now[0] -= 1

        with ThreadExecutor(8) as executor, joblib.parallel_config(backend="lazygraph", executor=executor):
            Parallel(n_jobs=2, pre_dispatch="all", batch_size=1)([call(counts)()] * 40)
        assert most[0] == 2

    def test_one_job_is_a_plain_loop_here(self, client: Client) -> None:
        with joblib.parallel_config(backend="lazygraph", executor=client, n_jobs=1):
            assert Parallel()([call(threading.get_ident)()] * 2) == [threading.get_ident()] * 2


class TestRegistering:
    def test_a_default_executor_and_options(self, client: Client) -> None:
        register(client, name="ours", retries=2)
        with joblib.parallel_config(backend="ours"):
            assert joblib.effective_n_jobs() == 2
            assert Parallel()(call(square)(i) for i in range(3)) == [0, 1, 4]
        joblib.parallel.BACKENDS.pop("ours")

    def test_the_executor_of_the_place(self) -> None:
        with ThreadExecutor(3), joblib.parallel_config(backend="lazygraph"):
            assert joblib.effective_n_jobs() == 3
            names = Parallel()(call(threading.current_thread)() for _ in range(3))
        assert {thread.name.rstrip("0123456789") for thread in names} == {"lazygraph-"}

    def test_shared_memory_where_there_is(self) -> None:
        seen: list[int] = []
        with ThreadExecutor(2) as executor, joblib.parallel_config(backend="lazygraph", executor=executor):
            Parallel(n_jobs=2, require="sharedmem")(call(seen.append)(i) for i in range(5))
        assert sorted(seen) == [0, 1, 2, 3, 4]

    def test_what_is_none(self) -> None:
        with pytest.raises(UnknownExecutor, match="thread"):
            register("thraeds")
        with ThreadExecutor(2) as executor, pytest.raises(UnknownOption, match="retires"):
            with joblib.parallel_config(backend="lazygraph", executor=executor, retires=2):
                Parallel()([call(square)(1)])

    def test_options_of_one_parallel_are_not_the_next_ones(self) -> None:
        with ThreadExecutor(2) as executor, joblib.parallel_config(backend="lazygraph", executor=executor):
            with pytest.raises(UnknownOption, match="retires"):
                Parallel(n_jobs=2, retires=2)([call(square)(1)])
            assert Parallel(n_jobs=2)([call(square)(2)]) == [4]

    def test_joblib_is_not_loaded_before_it_is_asked_for(self) -> None:
        program = "import sys, lazygraph, lazygraph.interop.joblib; sys.exit('joblib' in sys.modules)"
        assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


class TestScikitLearn:
    def test_scores_and_searches_are_those_of_a_plain_loop(self, ours: Any) -> None:
        pytest.importorskip("sklearn")
        from sklearn.datasets import make_classification
        from sklearn.ensemble import RandomForestClassifier
        from sklearn.linear_model import LogisticRegression
        from sklearn.model_selection import GridSearchCV, cross_val_score

        X, y = make_classification(n_samples=120, n_features=6, random_state=0)
        forest = RandomForestClassifier(n_estimators=5, random_state=0, n_jobs=2)
        grid = {"C": [0.01, 1.0, 100.0]}
        scores = cross_val_score(forest, X, y, cv=3)
        search = GridSearchCV(LogisticRegression(), grid, cv=3).fit(X, y)
        with joblib.parallel_config(backend="lazygraph", executor=ours):
            assert cross_val_score(forest, X, y, cv=3, n_jobs=-1).tolist() == scores.tolist()
            found = GridSearchCV(LogisticRegression(), grid, cv=3, n_jobs=-1).fit(X, y)
        assert found.best_params_ == search.best_params_
        assert found.cv_results_["mean_test_score"].tolist() == search.cv_results_["mean_test_score"].tolist()
